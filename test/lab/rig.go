package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Rig is a place to run cowhand in: one folder with its settings, state and sockets, a libvirt, and
// what guests boot from. Nothing of the host's cowhand is seen or touched.
type Rig struct {
	Dir     string
	Program string // cowhand, as an absolute path
	URI     string // libvirt
	PV      string // the image file that is cowhand's only device
	Boot    Boot

	env     []string
	private *Libvirt
}

// OpenRig makes a rig in the folder dir, which QEMU's user may enter, with a disk of the given size.
// An empty uri asks for a private libvirt.
func OpenRig(ctx context.Context, dir, program, uri string, size int64) (*Rig, error) {
	r := &Rig{Dir: dir, URI: uri, PV: filepath.Join(dir, "disk.img")}
	var err error
	if r.Program, err = filepath.Abs(program); err != nil { // commands run in Dir
		return nil, err
	}
	if _, err := os.Stat(r.Program); err != nil {
		return nil, fmt.Errorf("%w: run 'make build' first", err)
	}
	if r.Boot, err = BuildBoot(ctx, dir); err != nil {
		return nil, err
	}
	f, err := os.Create(r.PV)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return nil, err
	}
	if uri == "" {
		own := filepath.Join(dir, "libvirt")
		if err := os.Mkdir(own, 0o755); err != nil {
			return nil, err
		}
		if r.private, err = StartLibvirt(ctx, own); err != nil {
			return nil, err
		}
		r.URI = r.private.URI
	}
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "COWHAND_") {
			r.env = append(r.env, setting)
		}
	}
	r.env = append(r.env,
		"COWHAND_DEVICES="+r.PV,
		"COWHAND_STATE_DIR="+filepath.Join(dir, "state"),
		"COWHAND_RUN_DIR="+filepath.Join(dir, "run"),
		"COWHAND_LOCK_DIR="+filepath.Join(dir, "lock"),
		"COWHAND_ENGINE=userspace",
		"LIBVIRT_DEFAULT_URI="+r.URI,
	)
	return r, nil
}

// Private tells whether the rig's libvirt is its own.
func (r *Rig) Private() bool { return r.private != nil }

// Command is a program that will run in the rig's folder with its settings. "cowhand" is the rig's.
func (r *Rig) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if name == "cowhand" {
		name = r.Program
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = r.Dir, r.env
	return cmd
}

// Output runs a command and returns what it printed; an error holds what it complained of.
func (r *Rig) Output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := r.Command(ctx, name, args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return string(out), err
}

// reconnectSeconds is more than any test or show lasts.
const reconnectSeconds = 3600

// Define makes a guest known to libvirt whose disk is a volume (VG/LV) that the engine serves, and
// waits for an engine that was killed where libvirt knows how to say so.
func (r *Rig) Define(ctx context.Context, name, volume string) error {
	uri, err := r.Output(ctx, "cowhand", "engine", "uri", volume)
	if err != nil {
		return err
	}
	confined, err := AppArmor(ctx, r.URI)
	if err != nil {
		return err
	}
	reconnects, err := Reconnects(ctx, r.URI)
	if err != nil {
		return err
	}
	d := Domain{Name: name, Boot: r.Boot, Source: strings.TrimSpace(uri), Unconfined: confined}
	if reconnects {
		d.Reconnect = reconnectSeconds
	}
	file := filepath.Join(r.Dir, name+".xml")
	if err := os.WriteFile(file, []byte(d.XML()), 0o644); err != nil {
		return err
	}
	_, err = r.Output(ctx, "virsh", "--quiet", "define", file)
	return err
}

// Close stops a libvirt of the rig's own and cowhand's engine, and removes the folder. It fails if
// a process is left that was told of the folder.
func (r *Rig) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	if r.private != nil {
		errs = append(errs, r.private.Stop())
	}
	_, err := r.Output(ctx, "cowhand", "engine", "stop", "--force")
	errs = append(errs, err, os.RemoveAll(r.Dir))
	var left string
	err = Poll(ctx, func() (bool, error) {
		left = processes(r.Dir)
		return left == "", nil
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("lab: processes left:%s: %w", left, err))
	}
	return errors.Join(errs...)
}

// processes lists those that have a word in their command line.
func processes(word string) (pids string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	for _, line := range lines {
		if words, err := os.ReadFile(line); err == nil && bytes.Contains(words, []byte(word)) {
			pids += " " + filepath.Base(filepath.Dir(line))
		}
	}
	return pids
}

// Poll asks until it is so, for what tells nobody when it happens.
func Poll(ctx context.Context, so func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if yes, err := so(); yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
