package lvm

import (
	"context"
	"errors"
	"fmt"

	"cowhand/dmcore"
)

// MergeThin has a thin snapshot take its origin's place. If both are closed that
// is done at once, and Started is set; a snapshot that is active is deactivated.
// Otherwise it is recorded, and done when the origin is next activated.
func (e *Engine) MergeThin(ctx context.Context, ref Ref) (st MergeStart, err error) {
	return e.mergeThin(ctx, ref, false)
}

// mergeThin is MergeThin; if it must be at once, one that has to wait is ErrInUse
// and not recorded.
func (e *Engine) mergeThin(ctx context.Context, ref Ref, must bool) (st MergeStart, err error) {
	unlock, vg, err := e.locked(ctx, ref)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := vg.CanMerge(ref.LV); err != nil {
		return st, err
	}
	origin := vg.SnapshotOf(ref.LV)
	if err := e.poolChangeable(ctx, vg, origin.Thin().Pool); err != nil {
		return st, err
	}
	st = MergeStart{Snapshot: ref, Origin: Ref{ref.VG, origin.Name}}
	states, err := e.States(ctx, vg)
	if err != nil {
		return st, err
	}
	open := func(lv string) bool { return states[lv].Open() }
	if open(ref.LV) {
		st.Why = fmt.Sprintf("%s is open; it begins when that is closed and %s activated again", ref, st.Origin)
	} else if err := e.dropUnit(ctx, vg, ref.LV); errors.Is(err, ErrInUse) {
		st.Why = fmt.Sprintf("%s is in use; it begins when that is closed and %s activated again", ref, st.Origin)
	} else if err != nil {
		return st, err
	} else if open(origin.Name) {
		st.Why = fmt.Sprintf("%s is open; it begins when that is closed and activated again", st.Origin)
	}
	if st.Why == "" {
		st.Others, err = e.replaceOrigin(ctx, ref, origin.Name)
		st.Started, st.Done = err == nil, err == nil
		return st, err
	}
	if must {
		return st, vg.fail(ref.LV, "merge", fmt.Errorf("%s: %w", st.Why, ErrInUse))
	}
	before, err := e.loaded(ctx, []string{ref.VG})
	if err != nil {
		return st, err
	}
	return st, e.changeLocked(ctx, []string{ref.VG}, before, func(groups map[string]*VG) (edit, error) {
		return edit{}, groups[ref.VG].DeferThinMerge(ref.LV)
	})
}

// poolChangeable reports a pool that is live and takes no messages.
func (e *Engine) poolChangeable(ctx context.Context, vg *VG, pool string) error {
	u := vg.uuid(vg.LV(pool), layerTPool)
	info, found, err := e.DM.Find(ctx, u)
	if err != nil || !found || !info.Live {
		return err
	}
	st, err := e.DM.ThinPoolStatus(ctx, u)
	if err != nil {
		return err
	}
	return vg.fail(pool, "", vg.unchangeable(pool, st))
}

// replaceOrigin merges a thin snapshot, which is not active, on the metadata, on
// the origin's device and in the kernel's pool. The group is locked.
func (e *Engine) replaceOrigin(ctx context.Context, snap Ref, origin string) (others []string, err error) {
	to := Ref{snap.VG, origin}
	return others, e.changePoolsLocked(ctx, []string{snap.VG}, poolChange{
		stands: true,
		pools: func(groups map[string]*VG) ([]Ref, error) {
			return []Ref{{snap.VG, groups[snap.VG].LV(snap.LV).Thin().Pool}}, nil
		},
		edit: func(groups map[string]*VG) (edit, error) {
			vg := groups[snap.VG]
			watch := []watched{vg.watch(origin)}
			devs, err := e.look(ctx)
			if err != nil {
				return edit{}, err
			}
			merged, err := devs.thinMerged(ctx, vg, origin)
			if err != nil {
				return edit{}, err
			}
			m, err := vg.MergeThin(snap.LV)
			others = m.Others
			still := func(ctx context.Context) error { return e.stillClosed(ctx, "merge", watch) }
			if merged { // who opened it since has the snapshot's contents
				still = nil
			}
			return edit{units: []touch{{Ref: to}}, still: still}, err
		},
	})
}

// dropUnit removes the devices of a unit.
func (e *Engine) dropUnit(ctx context.Context, vg *VG, lv string) error {
	unit, err := vg.Unit(lv)
	if err != nil {
		return err
	}
	devs, err := e.look(ctx)
	if err != nil {
		return err
	}
	concerned := map[dmcore.UUID]bool{}
	devs.concern(vg, unit, concerned)
	have, err := devs.have(ctx, map[string]*VG{vg.Name: vg}, concerned)
	if err != nil {
		return err
	}
	plan, err := PlanDevices(have, nil)
	if err != nil {
		return vg.fail(lv, "deactivate", err)
	}
	return e.carryOut(ctx, devs, plan, &commit{e: e}, nil)
}

// thinMerged reports an origin whose device is the thin snapshot's already that
// waits to be merged into it: lvm2 activates it so, and changes the metadata later
// (2.03.16, lib/activate/dev_manager.c, _add_new_lv_to_dtree).
func (d *devices) thinMerged(ctx context.Context, vg *VG, lv string) (bool, error) {
	if !vg.hasThin() {
		return false, nil
	}
	snap := vg.MergingThin(lv)
	if snap == nil {
		return false, nil
	}
	t, err := d.e.DM.Table(ctx, vg.uuid(vg.LV(lv), ""))
	if errors.Is(err, dmcore.ErrNotFound) {
		return false, nil
	}
	if err != nil || len(t) != 1 {
		return false, err
	}
	target, ok := t[0].Target.(dmcore.Thin)
	return ok && target.DeviceID == snap.Thin().DeviceID, nil
}

// mergeThins does the merge that a volume waits for, if its unit is about to be
// activated, or is closed and brought up to date, and the snapshot is closed; or if
// somebody mapped it so already. It returns the group as it is then. A volume whose
// snapshot is in use is not activated: it would be what the merge is to replace.
func (e *Engine) mergeThins(ctx context.Context, vg *VG, t touch) (*VG, error) {
	if !vg.hasThin() {
		return vg, nil
	}
	snap := vg.MergingThin(t.LV)
	if snap == nil {
		return vg, nil
	}
	states, err := e.States(ctx, vg)
	if err != nil {
		return nil, err
	}
	devs := &devices{e: e}
	merged, err := devs.thinMerged(ctx, vg, t.LV)
	if err != nil {
		return nil, err
	}
	if !merged && t.noMerging {
		return vg, nil
	}
	if !merged && states[snap.Name].Active {
		switch err := e.dropUnit(ctx, vg, snap.Name); {
		case errors.Is(err, ErrInUse) && t.activate:
			return nil, vg.fail(t.LV, "activate", fmt.Errorf("thin snapshot %s, which is to take its place, is in use: %w", snap.Name, err))
		case errors.Is(err, ErrInUse):
			return vg, nil
		case err != nil:
			return nil, err
		}
	}
	if _, err := e.replaceOrigin(ctx, Ref{vg.Name, snap.Name}, t.LV); err != nil {
		return nil, err
	}
	return e.Store.Load(ctx, vg.Name)
}
