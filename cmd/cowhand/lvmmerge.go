package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cowhand/lvm"
)

func lvmMergeVerbs() []lvmVerb {
	return []lvmVerb{
		{"lvconvert", "merge snapshots into their origins, or make volumes snapshots, thin pools, or thin",
			"--merge [-b] [-i SECONDS] VG/SNAPSHOT|@TAG...\n-s [-c CHUNK] VG/ORIGIN VG/STORE\n" +
				"--thinpool [--poolmetadata VG/LV|--poolmetadatasize SIZE] [-c CHUNK] [-Z n] [--discards D] VG/LV [PATH...]\n" +
				"-T --thinpool VG/POOL [--originname NAME] VG/LV\n--swapmetadata --poolmetadata VG/LV VG/POOL",
			`merge mergesnapshot mergethin background|b interval|i: snapshot|s chunksize|c: zero|Z: stripes: stripesize|I: type: thin|T thinpool: originname:
			poolmetadata: poolmetadatasize: poolmetadataspare: discards: errorwhenfull: readahead|r: swapmetadata alloc:`, lvconvert},
		{"lvpoll", "wait for a merge that was begun, and drop what was merged", "--polloperation merge [-i SECONDS] VG/SNAPSHOT...",
			"polloperation: interval|i: handlemissingpvs abort", lvpoll},
	}
}

// defaultInterval is LVM2's activation/polling_interval.
const defaultInterval = 15 * time.Second

// interval reads -i, in seconds. LVM2 waits before it looks first if there is
// a "+"; we never need to.
func (r *lvmRun) interval() (time.Duration, error) {
	if !r.args.has("interval") {
		return defaultInterval, nil
	}
	v := r.args.get("interval")
	n, err := strconv.ParseUint(strings.TrimPrefix(v, "+"), 10, 31)
	if err != nil {
		return 0, lvmValue("interval", v)
	}
	return max(time.Duration(n)*time.Second, 100*time.Millisecond), nil
}

func lvconvert(ctx context.Context, r *lvmRun) error {
	if r.args.has("snapshot") || r.args.get("type") == "snapshot" {
		return r.attachStore(ctx)
	}
	if r.wantsThinConversion() {
		return r.convertThin(ctx)
	}
	if !r.args.has("merge") && !r.args.has("mergesnapshot") && !r.args.has("mergethin") {
		return usagef("only --merge, --snapshot, --thinpool and --thin are known here")
	}
	if len(r.args.words) == 0 {
		return usagef("please give snapshots to merge")
	}
	interval, err := r.interval()
	if err != nil {
		return err
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	found, err := lvmVolumes(ctx, e, r.args.words)
	if err != nil {
		return err
	}
	if len(found) == 0 { // who wants to go back must not believe that he did
		return fmt.Errorf("%s: no volume has this tag: %w", strings.Join(r.args.words, " "), lvm.ErrNotFound)
	}
	var errs []error
	var begun []lvm.Ref
	for _, f := range found {
		for _, ref := range f.refs() {
			if isThinSnapshot(f.vg, ref.LV) {
				if err := r.mergeThin(ctx, e, ref); err != nil {
					errs = append(errs, lvmSays(err, "Cannot merge snapshot %s", ref))
				}
				continue
			}
			started, err := r.startMerge(ctx, e, ref)
			errs = append(errs, err)
			if started {
				begun = append(begun, ref)
			}
		}
	}
	if len(begun) > 0 {
		if r.args.has("background") {
			errs = append(errs, r.poll(begun...))
		} else {
			errs = append(errs, r.waitMerge(ctx, e, begun, interval))
		}
	}
	return errors.Join(errs...)
}

func (r *lvmRun) startMerge(ctx context.Context, e *lvm.Engine, ref lvm.Ref) (started bool, err error) {
	starts, err := e.StartMerge(ctx, []lvm.Ref{ref})
	if err != nil {
		return false, lvmSays(err, "Cannot merge snapshot %s", ref)
	}
	for _, s := range starts {
		if s.Started {
			r.say("Merging of volume %s started.", s.Snapshot)
			continue
		}
		r.say("Delaying merge: %s.", s.Why)
		r.say("Merging of snapshot %s will occur on next activation of %s.", s.Snapshot, s.Origin)
	}
	return len(starts) > 0 && starts[0].Started, nil
}

func (r *lvmRun) waitMerge(ctx context.Context, e *lvm.Engine, refs []lvm.Ref, interval time.Duration) error {
	err := e.WaitMerge(ctx, refs, interval, func(p lvm.MergeProgress) {
		r.say("%s: Merged: %s%%", p.Origin, lvmPercent(p.Percent))
	})
	if err != nil && ctx.Err() != nil {
		var names []string
		for _, ref := range refs {
			names = append(names, ref.String())
		}
		return errors.Join(fmt.Errorf("interrupted; the merge goes on by itself. To wait for it: cowhand lvm lvpoll --polloperation merge %s", strings.Join(names, " ")), r.poll(refs...))
	}
	return err
}

func lvpoll(ctx context.Context, r *lvmRun) error {
	op := r.args.get("polloperation")
	if op != "merge" && op != "merge_thin" {
		return usagef("--polloperation %q: want merge or merge_thin", op)
	}
	if len(r.args.words) == 0 {
		return usagef("please give snapshots to wait for")
	}
	interval, err := r.interval()
	if err != nil {
		return err
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	if op == "merge_thin" {
		return r.pollThin(ctx, e)
	}
	var refs []lvm.Ref
	for _, w := range r.args.words {
		name, lv, err := splitName(w)
		if err != nil {
			return usagef("%s", err)
		}
		vg, err := e.Group(ctx, name)
		if err != nil {
			return err
		}
		// A snapshot that is gone was merged and dropped.
		for _, l := range vg.LVs {
			if s := vg.Snapshot(l.Name); s != nil && s.Merging && (lv == "" || lv == l.Name || lv == s.Origin) {
				refs = append(refs, lvm.Ref{VG: name, LV: l.Name})
			}
		}
	}
	return r.waitMerge(ctx, e, refs, interval)
}

// followMerge has a merge that began with an activation be finished.
func (r *lvmRun) followMerge(ctx context.Context, e *lvm.Engine, ref lvm.Ref) error {
	vg, err := e.Group(ctx, ref.VG)
	if err != nil {
		return err
	}
	snap := vg.Merging(ref.LV)
	if snap == nil {
		return nil
	}
	states, err := e.States(ctx, vg)
	if err != nil {
		return err
	}
	snapRef := lvm.Ref{VG: ref.VG, LV: snap.Name}
	if !states[ref.LV].Copying {
		r.warn("Merging of snapshot %s still waits: %s or its origin is in use.", snapRef, snapRef)
		return nil
	}
	if follow, _ := r.args.yesNo("poll", true); !follow {
		r.warn("Merging of snapshot %s into %s is under way; nobody drops it when it is done, until the next activation.", snapRef, ref)
		return nil
	}
	r.warn("Merging of snapshot %s into %s is under way.", snapRef, ref)
	return r.poll(snapRef)
}

// poll has a process of its own wait for merges and drop the snapshots, as
// LVM2's does.
func (h *host) poll(refs ...lvm.Ref) error {
	words := []string{"lvm", "lvpoll", "--polloperation", "merge"}
	for _, ref := range refs {
		words = append(words, ref.String())
	}
	cmd, err := h.another(words...)
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}
