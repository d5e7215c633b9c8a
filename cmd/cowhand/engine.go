package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"cowhand/dmcore"
	"cowhand/dmcore/engine"
	"cowhand/lvm"
)

func engineCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "engine", Category: "engine", Usage: "the daemon that keeps userspace devices alive",
		Subcommands: []*cli.Command{
			{Name: "start", Usage: "start it, if it does not run", Action: action(h.engineStart)},
			{Name: "stop", Usage: "stop it; refused while a guest uses a device", Action: action(h.engineStop),
				Flags: []cli.Flag{&cli.BoolFlag{Name: "force", Usage: "take devices away from guests that use them"}}},
			{Name: "status", Usage: "tell what it is doing", Action: action(h.engineStatus)},
			{Name: "uri", Usage: "print the NBD URI of a volume", ArgsUsage: "VG/LV", Action: action(h.engineURI)},
			{Name: "serve", Usage: "keep an engine running", Hidden: true, Action: action(h.engineServe)},
			{Name: "work", Usage: "be the engine", Hidden: true, Action: action(h.engineWork)},
			{Name: "guard", Usage: "stand by while devices are suspended", Hidden: true, Action: action(h.engineGuard)},
		},
	}
}

func (h *host) engineStart(ctx context.Context, c *cli.Context) error {
	cl, err := h.dial(ctx)
	if err != nil {
		return err
	}
	info, err := cl.Engine(ctx)
	if err != nil {
		return err
	}
	h.note("engine: running, pid %d, %d devices", info.PID, info.Devices)
	return nil
}

func (h *host) engineStop(ctx context.Context, c *cli.Context) error {
	cl, err := engine.Dial(h.RunDir)
	if errors.Is(err, dmcore.ErrUnavailable) {
		h.note("engine: not running")
		return nil
	}
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Shutdown(ctx, c.Bool("force")); err != nil {
		if errors.Is(err, dmcore.ErrBusy) {
			return &refusal{err.Error(), lvm.ErrInUse}
		}
		return err
	}
	h.note("engine: stopped")
	return nil
}

func (h *host) engineStatus(ctx context.Context, c *cli.Context) error {
	cl, err := engine.Dial(h.RunDir)
	if errors.Is(err, dmcore.ErrUnavailable) {
		return h.print(table{Name: "engine", Columns: []column{{"state", "STATE"}}, Rows: []row{{"state": "stopped"}}})
	}
	if err != nil {
		return err
	}
	defer cl.Close()
	info, err := cl.Engine(ctx)
	if err != nil {
		return err
	}
	return h.print(table{Name: "engine",
		Columns: []column{{"state", "STATE"}, {"pid", "PID"}, {"version", "VERSION"}, {"uptime", "UPTIME"}, {"devices", "DEVICES"}, {"open", "OPEN"}},
		Rows: []row{{"state": "running", "pid": info.PID, "version": info.Version, "uptime": info.Uptime.Round(time.Second).String(),
			"devices": info.Devices, "open": len(info.Open)}}})
}

func (h *host) engineURI(ctx context.Context, c *cli.Context) error {
	args, err := arguments(c, 1, 1, "VG/LV")
	if err != nil {
		return err
	}
	ref, err := lvm.ParseRef(args[0])
	if err != nil {
		return err
	}
	if onKernel, err := h.onKernel(); err != nil {
		return err
	} else if onKernel {
		return &refusal{fmt.Sprintf("%s: the kernel's volumes are block devices, not NBD exports: %s", ref, h.devicePathOf(ref)), errors.ErrUnsupported}
	}
	volumes, vg, err := h.group(ctx, ref.VG)
	if err != nil {
		return err
	}
	states, err := volumes.States(ctx, vg)
	if err != nil {
		return err
	}
	st, ok := states[ref.LV]
	if !ok {
		return &lvm.Error{VG: ref.VG, LV: ref.LV, Err: lvm.ErrNotFound}
	}
	if !st.Active {
		return &refusal{fmt.Sprintf("%s is not active: run 'cowhand lvm lvchange -ay %s'", ref, ref), lvm.ErrInactive}
	}
	fmt.Fprintln(h.stdout, engine.URI(h.RunDir, ref.String()))
	return nil
}

// whereIs is how programs reach a volume: a device's path or an NBD URI.
func (h *host) whereIs(r lvm.Ref) string {
	if onKernel, err := h.onKernel(); err == nil && onKernel {
		return h.devicePathOf(r)
	}
	return engine.URI(h.RunDir, r.String())
}

func (h *host) devicePathOf(r lvm.Ref) string { return (&blockAddresses{h.devDir()}).Source(r).Device }
