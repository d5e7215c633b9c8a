package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"cowhand/test/lab"
)

// stage is where the show runs, and the page it prints.
type stage struct {
	*lab.Rig
	program string
	prefix  string // of guests' names, where libvirt is shared with others
	page
}

// open prepares what the show stands on: the libvirt that LIBVIRT_DEFAULT_URI names, else the one
// that runs, else one that only the show uses.
func (s *stage) open(ctx context.Context) error {
	uri := os.Getenv("LIBVIRT_DEFAULT_URI")
	if uri == "" && os.Geteuid() == 0 && lab.Answers(ctx, "qemu:///system") {
		uri = "qemu:///system"
	}
	if uri != "" {
		s.prefix = "cowhand-demo-"
		s.say("   libvirt: %s, which runs here", uri)
	} else {
		s.say("   libvirt: none runs here, so one of our own until the end of the show")
	}
	dir, err := os.MkdirTemp("", "cowhand-demo-")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // QEMU's user reads the kernel here
		return err
	}
	if s.Rig, err = lab.OpenRig(ctx, dir, s.program, uri, diskSize); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

// strike takes everything down again, whatever the show came to.
func (s *stage) strike(ctx context.Context) error {
	if s.Rig == nil {
		return nil
	}
	var err error
	if !s.Private() {
		err = s.undefineAll(ctx)
	}
	return errors.Join(err, s.Close(ctx))
}

// undefineAll removes the show's guests from a libvirt that others use too.
func (s *stage) undefineAll(ctx context.Context) error {
	names, err := s.Output(ctx, "virsh", "list", "--all", "--name")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(names) {
		if !strings.HasPrefix(name, s.prefix) {
			continue
		}
		_ = s.Command(ctx, "virsh", "destroy", name).Run() // it may be off
		if _, err := s.Output(ctx, "virsh", "undefine", name); err != nil {
			return err
		}
	}
	return nil
}

// cowhands runs cowhand commands as a person would type them, with their output.
func (s *stage) cowhands(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		var args []string
		for word := range strings.FieldsSeq(line) {
			args = append(args, strings.Trim(word, "'"))
		}
		if err := s.show(ctx, "cowhand "+line, s.Command(ctx, "cowhand", args...)); err != nil {
			return err
		}
	}
	return nil
}

// run runs another program the same way.
func (s *stage) run(ctx context.Context, name string, args ...string) error {
	line := strings.ReplaceAll(name+" "+strings.Join(args, " "), s.Dir+"/", "")
	return s.show(ctx, line, s.Command(ctx, name, args...))
}

func (s *stage) show(ctx context.Context, line string, cmd *exec.Cmd) error {
	s.say("   %s", s.bold("$ "+line))
	began := time.Now()
	out, err := cmd.CombinedOutput()
	for text := range strings.Lines(string(out)) {
		s.say("     %s", strings.TrimRight(strings.ReplaceAll(text, s.Dir+"/", ""), " \n"))
	}
	if took := time.Since(began); took >= time.Second {
		s.say("     %s", s.dim(fmt.Sprintf("%.1f s", took.Seconds())))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}
