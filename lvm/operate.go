package lvm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Create makes a volume, zeroes its beginning and activates it unless told
// otherwise. One that this host maps read-only is not zeroed, and one that it may not
// activate is refused if it would have to be. It returns its name.
func (e *Engine) Create(ctx context.Context, vg string, spec StripedSpec, activate bool) (name string, err error) {
	spec.Stamp = e.stamp()
	err = e.change(ctx, []string{vg}, func(groups map[string]*VG) (edit, error) {
		lv, err := groups[vg].AddStriped(spec)
		if err != nil {
			return edit{}, err
		}
		name = lv.Name
		zero := !spec.NoZero && !groups[vg].readOnlyHere(lv)
		if err := groups[vg].allowed(lv); activate && err != nil {
			if zero {
				return edit{}, err
			}
			e.warn(err)
			activate = false
		}
		ref := Ref{vg, name}
		ed := edit{units: []touch{{Ref: ref, activate: activate}}}
		if zero {
			ed.fresh = []blank{{Ref: ref, length: volumeHead}}
		}
		return ed, nil
	})
	return name, err
}

// Remove removes volumes that nothing has open. An origin goes only together
// with its snapshots: name them all.
func (e *Engine) Remove(ctx context.Context, refs []Ref) error {
	byVG := byGroup(refs)
	pools := func(groups map[string]*VG) ([]Ref, error) { return poolsOf(groups, byVG), nil }
	return e.changePools(ctx, groupsOf(refs), poolChange{pools: pools, edit: func(groups map[string]*VG) (edit, error) {
		var ed edit
		var gone []watched
		for name, vg := range groups {
			for _, lv := range byVG[name] {
				if l := vg.LV(lv); l != nil && l.spare() { // it has no device
					continue
				}
				ed.units = append(ed.units, touch{Ref: Ref{name, e.originOf(vg, lv)}, noMerging: true})
				if vg.LV(lv) != nil {
					gone = append(gone, vg.watch(lv))
				}
			}
			if err := vg.Remove(byVG[name]...); err != nil {
				return ed, err
			}
		}
		ed.still = func(ctx context.Context) error { return e.stillClosed(ctx, "remove", gone) }
		return ed, e.keepMerging(ctx, groups, ed.units)
	}})
}

// originOf names the unit of a volume by its origin, which outlives the
// volume's removal.
func (e *Engine) originOf(vg *VG, lv string) string {
	if o := vg.Origin(lv); o != nil {
		return o.Name
	}
	return lv
}

// keepMerging lets units whose merge is under way merge on: only for others a
// recorded merge keeps waiting.
func (e *Engine) keepMerging(ctx context.Context, groups map[string]*VG, units []touch) error {
	for i, t := range units {
		vg := groups[t.VG]
		if vg == nil || vg.LV(t.LV) == nil || vg.Merging(t.LV) == nil {
			continue
		}
		states, err := e.States(ctx, vg)
		if err != nil {
			return err
		}
		units[i].noMerging = !states[t.LV].Copying
	}
	return nil
}

// Tag adds and removes tags of a volume; of the group, if ref.LV is empty.
func (e *Engine) Tag(ctx context.Context, ref Ref, add, del []string) error {
	return e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[ref.VG]
		return edit{}, errors.Join(vg.AddTags(ref.LV, add...), vg.DelTags(ref.LV, del...))
	})
}

// Activate makes the devices of the volume's unit. A merge that was recorded
// begins, unless the origin was active already or the snapshot is open. A volume
// that the host's settings exclude is refused with [ErrExcluded].
func (e *Engine) Activate(ctx context.Context, ref Ref) (err error) {
	unlock, vg, err := e.locked(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	states, err := e.States(ctx, vg)
	if err != nil {
		return err
	}
	t := touch{Ref: Ref{ref.VG, e.originOf(vg, ref.LV)}, activate: true}
	if err := cmp.Or(vg.atHome(), vg.allowed(vg.LV(t.LV))); err != nil {
		return err
	}
	merging := vg.Merging(t.LV)
	t.noMerging = !states[t.LV].Copying && (states[t.LV].Active || merging != nil && states[merging.Name].Open())
	if vg, err = e.mergeThins(ctx, vg, t); err != nil {
		return err
	}
	return e.bringUnits(ctx, vg, []touch{t})
}

// Refresh brings the devices of the volume's unit to what the metadata says, if
// they are active. A merge that was recorded begins if origin and snapshot are
// closed now.
func (e *Engine) Refresh(ctx context.Context, ref Ref) (err error) {
	unlock, vg, err := e.locked(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	states, err := e.States(ctx, vg)
	if err != nil {
		return err
	}
	unit, err := vg.Unit(ref.LV)
	if err != nil {
		return err
	}
	t := touch{Ref: Ref{ref.VG, unit[0].Name}}
	merging := vg.Merging(unit[0].Name)
	t.noMerging = !states[t.LV].Copying && (states[t.LV].Open() || merging != nil && states[merging.Name].Open())
	if vg, err = e.mergeThins(ctx, vg, t); err != nil {
		return err
	}
	return e.bringUnits(ctx, vg, []touch{t})
}

// Deactivate removes the devices of the volume's unit, which nothing may have
// open; and those of a thin snapshot that waits to take its place.
func (e *Engine) Deactivate(ctx context.Context, ref Ref) (err error) {
	unlock, vg, err := e.locked(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	unit, err := vg.Unit(ref.LV)
	if err != nil {
		return err
	}
	if err := e.dropUnit(ctx, vg, unit[0].Name); err != nil {
		return err
	}
	if snap := vg.MergingThin(unit[0].Name); snap != nil {
		return e.dropUnit(ctx, vg, snap.Name)
	}
	return nil
}

// locked loads a group under its lock and makes sure that the volume is there. Of a
// group that is read-only not even devices are made or removed (lvm2 2.03.16,
// lib/metadata/metadata.c, vg_read).
func (e *Engine) locked(ctx context.Context, ref Ref) (unlock func() error, vg *VG, err error) {
	unlock, err = e.Locks.VGs(ctx, true, ref.VG)
	if err != nil {
		return nil, nil, err
	}
	vg, err = e.Store.Load(ctx, ref.VG)
	switch {
	case err != nil:
	case vg.LV(ref.LV) == nil:
		err = vg.fail(ref.LV, "", ErrNotFound)
	case !vg.Writable():
		err = vg.fail("", "", ErrReadOnly)
	}
	if err != nil {
		return nil, nil, errors.Join(err, unlock())
	}
	return unlock, vg, nil
}

// closeWait is how often a device that is still open is looked at again, as lvm2
// does (lib/activate/activate.c): the device mapper raises no event when one is
// closed. closePatience is for how long, if the engine is not told otherwise.
const (
	closeWait     = 200 * time.Millisecond
	closePatience = 10 * time.Second
)

// WaitClosed waits until nothing has the volumes open; ErrInUse when patience is
// at its end. A guest that was just powered off may take a moment to let go.
func (e *Engine) WaitClosed(ctx context.Context, refs []Ref) error {
	patience := e.Patience
	if patience == 0 {
		patience = closePatience
	}
	for begun := time.Now(); ; {
		open, err := e.open(ctx, refs)
		if err != nil || len(open) == 0 {
			return err
		}
		if time.Since(begun) > patience {
			return fmt.Errorf("%v: still open after %s: %w", open, patience, ErrInUse)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(closeWait):
		}
	}
}

// open lists those of the volumes that something has open. Volumes that do not
// exist are not open.
func (e *Engine) open(ctx context.Context, refs []Ref) ([]Ref, error) {
	var open []Ref
	for _, name := range groupsOf(refs) {
		vg, err := e.Store.Load(ctx, name)
		if err != nil {
			return nil, err
		}
		states, err := e.States(ctx, vg)
		if err != nil {
			return nil, err
		}
		for _, r := range refs {
			if r.VG == name && states[r.LV].Open() && !slices.Contains(open, r) {
				open = append(open, r)
			}
		}
	}
	return open, nil
}
