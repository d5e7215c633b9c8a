package lvm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cowhand/dmcore"
)

// MergeStart tells what became of the request to merge a snapshot.
type MergeStart struct {
	Snapshot, Origin Ref
	Started          bool
	Done             bool     // a thin one took its origin's place: there is nothing to wait for
	Why              string   // why it has to wait, and for what
	Others           []string // of a thin one: the other snapshots of the origin as it was
}

// StartMerge records the merges of the snapshots into their origins, all thick ones
// in one commit for each group, then the thin ones one by one. Those whose origin and snapshot are active and closed
// start at once; the others start when their origin is next activated.
func (e *Engine) StartMerge(ctx context.Context, refs []Ref) (starts []MergeStart, err error) {
	return e.startMerges(ctx, refs, false)
}

// StartMergeNow is StartMerge, but if one of the merges would have to wait none
// is recorded: ErrInUse. Half of a guest's disks must not be merged while the
// guest begins to use the other half. Who opens a volume while thin ones take
// their origins' places may still find half of them done: whoever asks again goes on.
func (e *Engine) StartMergeNow(ctx context.Context, refs []Ref) error {
	_, err := e.startMerges(ctx, refs, true)
	return err
}

// startMerges looks at all before it begins with one. Beside an error it tells what
// was recorded before that.
func (e *Engine) startMerges(ctx context.Context, refs []Ref, must bool) (starts []MergeStart, err error) {
	thick, thin, err := e.sortMerges(ctx, refs, must)
	if err != nil {
		return nil, err
	}
	if len(thick) > 0 {
		if starts, err = e.startMerge(ctx, thick, must); err != nil {
			return nil, err
		}
	}
	for _, r := range thin {
		st, err := e.mergeThin(ctx, r, must)
		if err != nil {
			return starts, err
		}
		starts = append(starts, st)
	}
	return starts, nil
}

// sortMerges tells thick snapshots from thin ones, and reports what could not be
// merged of several.
func (e *Engine) sortMerges(ctx context.Context, refs []Ref, must bool) (thick, thin []Ref, err error) {
	groups, err := e.loaded(ctx, groupsOf(refs))
	if err != nil {
		return nil, nil, err
	}
	states := map[string]map[string]State{} // of the groups whose volumes must be closed
	for _, r := range refs {
		vg := groups[r.VG]
		if !vg.Thin(r.LV) {
			thick = append(thick, r)
			continue
		}
		thin = append(thin, r)
		if err := vg.CanMerge(r.LV); err != nil {
			return nil, nil, err
		}
		if err := e.poolChangeable(ctx, vg, vg.LV(r.LV).Thin().Pool); err != nil {
			return nil, nil, err
		}
		if must && states[r.VG] == nil {
			if states[r.VG], err = e.States(ctx, vg); err != nil {
				return nil, nil, err
			}
		}
		for _, lv := range []string{vg.SnapshotOf(r.LV).Name, r.LV} {
			if must && states[r.VG][lv].Open() {
				return nil, nil, vg.fail(r.LV, "merge", fmt.Errorf("%s is open: %w", Ref{r.VG, lv}, ErrInUse))
			}
		}
	}
	return thick, thin, nil
}

func (e *Engine) startMerge(ctx context.Context, refs []Ref, must bool) (starts []MergeStart, err error) {
	byVG := byGroup(refs)
	err = e.change(ctx, groupsOf(refs), func(groups map[string]*VG) (edit, error) {
		starts = nil
		var ed edit
		var now []watched
		for name, vg := range groups {
			states, err := e.States(ctx, vg)
			if err != nil {
				return ed, err
			}
			for _, lv := range byVG[name] {
				if err := e.mergeable(vg, lv, states[lv]); err != nil {
					return ed, err
				}
				origin := vg.Origin(lv).Name
				if err := vg.StartMerge(lv); err != nil {
					return ed, err
				}
				st := MergeStart{Snapshot: Ref{name, lv}, Origin: Ref{name, origin}}
				switch {
				case !states[origin].Active:
					st.Why = fmt.Sprintf("%s is not active; it begins when that is activated", st.Origin)
				case states[origin].Open():
					st.Why = fmt.Sprintf("%s is open; it begins when that is closed and activated again", st.Origin)
				case states[lv].Open():
					st.Why = fmt.Sprintf("%s is open; it begins when that is closed and %s activated again", st.Snapshot, st.Origin)
				default:
					st.Started = true
					now = append(now, vg.watch(origin), vg.watch(lv))
				}
				if must && !st.Started {
					return ed, vg.fail(lv, "merge", fmt.Errorf("%s: %w", st.Why, ErrInUse))
				}
				starts = append(starts, st)
				ed.units = append(ed.units, touch{Ref: st.Origin, noMerging: !st.Started})
			}
		}
		ed.still = func(ctx context.Context) error { return e.stillClosed(ctx, "merge", now) }
		return ed, nil
	})
	return starts, err
}

func (e *Engine) mergeable(vg *VG, lv string, st State) error {
	if st.Snapshot != nil && st.Snapshot.State != dmcore.SnapshotOK {
		return vg.fail(lv, "merge", fmt.Errorf("the snapshot is invalid, it was full: %w", ErrInvalid))
	}
	if vg.LV(lv) != nil && vg.Origin(lv) == nil {
		return vg.fail(lv, "merge", fmt.Errorf("it is no snapshot: %w", ErrInvalid))
	}
	if vg.LV(lv) == nil {
		return vg.fail(lv, "merge", ErrNotFound)
	}
	return nil
}

// watched is the device of a volume that must stay closed.
type watched struct {
	Ref
	uuid dmcore.UUID
}

func (vg *VG) watch(lv string) watched {
	return watched{Ref{vg.Name, lv}, vg.uuid(vg.LV(lv), "")}
}

// begins lists, of units whose devices were planned, those that a merge is about
// to change under whoever opens them.
func (d *devices) begins(vg *VG, units []touch) (closed []watched) {
	for _, t := range units {
		origin, snap := vg.LV(t.LV), vg.Merging(t.LV)
		if t.noMerging || origin == nil || snap == nil {
			continue
		}
		live, active := d.tables[vg.uuid(origin, "")]
		if active && !isMerge(live) {
			closed = append(closed, vg.watch(origin.Name), vg.watch(snap.Name))
		}
	}
	return closed
}

func isMerge(t dmcore.Table) bool {
	return len(t) == 1 && t[0].Target.Type() == dmcore.SnapshotMerge{}.Type()
}

// stillClosed makes sure, with the devices suspended, that nobody opened one
// since it was looked at: he has read the old contents, or is about to write.
func (e *Engine) stillClosed(ctx context.Context, op string, devices []watched) error {
	for _, w := range devices {
		info, ok, err := e.DM.Find(ctx, w.uuid)
		if err != nil {
			return err
		}
		if ok && e.seen(info).OpenCount > 0 {
			return &Error{VG: w.VG, LV: w.LV, Op: op, Err: fmt.Errorf("was opened meanwhile: %w", ErrInUse)}
		}
	}
	return nil
}

// MergeProgress is how far a merge is.
type MergeProgress struct {
	Snapshot, Origin Ref
	Left             dmcore.Sectors // still to be copied
	Percent          float64        // done, of what there was when waiting began
}

// WaitMerge waits until the snapshots are merged, and drops each as soon as it
// is. Progress is told at each interval, and once at the end. A merge that
// waits for an activation is ErrInUse, one that failed dmcore.ErrIO.
func (e *Engine) WaitMerge(ctx context.Context, refs []Ref, interval time.Duration, progress func(MergeProgress)) error {
	if progress == nil {
		progress = func(MergeProgress) {}
	}
	if interval <= 0 {
		interval = 15 * time.Second // lvm2's activation/polling_interval
	}
	var errs []error
	for _, r := range refs {
		w := &mergeWait{e: e, ref: r, interval: interval, progress: progress}
		errs = append(errs, w.run(ctx))
	}
	return errors.Join(errs...)
}

type mergeWait struct {
	e        *Engine
	ref      Ref
	interval time.Duration
	progress func(MergeProgress)
	first    dmcore.Sectors
}

// lookInterval is how often a merge is looked at, whether or not there is
// somebody to tell: its snapshot is dropped soon after the end.
const lookInterval = time.Second

func (w *mergeWait) run(ctx context.Context) error {
	var told time.Time
	for {
		vg, err := w.e.Store.Load(ctx, w.ref.VG)
		if err != nil {
			return err
		}
		if lv := vg.LV(w.ref.LV); lv != nil && lv.Thin() != nil && lv.Thin().Merge != "" {
			return vg.fail(w.ref.LV, "merge", fmt.Errorf("waits until %s is activated anew: %w", lv.Thin().Merge, ErrInUse))
		}
		origin := vg.Origin(w.ref.LV)
		if origin == nil { // merged, and dropped by someone else
			return nil
		}
		uuid := vg.uuid(origin, "")
		info, found, err := w.e.DM.Find(ctx, uuid)
		if err != nil {
			return err
		}
		if !found {
			return w.unlessGone(ctx, vg.fail(w.ref.LV, "merge", fmt.Errorf("%s is not active: %w", origin.Name, ErrInactive)))
		}
		st, err := w.e.DM.SnapshotStatus(ctx, uuid)
		if errors.Is(err, dmcore.ErrInvalid) {
			return w.unlessGone(ctx, vg.fail(w.ref.LV, "merge", fmt.Errorf("waits until %s is activated anew: %w", origin.Name, ErrInUse)))
		}
		if err != nil {
			return err
		}
		switch {
		case st.State != dmcore.SnapshotOK:
			return vg.fail(w.ref.LV, "merge", fmt.Errorf("%s; activating %s again goes on with it: %w", st.State, origin.Name, dmcore.ErrIO))
		case st.Merged():
			if err := w.e.finishMerge(ctx, w.ref); err != nil {
				return err
			}
			w.tell(origin.Name, 0)
			return nil
		}
		if time.Since(told) >= w.interval {
			told = time.Now()
			w.tell(origin.Name, st.Allocated-st.Metadata)
		}
		// The last chunk raises an event in the userspace machine, none in the kernel.
		wait, cancel := context.WithTimeout(ctx, min(w.interval, lookInterval))
		_, err = w.e.DM.Wait(wait, uuid, info.EventNr)
		late := wait.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !late && !errors.Is(err, dmcore.ErrNotFound) {
			return err
		}
	}
}

// unlessGone returns what was found wrong with the devices, unless the metadata
// that was compared with them is old: someone else dropped the snapshot.
func (w *mergeWait) unlessGone(ctx context.Context, wrong error) error {
	vg, err := w.e.Store.Load(ctx, w.ref.VG)
	if err == nil && vg.Origin(w.ref.LV) != nil {
		err = wrong
	}
	return err
}

func (w *mergeWait) tell(origin string, left dmcore.Sectors) {
	w.first = max(w.first, left)
	p := MergeProgress{Snapshot: w.ref, Origin: Ref{w.ref.VG, origin}, Left: left, Percent: 100}
	if w.first > 0 {
		p.Percent = 100 * float64(w.first-left) / float64(w.first)
	}
	w.progress(p)
}

// finishMerge drops a snapshot that is merged. That it is, is looked at again
// under the lock. A snapshot that is gone was dropped by someone else.
func (e *Engine) finishMerge(ctx context.Context, snap Ref) error {
	errGone := errors.New("gone")
	err := e.change(ctx, []string{snap.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[snap.VG]
		origin := vg.Origin(snap.LV)
		if origin == nil {
			return edit{}, errGone
		}
		st, err := e.DM.SnapshotStatus(ctx, vg.uuid(origin, ""))
		if err != nil {
			return edit{}, err
		}
		if !st.Merged() {
			return edit{}, vg.fail(snap.LV, "finish merge", fmt.Errorf("status is %q: %w", st, ErrMerging))
		}
		if err := e.mergesFrom(ctx, vg, origin, vg.LV(snap.LV)); err != nil {
			return edit{}, vg.fail(snap.LV, "finish merge", err)
		}
		return edit{units: []touch{{Ref: Ref{snap.VG, origin.Name}}}}, vg.FinishMerge(snap.LV)
	})
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// mergesFrom makes sure that what is merged into the origin is that snapshot: what
// the metadata names may have been changed since its device was mapped.
func (e *Engine) mergesFrom(ctx context.Context, vg *VG, origin, snap *LV) error {
	t, err := e.DM.Table(ctx, vg.uuid(origin, ""))
	if err != nil {
		return err
	}
	store, found, err := e.DM.Find(ctx, vg.uuid(snap, layerCOW))
	if err != nil {
		return err
	}
	if len(t) == 1 && found {
		if m, ok := t[0].Target.(dmcore.SnapshotMerge); ok && m.COW == store.Dev.Dev() {
			return nil
		}
	}
	return fmt.Errorf("%s is mapped to %s, which does not merge this snapshot: %w", origin.Name, t, ErrInvalid)
}

// FinishMerges drops every snapshot whose merge is complete, and tells which.
func (e *Engine) FinishMerges(ctx context.Context) ([]Ref, error) {
	groups, err := e.Groups(ctx)
	if err != nil {
		return nil, err
	}
	var done []Ref
	var errs []error
	for _, vg := range groups {
		states, err := e.States(ctx, vg)
		if err != nil {
			return done, err
		}
		for _, k := range vg.links().all {
			st := states[k.seg.Origin]
			if !k.seg.Merging || !st.Copying || st.Snapshot == nil || !st.Snapshot.Merged() {
				continue
			}
			if err := e.finishMerge(ctx, Ref{vg.Name, k.seg.COW}); err != nil {
				errs = append(errs, err)
				continue
			}
			done = append(done, Ref{vg.Name, k.seg.COW})
		}
	}
	return done, errors.Join(errs...)
}
