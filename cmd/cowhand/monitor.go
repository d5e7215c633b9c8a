package main

import (
	"context"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"cowhand/dmcore"
	"cowhand/dmcore/engine"
	"cowhand/orchestrator"
)

func monitorCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "monitor", Category: "engine", Usage: "make snapshots and thin pools larger before they are full, pause guests if that cannot be, and finish merges, until it is told to stop",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "once", Usage: "look once, and end"}},
		Action: action(h.monitor),
	}
}

func (h *host) monitor(ctx context.Context, c *cli.Context) error {
	if _, err := arguments(c, 0, 0, "no argument"); err != nil {
		return err
	}
	e, err := h.volumes(ctx)
	if err != nil {
		return err
	}
	if _, err := h.lvm2Settings(); err != nil {
		return err
	}
	set := h.Monitor
	m := &orchestrator.Monitor{
		Volumes: e, Policy: h.extendPolicy, Guests: h.herd,
		Pausing:  orchestrator.Pausing{At: set.PauseAt, Who: orchestrator.PauseWho(set.Pause)},
		Files:    &orchestrator.Files{Dir: h.StateDir},
		Interval: time.Duration(set.Interval),
		Tell:     func(news string) { h.note("%s", news) },
		Now:      time.Now,
	}
	if !c.Bool("once") {
		return h.keepWatching(ctx, m)
	}
	_, trouble := m.Look(ctx)
	var errs []error
	for _, t := range trouble {
		errs = append(errs, errors.New(t.Text))
	}
	return errors.Join(errs...)
}

// keepWatching goes on with another engine when ours is gone: it was killed, and
// comes back by itself, or was stopped, and is not the monitor's to start.
func (h *host) keepWatching(ctx context.Context, m *orchestrator.Monitor) error {
	for {
		err := m.Run(ctx)
		if onKernel, _ := h.onKernel(); onKernel || !errors.Is(err, dmcore.ErrUnavailable) {
			return err
		}
		h.note("the engine is gone, and waited for: %s", err)
		for h.lvm = nil; h.lvm == nil; {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
			c, err := engine.Dial(h.RunDir)
			if errors.Is(err, dmcore.ErrUnavailable) {
				continue
			}
			if err == nil {
				err = c.Close()
			}
			if err == nil {
				m.Volumes, err = h.volumes(ctx)
			}
			if err != nil {
				return err
			}
		}
	}
}

// herd connects to libvirt for as long as the monitor needs it: it outlives
// libvirt's daemon.
func (h *host) herd(ctx context.Context) (*orchestrator.Herd, error) {
	conn, disconnect, err := h.connect(ctx)
	if err != nil {
		return nil, err
	}
	v, err := conn.Version(ctx)
	if err == nil {
		var disks orchestrator.Addresses
		if disks, err = h.addresses(v); err == nil {
			return &orchestrator.Herd{Guests: conn, Disks: disks, Close: disconnect}, nil
		}
	}
	return nil, errors.Join(err, disconnect())
}
