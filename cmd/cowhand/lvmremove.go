package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cowhand/lvm"
)

func lvremove(ctx context.Context, r *lvmRun) error {
	if len(r.args.words) == 0 && !r.args.has("select") {
		return usagef("please enter one or more logical volume paths")
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	if r.args.has("nohistory") {
		e.Store.Pools.RecordHistory = false
	}
	var there []string
	for _, w := range r.args.words {
		if vg, name, ok := splitPast(w); ok {
			if err := r.forgetPast(ctx, e, vg, name); err != nil {
				return err
			}
			continue
		}
		there = append(there, w)
	}
	if len(there) == 0 && len(r.args.words) > 0 {
		return nil
	}
	r.args.words = there
	found, err := r.chosen(ctx, e)
	if err != nil {
		return err
	}
	for _, f := range found {
		states, err := e.States(ctx, f.vg)
		if err != nil {
			return err
		}
		named := func(lv *lvm.LV) bool {
			return slices.ContainsFunc(f.lvs, func(l *lvm.LV) bool { return l.Name == lv.Name })
		}
		for _, lv := range f.lvs {
			if r.asksThin(f.vg, lv) {
				if err := r.agreedThin(f.vg, lv, named); err != nil {
					return err
				}
				continue
			}
			if snaps := f.vg.Snapshots(lv.Name); len(snaps) > 0 && !allOf(snaps, named) {
				if err := r.agreed(fmt.Sprintf("Removing origin %s/%s will also remove %d snapshots(s). Proceed?", f.vg.Name, lv.Name, len(snaps))); err != nil {
					return err
				}
				continue
			}
			if f.vg.Spare(lv.Name) {
				if err := r.agreed(fmt.Sprintf("Without %s/%s the metadata of a damaged pool cannot be repaired by itself. Do you really want to remove it?", f.vg.Name, lv.Name)); err != nil {
					return err
				}
				continue
			}
			kind := ""
			if states[lv.Name].Active {
				kind = "active "
			}
			if err := r.agreed(fmt.Sprintf("Do you really want to remove %slogical volume %s/%s?", kind, f.vg.Name, lv.Name)); err != nil {
				return err
			}
		}
	}
	var errs []error
	for _, f := range found {
		errs = append(errs, r.removeSome(ctx, e, removals(f)))
	}
	return errors.Join(errs...)
}

func allOf(lvs []*lvm.LV, is func(*lvm.LV) bool) bool {
	for _, lv := range lvs {
		if !is(lv) {
			return false
		}
	}
	return true
}

// removal is what goes together: a volume, an origin with its snapshots, or a thin
// pool with all that is in it.
type removal []lvm.Ref

// removals sorts volumes into what goes together.
func removals(f lvmFound) []removal {
	var list []removal
	taken := map[string]bool{}
	add := func(lvs ...*lvm.LV) {
		var one removal
		for _, lv := range lvs {
			if !taken[lv.Name] {
				taken[lv.Name] = true
				one = append(one, lvm.Ref{VG: f.vg.Name, LV: lv.Name})
			}
		}
		if len(one) > 0 {
			list = append(list, one)
		}
	}
	for _, lv := range f.lvs { // pools first: what is in them may be named beside them
		if lv.ThinPool() != nil {
			add(append(f.vg.GoesWith(lv.Name), lv)...)
		}
	}
	for _, lv := range f.lvs { // then origins: a snapshot may be named beside its own
		if with := f.vg.GoesWith(lv.Name); len(with) > 0 {
			add(append(with, lv)...)
		}
	}
	for _, lv := range f.lvs {
		add(lv)
	}
	return list
}

// removeAtOnce removes all or none. A snapshot that is merged, and dropped by who
// waits for that, between the look at the group and the change is no error.
func (r *lvmRun) removeAtOnce(ctx context.Context, e *lvm.Engine, list ...removal) error {
	refs := slices.Concat(list...)
	if len(refs) == 0 {
		return nil
	}
	for {
		err := e.Remove(ctx, refs)
		if err == nil {
			break
		}
		if !errors.Is(err, lvm.ErrNotFound) {
			return err
		}
		left, err2 := r.there(ctx, e, refs)
		if err2 != nil || len(left) == len(refs) || len(left) == 0 {
			return errors.Join(err, err2)
		}
		refs = left
	}
	for _, ref := range refs {
		r.say("Logical volume %q successfully removed.", ref.LV)
	}
	return nil
}

// there are those of the volumes that are still there.
func (r *lvmRun) there(ctx context.Context, e *lvm.Engine, refs []lvm.Ref) ([]lvm.Ref, error) {
	var left []lvm.Ref
	for _, ref := range refs {
		vg, err := e.Group(ctx, ref.VG)
		if err != nil {
			return nil, err
		}
		if vg.LV(ref.LV) != nil {
			left = append(left, ref)
		}
	}
	return left, nil
}

// removeSome removes all in one change or, if that cannot be, what can go.
func (r *lvmRun) removeSome(ctx context.Context, e *lvm.Engine, list []removal) error {
	err := r.removeAtOnce(ctx, e, list...)
	if err == nil || len(list) == 1 {
		return err
	}
	var errs []error
	for _, one := range list {
		errs = append(errs, r.removeAtOnce(ctx, e, one))
	}
	return errors.Join(errs...)
}
