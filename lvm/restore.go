package lvm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cowhand/dmcore"
)

// Remembered is a device of an engine that is no more: what it was, and whether
// something had it open and may come back.
type Remembered struct {
	UUID    dmcore.UUID
	Merging bool // its table was a snapshot-merge
	Open    bool
}

// Restore makes the devices of a new engine, as at boot: those of the volumes
// that were active, or with nothing remembered those of all volumes but the ones
// flagged to be left alone. What they map is what the metadata says now. A merge
// that was recorded begins, unless it had not begun and somebody may still have
// the volume open: he would see its contents change under him. A group that
// cannot be restored does not keep the others from it.
func (e *Engine) Restore(ctx context.Context, was []Remembered) error {
	groups, err := e.Groups(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, vg := range groups {
		errs = append(errs, e.restoreGroup(ctx, vg, was))
	}
	return errors.Join(errs...)
}

// restoreGroup locks a group that has to be written for its thin pools exclusively,
// and lets others read the rest meanwhile.
func (e *Engine) restoreGroup(ctx context.Context, vg *VG, was []Remembered) (err error) {
	owes := vg.owes()
	unlock, err := e.Locks.VGs(ctx, owes, vg.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if vg, err = e.Store.Load(ctx, vg.Name); err != nil {
		return err
	}
	units, errs, err := e.toRestore(vg, was)
	if err != nil {
		return err
	}
	if owes {
		units = slices.DeleteFunc(units, func(t touch) bool {
			now, err := e.mergeThins(ctx, vg, t)
			if err != nil {
				errs = append(errs, err)
				return true
			}
			vg = now
			return false
		})
	}
	return errors.Join(append(errs, e.bringEach(ctx, vg, units, true))...)
}

// owes reports a group whose metadata changes when its thin volumes are activated:
// pools have messages, or snapshots wait to take their origins' places.
func (vg *VG) owes() bool {
	return slices.ContainsFunc(vg.LVs, func(lv *LV) bool {
		return lv.ThinPool() != nil && len(lv.ThinPool().Messages) > 0 || lv.Thin() != nil && lv.Thin().Merge != ""
	})
}

// toRestore lists the units that are to be active.
func (e *Engine) toRestore(vg *VG, was []Remembered) (units []touch, errs []error, err error) {
	elsewhere, err := e.elsewhere()
	if err != nil {
		return nil, nil, err
	}
	links := vg.links()
	for _, lv := range vg.LVs {
		if t := lv.Thin(); t != nil && t.Merge != "" { // it is gone, but for who has it open
			if vg.open(lv, was) {
				units = append(units, touch{Ref: Ref{vg.Name, lv.Name}, activate: true, noMerging: true, waiting: true})
			}
			continue
		}
		_, isSnapshot := links.byCOW[lv.Name]
		if isSnapshot || links.helpers[lv.Name] || !links.shown(lv) || vg.canStack(lv, links) != nil {
			continue
		}
		unit, err := vg.Unit(lv.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		active, wait := vg.autoActivates(lv), false
		if was != nil {
			active, wait = vg.remembered(unit, links, was)
		} else if slices.ContainsFunc(unit, func(lv *LV) bool { return vg.leftAlone(lv, elsewhere) != nil }) {
			continue
		}
		if active {
			units = append(units, touch{Ref: Ref{vg.Name, lv.Name}, activate: true, noMerging: wait})
		}
	}
	return units, errs, nil
}

// bringEach brings units in one plan, or, if that fails, one after another: one
// that cannot be brought does not keep the others from it.
func (e *Engine) bringEach(ctx context.Context, vg *VG, units []touch, locked bool) error {
	err := e.bring(ctx, vg, units, locked)
	if err == nil || len(units) < 2 {
		return err
	}
	var errs []error
	for _, t := range units {
		errs = append(errs, e.bring(ctx, vg, []touch{t}, locked))
	}
	return errors.Join(errs...)
}

// remembered tells whether any volume of the unit was active, and whether a
// merge must wait because one was open and the merge had not begun.
func (vg *VG) remembered(unit []*LV, links *links, was []Remembered) (active, wait bool) {
	merging := false
	snap := links.thin.merge[unit[0].Name] // a unit of its own
	for _, w := range was {
		for _, lv := range unit {
			if w.UUID == vg.uuid(lv, links.own(lv)) {
				active = true
				wait = wait || w.Open
				merging = merging || w.Merging
			}
		}
	}
	wait = wait || snap != nil && vg.open(snap, was)
	return active, wait && !merging
}

// open tells that somebody had a volume of the unit open, and may come back.
func (vg *VG) open(lv *LV, was []Remembered) bool {
	unit, _ := vg.Unit(lv.Name)
	return slices.ContainsFunc(unit, func(lv *LV) bool {
		return slices.ContainsFunc(was, func(w Remembered) bool { return w.Open && w.UUID == vg.uuid(lv, "") })
	})
}

// bringUnits brings the devices of units to what the metadata says. The group is
// locked, so that devices the metadata does not know are nobody's any more.
func (e *Engine) bringUnits(ctx context.Context, vg *VG, units []touch) error {
	return e.bring(ctx, vg, units, true)
}

func (e *Engine) bring(ctx context.Context, vg *VG, units []touch, locked bool) error {
	if err := e.bringPools(ctx, vg, units, locked); err != nil {
		return err
	}
	devs, err := e.look(ctx)
	if err != nil {
		return err
	}
	same := map[string]*VG{vg.Name: vg}
	plan, err := devs.plan(ctx, same, same, units, locked)
	if err != nil {
		return err
	}
	begins := devs.begins(vg, units)
	still := func(ctx context.Context) error { return e.stillClosed(ctx, "merge", begins) }
	return e.carryOut(ctx, devs, plan, &commit{e: e}, still)
}

// lockPatience is how long Reconcile waits for a group's lock. Who holds it may
// be the very process whose devices are to be put in order, hung.
const lockPatience = 5 * time.Second

// Reconcile puts devices in order that a process left suspended, or with a table
// that never became live: each unit of theirs becomes what the metadata on
// disk says, old or new, and devices of volumes the metadata does not know are
// removed, unless somebody holds the group's lock: they may be about to be
// committed.
func (e *Engine) Reconcile(ctx context.Context, left []dmcore.Info) error {
	groups, err := e.Groups(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, vg := range groups {
		if slices.ContainsFunc(left, func(i dmcore.Info) bool { id, _, ok := split(i.UUID); return ok && id == vg.ID }) {
			errs = append(errs, e.reconcileGroup(ctx, vg.Name, left))
		}
	}
	return errors.Join(errs...)
}

// Unsettled lists the devices of groups that are suspended, or have a table that
// never became live. If nobody is at work on the group, somebody died there.
func (e *Engine) Unsettled(ctx context.Context, group func(ID) bool) ([]dmcore.Info, error) {
	infos, err := e.DM.List(ctx)
	if err != nil {
		return nil, err
	}
	var left []dmcore.Info
	for _, i := range infos {
		if id, _, ok := split(i.UUID); ok && group(id) && (i.Suspended || i.Inactive) {
			left = append(left, i)
		}
	}
	return left, nil
}

// Release resumes, with what is live, those of the devices that are suspended
// still: their metadata cannot be read, or asks for what the device mapper
// refuses, and I/O must not wait for that.
func (e *Engine) Release(ctx context.Context, left []dmcore.Info) error {
	d := &devices{e: e}
	var errs []error
	for _, i := range left {
		if now, ok, err := e.DM.Find(ctx, i.UUID); err != nil || ok && now.Suspended {
			errs = append(errs, err, d.goOn(ctx, i.UUID))
		}
	}
	return errors.Join(errs...)
}

// Recover is Reconcile for all groups on which nobody is at work, and tells what
// it put in order.
func (e *Engine) Recover(ctx context.Context) ([]dmcore.Info, error) {
	groups, err := e.Groups(ctx)
	if err != nil {
		return nil, err
	}
	var done []dmcore.Info
	var errs []error
	for _, vg := range groups {
		left, err := e.recoverGroup(ctx, vg)
		done, errs = append(done, left...), append(errs, err)
	}
	return done, errors.Join(errs...)
}

func (e *Engine) recoverGroup(ctx context.Context, vg *VG) (left []dmcore.Info, err error) {
	if left, err = e.Unsettled(ctx, func(id ID) bool { return id == vg.ID }); err != nil || len(left) == 0 {
		return nil, err
	}
	unlock, err := e.Locks.VGs(ctx, true, vg.Name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	// Who had the lock may have been in the middle of his own change.
	if left, err = e.Unsettled(ctx, func(id ID) bool { return id == vg.ID }); err != nil || len(left) == 0 {
		return nil, err
	}
	return left, e.reconcile(ctx, vg.Name, left, true)
}

func (e *Engine) reconcileGroup(ctx context.Context, name string, left []dmcore.Info) error {
	wait, cancel := context.WithTimeout(ctx, cmp.Or(e.LockPatience, lockPatience))
	unlock, err := e.Locks.VGs(wait, true, name)
	cancel()
	locked := err == nil
	if locked {
		defer unlock()
	} else if ctx.Err() != nil {
		return err
	}
	return e.reconcile(ctx, name, left, locked)
}

func (e *Engine) reconcile(ctx context.Context, name string, left []dmcore.Info, locked bool) error {
	vg, err := e.Store.Load(ctx, name)
	if err != nil {
		return err
	}
	states, err := e.States(ctx, vg)
	if err != nil {
		return err
	}
	devices, err := e.devices(ctx)
	if err != nil {
		return err
	}
	var units []touch
	var errs []error
	seen := map[string]bool{}
	pools := vg.links().thin.pool
	for _, i := range left {
		vgid, lvid, ok := split(i.UUID)
		lv := vg.LVByID(lvid)
		if !ok || vgid != vg.ID || lv == nil {
			continue
		}
		if _, ok := devices[i.UUID]; !ok { // who had the lock deactivated it
			continue
		}
		if pool := pools[lv.Name]; pool != nil {
			lv = pool // its parts are mapped with it
		}
		unit, err := vg.Unit(lv.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		origin := unit[0]
		if seen[origin.Name] {
			continue
		}
		seen[origin.Name] = true
		t := touch{Ref: Ref{name, origin.Name}, activate: true}
		for _, member := range unit {
			t.noMerging = t.noMerging || states[member.Name].Open()
		}
		t.noMerging = t.noMerging && !states[origin.Name].Copying
		units = append(units, t)
	}
	return errors.Join(append(errs, e.bringEach(ctx, vg, units, locked))...)
}

// CreateVG makes a group of physical volumes.
func (e *Engine) CreateVG(ctx context.Context, spec VGSpec) (vg *VG, err error) {
	unlock, err := e.exclusive(ctx, spec.Name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return e.Store.CreateVG(ctx, spec)
}

// CreatePV makes the device at path a physical volume.
func (e *Engine) CreatePV(ctx context.Context, path string, o PVOptions) (v Volume, err error) {
	unlock, err := e.exclusive(ctx)
	if err != nil {
		return Volume{}, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return e.Store.CreatePV(ctx, path, o)
}

// RemoveVG removes a group that has no volumes.
func (e *Engine) RemoveVG(ctx context.Context, name string) (err error) {
	unlock, err := e.exclusive(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	vg, err := e.Store.Load(ctx, name)
	if err != nil {
		return err
	}
	if shown := vg.ShownLVs(); len(shown) > 0 {
		var names []string
		for _, lv := range shown {
			names = append(names, lv.Name)
		}
		return vg.fail("", "remove", fmt.Errorf("it has volumes (%s): %w", strings.Join(names, ", "), ErrInUse))
	}
	return e.Store.RemoveVG(ctx, vg)
}

// exclusive takes the global lock and those of groups.
func (e *Engine) exclusive(ctx context.Context, groups ...string) (unlock func() error, err error) {
	global, err := e.Locks.Global(ctx, true)
	if err != nil {
		return nil, err
	}
	local, err := e.Locks.VGs(ctx, true, groups...)
	if err != nil {
		return nil, errors.Join(err, global())
	}
	return func() error { return errors.Join(local(), global()) }, nil
}
