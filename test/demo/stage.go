package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"cowhand/test/lab"
)

// stage is where the show runs: a folder, a libvirt, cowhand's settings, and the page it prints.
type stage struct {
	out    io.Writer
	color  bool
	acts   int
	claims int

	dir     string // everything the show writes, besides the cache of the guest's kernel
	cowhand string
	prefix  string // of guests' names, where libvirt is shared with others
	libvirt string // URI
	env     []string
	private *lab.Libvirt
	boot    lab.Boot
}

func newStage(out *os.File, cowhand string) *stage {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &stage{out: out, cowhand: cowhand, color: terminal && os.Getenv("NO_COLOR") == ""}
}

// open prepares what the show stands on.
func (s *stage) open(ctx context.Context) error {
	var err error
	if s.cowhand, err = filepath.Abs(s.cowhand); err != nil { // commands run in the show's folder
		return err
	}
	if _, err := os.Stat(s.cowhand); err != nil {
		return fmt.Errorf("%w: run 'make build' first", err)
	}
	if s.dir, err = os.MkdirTemp("", "cowhand-demo-"); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // QEMU's user reads the kernel here
		return err
	}
	if s.boot, err = lab.BuildBoot(ctx, s.dir); err != nil {
		return err
	}
	if err := s.openLibvirt(ctx); err != nil {
		return err
	}
	s.env = append(os.Environ(),
		"COWHAND_DEVICES="+filepath.Join(s.dir, "disk.img"),
		"COWHAND_STATE_DIR="+filepath.Join(s.dir, "state"),
		"COWHAND_RUN_DIR="+filepath.Join(s.dir, "run"),
		"COWHAND_ENGINE=userspace",
		"LIBVIRT_DEFAULT_URI="+s.libvirt,
	)
	return nil
}

// openLibvirt takes the libvirt that LIBVIRT_DEFAULT_URI names, else the one that runs, else starts
// one that only the show uses.
func (s *stage) openLibvirt(ctx context.Context) error {
	s.libvirt = os.Getenv("LIBVIRT_DEFAULT_URI")
	if s.libvirt == "" && os.Geteuid() == 0 && lab.Answers(ctx, "qemu:///system") {
		s.libvirt = "qemu:///system"
	}
	if s.libvirt != "" {
		s.prefix = "cowhand-demo-"
		s.say("   libvirt: %s, which runs here", s.libvirt)
		return nil
	}
	dir := filepath.Join(s.dir, "libvirt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	var err error
	if s.private, err = lab.StartLibvirt(ctx, dir); err != nil {
		return err
	}
	s.libvirt = s.private.URI
	s.say("   libvirt: none runs here, so one of our own until the end of the show")
	return nil
}

// strike takes everything down again, whatever the show came to.
func (s *stage) strike(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if s.dir == "" {
		return nil
	}
	var errs []error
	if s.private != nil {
		errs = append(errs, s.private.Stop())
	} else if s.libvirt != "" {
		errs = append(errs, s.undefineAll(ctx))
	}
	if len(s.env) > 0 {
		if out, err := s.command(ctx, s.cowhand, "engine", "stop").CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("cowhand engine stop: %w: %s", err, bytes.TrimSpace(out)))
		}
	}
	errs = append(errs, os.RemoveAll(s.dir), s.gone(ctx))
	return errors.Join(errs...)
}

// gone waits until no process is left that was told of the show's folder.
func (s *stage) gone(ctx context.Context) error {
	left := ""
	err := s.wait(ctx, "gone", func() (bool, error) {
		left = ""
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, line := range lines {
			if words, err := os.ReadFile(line); err == nil && bytes.Contains(words, []byte(s.dir)) {
				left += " " + filepath.Base(filepath.Dir(line))
			}
		}
		return left == "", err
	})
	if err != nil {
		return fmt.Errorf("processes%s: %w", left, err)
	}
	return nil
}

// undefineAll removes the show's guests from a libvirt that others use too.
func (s *stage) undefineAll(ctx context.Context) error {
	names, err := s.command(ctx, "virsh", "list", "--all", "--name").Output()
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(names)) {
		if !strings.HasPrefix(name, s.prefix) {
			continue
		}
		_ = s.command(ctx, "virsh", "destroy", name).Run() // it may be off
		if err := s.command(ctx, "virsh", "undefine", name).Run(); err != nil {
			return fmt.Errorf("virsh undefine %s: %w", name, err)
		}
	}
	return nil
}

// act begins a part of the show.
func (s *stage) act(title, about string) {
	s.acts++
	s.say("\n%s\n   %s", s.bold(fmt.Sprintf("%d. %s", s.acts, title)), about)
}

// claim prints a fact that was just checked, and by whom.
func (s *stage) claim(fact, by string) {
	s.claims++
	s.say("   %s %s  %s", s.green("ok"), fact, s.dim("("+by+")"))
}

// cowhands runs cowhand commands as a person would type them, with their output.
func (s *stage) cowhands(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		var args []string
		for word := range strings.FieldsSeq(line) {
			args = append(args, strings.Trim(word, "'"))
		}
		if err := s.show(ctx, "cowhand "+line, s.command(ctx, s.cowhand, args...)); err != nil {
			return err
		}
	}
	return nil
}

// run runs another program the same way.
func (s *stage) run(ctx context.Context, name string, args ...string) error {
	line := strings.ReplaceAll(name+" "+strings.Join(args, " "), s.dir+"/", "")
	return s.show(ctx, line, s.command(ctx, name, args...))
}

func (s *stage) show(ctx context.Context, line string, cmd *exec.Cmd) error {
	s.say("   %s", s.bold("$ "+line))
	began := time.Now()
	out, err := cmd.CombinedOutput()
	for text := range strings.Lines(string(out)) {
		s.say("     %s", strings.TrimRight(strings.ReplaceAll(text, s.dir+"/", ""), " \n"))
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

func (s *stage) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *stage) bold(text string) string  { return s.paint("1", text) }
func (s *stage) dim(text string) string   { return s.paint("2", text) }
func (s *stage) red(text string) string   { return s.paint("1;31", text) }
func (s *stage) green(text string) string { return s.paint("32", text) }

func (s *stage) paint(code, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func makeSparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
