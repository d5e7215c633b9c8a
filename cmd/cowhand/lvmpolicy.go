package main

import (
	"context"
	"fmt"
	"slices"

	"cowhand/lvm"
)

// extendByPolicy makes snapshots and thin pools larger if lvm2's settings want
// them larger: activation/snapshot_autoextend_threshold and _percent, and those of
// thin pools.
func (r *lvmRun) extendByPolicy(ctx context.Context) error {
	if r.args.has("size") || r.args.has("extents") || r.args.has("poolmetadatasize") {
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
		states, err := e.States(ctx, f.vg)
		if err != nil {
			return err
		}
		for _, ref := range f.refs() {
			if f.vg.Snapshot(ref.LV) == nil && f.vg.LV(ref.LV).ThinPool() == nil {
				return fmt.Errorf("%s: only snapshots and thin pools are extended by --use-policies: %w", ref, lvm.ErrUnsupported)
			}
			if st := states[ref.LV]; st.Snapshot == nil && st.Pool == nil {
				return fmt.Errorf("%s: how full it is can only be told while it is active: %w", ref, lvm.ErrInactive)
			}
			if by := set.extendPolicy(f.vg.LV(ref.LV)); by.Threshold < 100 && by.Amount == 0 { // lvm2 2.03.16, _lvresize_adjust_policy
				return fmt.Errorf("%s: cannot be extended by a policy that is set to 0%%: %w", ref, lvm.ErrInvalid)
			}
			wanted = append(wanted, ref)
		}
	}
	done, _, err := e.Autoextend(ctx, func(vg *lvm.VG, lv *lvm.LV) lvm.ExtendPolicy {
		if !slices.Contains(wanted, lvm.Ref{VG: vg.Name, LV: lv.Name}) {
			return lvm.ExtendPolicy{}
		}
		return set.extendPolicy(lv)
	})
	if err != nil {
		return err
	}
	for i, x := range done {
		if x.Err != nil {
			return x.Err
		}
		of := x.Ref.String()
		if x.Part != "" {
			of = fmt.Sprintf("%s_t%s", x.Ref, map[lvm.Part]string{lvm.PoolData: "data", lvm.PoolMetadata: "meta"}[x.Part])
		}
		r.say("Size of logical volume %s changed from %s to %s.", of, lvmHuman(x.Was), lvmHuman(x.Is))
		if i+1 == len(done) || done[i+1].Ref != x.Ref {
			r.say("Logical volume %s successfully resized.", x.Ref)
		}
	}
	return nil
}
