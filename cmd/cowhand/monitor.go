package main

import (
	"context"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"cowhand/lvm"
	"cowhand/orchestrator"
)

func monitorCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "monitor", Category: "engine", Usage: "make snapshots larger before they are full, and finish merges, until it is told to stop",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "once", Usage: "look once, and end"}},
		Action: action(h.monitor),
	}
}

// monitor looks at all snapshots again and again. The kernel raises no event when
// a snapshot fills, only when it is lost (Linux 6.1, drivers/md/dm-snap.c).
func (h *host) monitor(ctx context.Context, c *cli.Context) error {
	if _, err := arguments(c, 0, 0, "no argument"); err != nil {
		return err
	}
	e, err := h.volumes(ctx)
	if err != nil {
		return err
	}
	policy, err := h.extendPolicy()
	if err != nil {
		return err
	}
	told := map[string]bool{} // troubles that were told, and are there still
	var before map[lvm.Ref]float64
	for looked := time.Now(); ; {
		trouble, fills, err := h.look(ctx, e, policy)
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
		wait := lvm.NextLook(before, fills, time.Since(looked), time.Duration(h.Monitor.Interval))
		before, looked = fills, time.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// look does what there is to do now. What cannot be done is trouble.
func (h *host) look(ctx context.Context, e *lvm.Engine, policy func(*lvm.VG, *lvm.LV) lvm.ExtendPolicy) (trouble []string, fills map[lvm.Ref]float64, err error) {
	done, fills, err := e.Autoextend(ctx, policy)
	for _, a := range done {
		if a.Err != nil {
			trouble = append(trouble, a.Err.Error())
			continue
		}
		h.note("%s: was %.1f%% full, made %s of %s", a.Snapshot, a.Used, lvm.HumanSize(a.Is), lvm.HumanSize(a.Was))
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

// extendPolicy is ours for the snapshots of sets, and lvm2's for others.
func (h *host) extendPolicy() (func(*lvm.VG, *lvm.LV) lvm.ExtendPolicy, error) {
	conf, err := h.lvm2Settings()
	if err != nil {
		return nil, err
	}
	ours := lvm.ExtendPolicy{Threshold: h.Monitor.Threshold, Amount: h.Monitor.Extend}
	theirs := lvm.ExtendPolicy{Threshold: int(conf.Activation.SnapshotAutoextendThreshold), Amount: int(conf.Activation.SnapshotAutoextendPercent)}
	return func(_ *lvm.VG, snap *lvm.LV) lvm.ExtendPolicy {
		if orchestrator.Ours(snap) {
			return ours
		}
		return theirs
	}, nil
}
