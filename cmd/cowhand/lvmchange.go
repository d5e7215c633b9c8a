package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cowhand/lvm"
)

func lvchange(ctx context.Context, r *lvmRun) error {
	a := r.args
	tags := a.has("addtag") || a.has("deltag")
	if !a.has("activate") && !tags && !a.has("permission") && !a.has("refresh") && !changesThin(a) && !a.has("readahead") && !a.has("persistent") && !a.has("contiguous") && !a.has("alloc") {
		return usagef("need one or more of: --activate, --addtag, --alloc, --contiguous, --deltag, --discards, --errorwhenfull, --permission, --persistent, --readahead, --refresh, --setactivationskip, --setautoactivation, --zero")
	}
	on, auto, err := a.activation(false)
	if err != nil {
		return err
	}
	if err := r.wholeOnly(on); err != nil {
		return err
	}
	readOnly, err := r.permission()
	if err != nil {
		return err
	}
	if len(a.words) == 0 && !a.has("select") {
		return usagef("please give logical volume path(s)")
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	found, err := r.chosen(ctx, e)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range found {
		for _, ref := range f.refs() {
			changed := false
			if a.has("permission") {
				if f.vg.LV(ref.LV).Writable() == !readOnly {
					kind := "writable"
					if readOnly {
						kind = "read only"
					}
					errs = append(errs, fmt.Errorf("logical volume %s is already %s: %w", ref, kind, lvm.ErrInvalid))
					continue
				}
				if err := e.SetPermission(ctx, ref, !readOnly); err != nil {
					errs = append(errs, err)
					continue
				}
				changed = true
			}
			if changesThin(a) {
				if err := r.changeThin(ctx, e, ref); err != nil {
					errs = append(errs, err)
					continue
				}
				changed = true
			}
			if a.has("readahead") {
				ahead, err := r.readAhead()
				if err == nil {
					err = e.SetReadAhead(ctx, ref, ahead)
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				changed = true
			}
			if a.has("contiguous") || a.has("alloc") {
				policy, err := r.policy()
				if err == nil {
					err = e.SetPolicy(ctx, ref, orString(policy, "inherit"))
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				changed = true
			}
			if a.has("persistent") {
				if err := r.changeNumber(ctx, e, ref); err != nil {
					errs = append(errs, err)
					continue
				}
				changed = true
			}
			if tags {
				if err := e.Tag(ctx, ref, a.tags("addtag"), a.tags("deltag")); err != nil {
					errs = append(errs, err)
					continue
				}
				changed = true
			}
			if changed {
				r.say("Logical volume %s changed.", ref)
			}
		}
		if a.has("activate") {
			again, err := f.again(ctx, e) // its flags may have been changed just now
			if err != nil {
				errs = append(errs, err)
				continue
			}
			errs = append(errs, r.activateSome(ctx, e, again, on, auto))
		}
		if a.has("refresh") {
			errs = append(errs, r.eachUnit(f.vg, f.lvs, func(ref lvm.Ref) error {
				if err := waitsForOrigin(f.vg, f.vg.LV(ref.LV)); err != nil {
					return err
				}
				waits, err := r.thinMergeWaits(ctx, e, ref)
				if err != nil {
					return err
				}
				if err := e.Refresh(ctx, ref); err != nil {
					return err
				}
				if err := r.tellThinMerge(ctx, e, ref, waits); err != nil {
					return err
				}
				return r.followMerge(ctx, e, ref)
			}))
		}
	}
	return errors.Join(errs...)
}

func (r *lvmRun) activateSome(ctx context.Context, e *lvm.Engine, f lvmFound, on, auto bool) error {
	var lvs []*lvm.LV
	states, err := e.States(ctx, f.vg)
	if err != nil {
		return err
	}
	for _, lv := range f.lvs {
		if on && r.skipped(f.vg, lv, auto) {
			continue
		}
		if f.vg.PartOf(lv.Name) != nil {
			if err := r.activatePart(ctx, e, lvm.Ref{VG: f.vg.Name, LV: lv.Name}, on); err != nil {
				return err
			}
			continue
		}
		if err := waitsForOrigin(f.vg, lv); err != nil {
			return err
		}
		if seg := f.vg.Snapshot(lv.Name); seg != nil && seg.Merging {
			return &lvm.Error{VG: f.vg.Name, LV: lv.Name, Op: "activate", Err: fmt.Errorf("it merges into %s, activate that: %w", seg.Origin, lvm.ErrMerging)}
		}
		origin := f.vg.Origin(lv.Name)
		if !on && origin != nil && !f.vg.VirtualOrigin(origin) && states[lv.Name].Active && !slices.ContainsFunc(f.lvs, func(l *lvm.LV) bool { return l.Name == origin.Name }) {
			others := ""
			if n := len(f.vg.Snapshots(origin.Name)) - 1; n > 0 {
				others = fmt.Sprintf(" and %d other snapshot(s)", n)
			}
			if err := r.agreed(fmt.Sprintf("Change of snapshot %s will also change its origin %s%s. Proceed?", lv.Name, origin.Name, others)); err != nil {
				return err
			}
		}
		lvs = append(lvs, lv)
	}
	return r.eachUnit(f.vg, lvs, func(ref lvm.Ref) error { return r.activate(ctx, e, ref, on) })
}

// activatePart has people look into a part of a thin pool.
func (r *lvmRun) activatePart(ctx context.Context, e *lvm.Engine, ref lvm.Ref, on bool) error {
	if on {
		if err := r.agreed(fmt.Sprintf("Do you want to activate component LV %s in read-only mode?", ref)); err != nil {
			return err
		}
		r.say("Allowing activation of component LV.")
	}
	return e.ActivatePart(ctx, ref, on)
}

// waitsForOrigin reports a thin snapshot that is to take its origin's place: it
// comes and goes with that.
func waitsForOrigin(vg *lvm.VG, lv *lvm.LV) error {
	if t := lv.Thin(); t != nil && t.Merge != "" {
		return &lvm.Error{VG: vg.Name, LV: lv.Name, Err: fmt.Errorf("waits to be merged into %s, change that: %w", t.Merge, lvm.ErrMerging)}
	}
	return nil
}

func (r *lvmRun) activate(ctx context.Context, e *lvm.Engine, ref lvm.Ref, on bool) error {
	if !on {
		return e.Deactivate(ctx, ref)
	}
	waits, err := r.thinMergeWaits(ctx, e, ref)
	if err != nil {
		return err
	}
	if err := e.Activate(ctx, ref); errors.Is(err, lvm.ErrExcluded) {
		r.warn("%v", err) // lvm2 says nothing, and is content
		return nil
	} else if err != nil {
		return err
	}
	if err := r.tellThinMerge(ctx, e, ref, waits); err != nil {
		return err
	}
	return r.followMerge(ctx, e, ref)
}

// eachUnit does something once for every origin with its snapshots.
func (r *lvmRun) eachUnit(vg *lvm.VG, lvs []*lvm.LV, f func(lvm.Ref) error) error {
	var errs []error
	seen := map[string]bool{}
	for _, lv := range lvs {
		unit, err := vg.Unit(lv.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !seen[unit[0].Name] {
			seen[unit[0].Name] = true
			errs = append(errs, f(lvm.Ref{VG: vg.Name, LV: unit[0].Name}))
		}
	}
	return errors.Join(errs...)
}
