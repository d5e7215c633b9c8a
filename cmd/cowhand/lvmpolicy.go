package main

import (
	"context"
	"fmt"
	"slices"

	"cowhand/lvm"
)

// extendByPolicy makes a snapshot larger if lvm2's settings want it larger:
// activation/snapshot_autoextend_threshold and snapshot_autoextend_percent.
func (r *lvmRun) extendByPolicy(ctx context.Context) error {
	if r.args.has("size") || r.args.has("extents") {
		return usagef("--use-policies tells the size")
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	found, err := lvmVolumes(ctx, e, r.args.words)
	if err != nil {
		return err
	}
	set, err := r.lvm2Settings()
	if err != nil {
		return err
	}
	var wanted []lvm.Ref
	for _, f := range found {
		for _, ref := range f.refs() {
			if f.vg.Snapshot(ref.LV) == nil {
				return fmt.Errorf("%s: only snapshots are extended by --use-policies: %w", ref, lvm.ErrUnsupported)
			}
			wanted = append(wanted, ref)
		}
	}
	done, _, err := e.Autoextend(ctx, func(vg *lvm.VG, snap *lvm.LV) lvm.ExtendPolicy {
		if !slices.Contains(wanted, lvm.Ref{VG: vg.Name, LV: snap.Name}) {
			return lvm.ExtendPolicy{}
		}
		a := set.Activation
		return lvm.ExtendPolicy{Threshold: int(a.SnapshotAutoextendThreshold), Amount: int(a.SnapshotAutoextendPercent)}
	})
	if err != nil {
		return err
	}
	for _, x := range done {
		if x.Err != nil {
			return x.Err
		}
		r.say("Size of logical volume %s changed from %s to %s.", x.Snapshot, lvmHuman(x.Was), lvmHuman(x.Is))
		r.say("Logical volume %s successfully resized.", x.Snapshot)
	}
	return nil
}
