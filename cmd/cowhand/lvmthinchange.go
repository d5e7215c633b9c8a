package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cowhand/lvm"
)

// changesThin tells that lvchange is to change a thin pool, or what is activated
// by itself.
func changesThin(a *lvmArgs) bool {
	return a.has("discards") || a.has("zero") || a.has("errorwhenfull") || a.has("setactivationskip") || a.has("setautoactivation")
}

func (r *lvmRun) changeThin(ctx context.Context, e *lvm.Engine, ref lvm.Ref) error {
	a := r.args
	var errs []error
	if a.has("setactivationskip") {
		skip, err := a.yesNo("setactivationskip", false)
		if err != nil {
			return err
		}
		errs = append(errs, e.SetSkipActivation(ctx, ref, skip))
	}
	if a.has("setautoactivation") {
		auto, err := a.yesNo("setautoactivation", true)
		if err != nil {
			return err
		}
		errs = append(errs, e.SetAutoActivation(ctx, ref, auto))
	}
	if !a.has("discards") && !a.has("zero") && !a.has("errorwhenfull") {
		return errors.Join(errs...)
	}
	flag := func(name string) (*bool, error) {
		if !a.has(name) {
			return nil, nil
		}
		on, err := a.yesNo(name, false)
		return &on, err
	}
	zero, err1 := flag("zero")
	full, err2 := flag("errorwhenfull")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if d := a.get("discards"); d != "" && lvm.CheckDiscards(d) != nil {
		return lvmValue("discards", d)
	}
	return errors.Join(append(errs, e.SetThinPool(ctx, ref, a.get("discards"), zero, full))...)
}

// asksThin tells a volume that others cannot be without, and that is no thick origin.
func (r *lvmRun) asksThin(vg *lvm.VG, lv *lvm.LV) bool {
	return len(vg.GoesWith(lv.Name)) > 0 && len(vg.Snapshots(lv.Name)) == 0
}

func (r *lvmRun) agreedThin(vg *lvm.VG, lv *lvm.LV, named func(*lvm.LV) bool) error {
	with := vg.GoesWith(lv.Name)
	kind := "external origin"
	switch {
	case lv.ThinPool() != nil:
		kind = "pool"
	case vg.MergingThin(lv.Name) != nil:
		kind = "merging origin"
	}
	if allOf(with, named) {
		return r.agreed(fmt.Sprintf("Do you really want to remove %s %s/%s?", kind, vg.Name, lv.Name))
	}
	return r.agreed(fmt.Sprintf("Removing %s %s/%s will remove %d dependent volume(s). Proceed?", kind, vg.Name, lv.Name, len(with)))
}

// isThinSnapshot tells a snapshot that shares its origin's pool.
func isThinSnapshot(vg *lvm.VG, name string) bool {
	lv := vg.LV(name)
	return lv != nil && lv.Thin() != nil && lv.Thin().Origin != "" && vg.Snapshot(name) == nil
}

func (r *lvmRun) mergeThin(ctx context.Context, e *lvm.Engine, ref lvm.Ref) error {
	st, err := e.MergeThin(ctx, ref)
	if err != nil {
		return err
	}
	if !st.Started {
		r.say("Delaying merge: %s.", st.Why)
		r.say("Merging of thin snapshot %s will occur on next activation of %s.", st.Snapshot, st.Origin)
		return nil
	}
	r.tellReplaced(st.Snapshot, st.Origin, st.Others)
	return nil
}

func (r *lvmRun) tellReplaced(snap, origin lvm.Ref, others []string) {
	r.say("Volume %s replaced origin %s.", snap, origin)
	if len(others) > 0 {
		r.warn("Note: %s of %s as it was before: listed as snapshots of %s still.", strings.Join(others, ", "), origin, origin)
	}
}

// thinMergeWait is a merge that waits for an activation.
type thinMergeWait struct {
	snap   lvm.Ref
	others []string
}

// thinMergeWaits looks for a thin snapshot that waits to take the volume's place.
func (r *lvmRun) thinMergeWaits(ctx context.Context, e *lvm.Engine, ref lvm.Ref) (*thinMergeWait, error) {
	vg, err := e.Group(ctx, ref.VG)
	if err != nil {
		return nil, err
	}
	snap := vg.MergingThin(ref.LV)
	if snap == nil {
		return nil, nil
	}
	w := &thinMergeWait{snap: lvm.Ref{VG: ref.VG, LV: snap.Name}}
	for _, lv := range vg.LVs {
		if t := lv.Thin(); t != nil && t.Origin == ref.LV && lv != snap {
			w.others = append(w.others, lv.Name)
		}
	}
	return w, nil
}

// tellThinMerge tells what became of a merge that waited.
func (r *lvmRun) tellThinMerge(ctx context.Context, e *lvm.Engine, ref lvm.Ref, was *thinMergeWait) error {
	if was == nil {
		return nil
	}
	now, err := r.thinMergeWaits(ctx, e, ref)
	if err != nil {
		return err
	}
	if now != nil {
		r.warn("Merging of thin snapshot %s still waits: it or %s is in use.", was.snap, ref)
		return nil
	}
	r.tellReplaced(was.snap, ref, was.others)
	return nil
}

// pollThin does the merges of thin snapshots that wait, where both are closed.
func (r *lvmRun) pollThin(ctx context.Context, e *lvm.Engine) error {
	var errs []error
	for _, word := range r.args.words {
		name, lv, err := splitName(word)
		if err != nil {
			return usagef("%s", err)
		}
		vg, err := e.Group(ctx, name)
		if err != nil {
			return err
		}
		for _, origin := range vg.LVs {
			snap := vg.MergingThin(origin.Name)
			if snap == nil || lv != "" && lv != origin.Name && lv != snap.Name {
				continue
			}
			ref := lvm.Ref{VG: name, LV: origin.Name}
			waits, err := r.thinMergeWaits(ctx, e, ref)
			if err == nil {
				err = e.Refresh(ctx, ref)
			}
			if err == nil {
				err = r.tellThinMerge(ctx, e, ref, waits)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
