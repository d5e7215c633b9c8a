package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/engine"
	"cowhand/lvm"
)

// A daemon that dies mostQuick times in a row within quickDeath of its start is
// not started again: what killed it will kill the next one too.
const (
	quickDeath = 5 * time.Second
	mostQuick  = 5
)

// engineServe starts the daemon and starts it again when it is killed, so that
// guests whose disks wait for it go on by themselves. The first daemon tells who
// started us that it is ready. One that ends by itself, well or not, is not
// started again.
func (h *host) engineServe(ctx context.Context, _ *cli.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for quick := 0; ; {
		cmd := exec.Command(exe, append(slices.Clone(h.args[:len(h.args)-1]), "work")...)
		cmd.Stdout, cmd.Stderr = h.stdout, h.stderr
		began := time.Now()
		if err := engine.StartWorker(cmd); err != nil {
			return errors.Join(err, engine.NotifyReady(err))
		}
		stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
		err := cmd.Wait()
		stop()
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return err
		}
		if !exit.Sys().(syscall.WaitStatus).Signaled() && exit.ExitCode() != panicked {
			return err
		}
		if quick++; time.Since(began) >= quickDeath {
			quick = 0
		}
		if ctx.Err() != nil || quick == mostQuick {
			return fmt.Errorf("engine: died: %w", err)
		}
		h.logger().Error("engine died and is started again", "err", err)
	}
}

// panicked is the exit code of a Go program that panicked.
const panicked = 2

// engineWork is the daemon.
func (h *host) engineWork(ctx context.Context, _ *cli.Context) error {
	owner, users := qemuUsers(h.Libvirt.QEMUUsers)
	open := newDisks(h.lockDir)
	err := engine.Serve(ctx, engine.Config{
		RunDir: h.RunDir, NBDOwner: owner, NBDUsers: users, Version: version, Log: h.logger(),
		Open: func(ref dmcore.Dev) (blockdev.Device, error) { return open.open(devicePath(ref)) },
		Restore: func(ctx context.Context, ctl dmcore.Control, was []engine.Was) error {
			var tables []dmcore.Table
			var memory []lvm.Remembered
			if was != nil { // none were active: none are to be now
				memory = []lvm.Remembered{}
			}
			for _, w := range was {
				tables = append(tables, w.Table)
				merging := len(w.Table) == 1 && w.Table[0].Target.Type() == "snapshot-merge"
				memory = append(memory, lvm.Remembered{UUID: w.Info.UUID, Merging: merging, Open: w.Open})
			}
			e, err := h.daemonEngine(ctl, tables)
			if err == nil {
				err = e.Restore(ctx, memory)
			}
			if err != nil { // the volumes that could be restored are worth serving
				h.logger().Error("restore", "err", err)
			}
			return nil
		},
		Repair: func(ctx context.Context, ctl dmcore.Control, left []dmcore.Info) error {
			tables, err := allTables(ctx, dmcore.NewClient(ctl))
			if err != nil {
				return err
			}
			e, err := h.daemonEngine(ctl, tables)
			if err != nil {
				return err
			}
			return e.Reconcile(ctx, left)
		},
		Ready: func() {
			if err := engine.NotifyReady(nil); err != nil {
				h.logger().Error("report that the engine is ready", "err", err)
			}
		},
	})
	return errors.Join(err, engine.NotifyReady(err))
}

// daemonEngine looks at the devices the daemon was told of and at those that
// tables stand on: commands may have named others since.
func (h *host) daemonEngine(ctl dmcore.Control, tables []dmcore.Table) (*lvm.Engine, error) {
	paths := slices.Clone(h.Devices)
	for _, t := range tables {
		for _, d := range t.Devs() {
			if filepath.IsAbs(string(d)) {
				paths = append(paths, string(d))
			}
		}
	}
	paths, err := lvm.FindDevices(paths) // each once, whatever it was called
	if err != nil {
		return nil, err
	}
	e := h.newEngine(dmcore.NewClient(ctl), paths)
	e.Locks.NoWait = false // nobody would try again
	return e, nil
}

func allTables(ctx context.Context, dm *dmcore.Client) ([]dmcore.Table, error) {
	infos, err := dm.List(ctx)
	if err != nil {
		return nil, err
	}
	var tables []dmcore.Table
	for _, i := range infos {
		t, err := dm.Table(ctx, i.UUID)
		if err != nil && !errors.Is(err, dmcore.ErrNotFound) {
			return nil, err
		}
		tables = append(tables, t)
	}
	return tables, nil
}
