package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"cowhand/lvm"
)

func monitorCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "monitor", Category: "engine", Usage: "make snapshots and thin pools larger before they are full, and finish merges, until it is told to stop",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "once", Usage: "look once, and end"}},
		Action: action(h.monitor),
	}
}

// monitor looks at all snapshots and thin pools again and again: the kernel raises
// no event when a snapshot fills, only when it is lost (Linux 6.1,
// drivers/md/dm-snap.c).
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
	told := map[string]bool{} // troubles that were told, and are there still
	var before []lvm.Fill
	for looked := time.Now(); ; {
		trouble, fills, err := h.look(ctx, e)
		if ctx.Err() != nil {
			return nil // being told to stop is how it ends
		}
		if c.Bool("once") {
			for _, t := range trouble {
				err = errors.Join(err, errors.New(t))
			}
			return err
		}
		if err != nil {
			trouble = append(trouble, err.Error())
		}
		now := map[string]bool{}
		for _, t := range trouble {
			if now[t] = true; !told[t] {
				h.note("%s", t)
			}
		}
		told = now
		wait := lvm.NextLook(before, fills.Spaces, time.Since(looked), time.Duration(h.Monitor.Interval))
		before, looked = fills.Spaces, time.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// look does what there is to do now. What cannot be done is trouble.
func (h *host) look(ctx context.Context, e *lvm.Engine) (trouble []string, fills lvm.Fills, err error) {
	done, fills, err := e.Autoextend(ctx, h.extendPolicy)
	for _, a := range done {
		if a.Err != nil {
			trouble = append(trouble, fmt.Sprintf("%s: cannot be extended: %s", a.Space, a.Err)) // not how full: that changes at each look
			continue
		}
		h.note("%s: was %.1f%% full, made %s of %s", a.Space, a.Used, lvm.HumanSize(a.Is), lvm.HumanSize(a.Was))
	}
	if err != nil {
		return trouble, fills, err
	}
	merged, err := e.FinishMerges(ctx)
	for _, r := range merged {
		h.note("%s: is merged, and dropped", r)
	}
	return trouble, fills, err
}
