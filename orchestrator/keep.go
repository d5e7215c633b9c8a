package orchestrator

import (
	"slices"
	"time"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// MergeMode says when a guest is started that waits for a merge.
type MergeMode string

// The modes of merging.
const (
	MergeHot  MergeMode = "hot"  // start the guest at once, copy while it runs
	MergeCold MergeMode = "cold" // copy first, then start the guest
	MergeAuto MergeMode = "auto" // hot
)

// EndRequest asks for the end of a trial, by keeping or discarding it.
type EndRequest struct {
	Target   string // the guest, its trial's name, or the set
	NoStart  bool
	Merge    MergeMode
	Interval time.Duration
	Timeout  time.Duration
}

// trial finds the trial a user names.
func (f *Facts) trial(target string, b *Blockers) *Set {
	trials := f.sets(func(s *Set) bool {
		return s.Role == RoleTrial && (s.Name == target || s.As == target || s.Guest == target)
	})
	if s := the(trials, target, b); s != nil {
		return s
	}
	if s := f.Set(target); s != nil {
		b.add(ErrNoTrial, "set %q is a %s, not a trial", target, s.Role)
	} else {
		b.add(ErrNoTrial, "%q: no guest or set of that name has a trial", target)
	}
	return nil
}

// PlanKeep plans to make a trial's contents the guest's own: trial off, merge
// into the origins, guest started.
func (f *Facts) PlanKeep(r EndRequest) (*Plan, error) {
	var b Blockers
	s := f.trial(r.Target, &b)
	if s == nil {
		return nil, b.err()
	}
	f.mergeable(s, &b)
	s.whole(&b, "some of its disks are out of sight, or were removed")
	p := &Plan{Workflow: "keep", Subject: s.Name + " (" + s.As + ") as " + s.Guest, Guests: []string{s.Guest, s.As}, Sets: []string{s.Name},
		again: func(f *Facts) (*Plan, error) { return f.PlanKeep(r) }}
	if f.runsOn(s) {
		p.Steps = append(p.Steps, &StopGuest{Guest: s.As, Set: s.Name, Timeout: orPatience(r.Timeout), WasUp: true})
	}
	g := f.Guest(s.Guest)
	if g != nil && g.State.Up() {
		b.add(ErrRunning, "guest %s runs on the volumes that its trial would replace: shut it down first", g.Name)
	}
	for _, g := range []*GuestFacts{g, f.Guest(s.As)} {
		g.blockSaved(&b)
	}
	p.NoReturn = len(p.Steps)
	p.Steps = append(p.Steps, &StartMerge{Members: s.Members}, &UndefineGuest{Guest: s.As, Set: s.Name})
	p.Steps = append(p.Steps, f.afterMerge(s, g != nil && !r.NoStart, r)...)
	p.Notes = append(p.Notes, "what "+s.Guest+" held before the trial is gone afterwards")
	return p, b.err()
}

// afterMerge waits for the merge and starts the guest, in the order the mode
// wants.
func (f *Facts) afterMerge(s *Set, start bool, r EndRequest) []Step {
	finish := &FinishMerge{Members: s.Members, Interval: r.Interval}
	end := []Step{finish, &ForgetSet{Set: s.Name}}
	rest := func(o *Set) bool { return o.Name == s.Name && o.Guest == s.Guest && len(o.Members) > len(s.Members) }
	if slices.ContainsFunc(f.Sets, rest) { // only some of its disks go back
		end = end[:1]
	}
	switch {
	case !start:
		return end
	case r.Merge == MergeCold:
		return append(end, &StartGuest{Guest: s.Guest})
	}
	return append([]Step{&StartGuest{Guest: s.Guest}}, end...)
}

// PlanDiscard plans to throw a trial away: trial off at once, its definition
// and snapshots removed, the guest started if it ran before.
func (f *Facts) PlanDiscard(r EndRequest) (*Plan, error) {
	var b Blockers
	s := f.trial(r.Target, &b)
	if s == nil {
		return nil, b.err()
	}
	for _, m := range s.Members {
		if f.States[m.Snapshot].Merging {
			b.add(ErrConflict, "%s is being merged into %s: a trial that is being kept cannot be discarded", m.Snapshot, m.Origin)
		}
	}
	p := &Plan{Workflow: "discard", Subject: s.Name + " (" + s.As + ")", Guests: []string{s.Guest, s.As}, Sets: []string{s.Name},
		Steps: f.removal(s), again: func(f *Facts) (*Plan, error) { return f.PlanDiscard(r) }}
	if g := f.Guest(s.Guest); g != nil && s.Was == "running" && !r.NoStart {
		p.Steps = append(p.Steps, &StartGuest{Guest: s.Guest})
	}
	return p, b.err()
}

// removal is how a set ends: the guest on it off at once (its disks are thrown
// away), undefined, the snapshots removed.
func (f *Facts) removal(s *Set) []Step {
	var steps []Step
	if s.As != "" {
		if f.runsOn(s) {
			steps = append(steps, &StopGuest{Guest: s.As, Set: s.Name, Hard: true})
		}
		steps = append(steps, &UndefineGuest{Guest: s.As, Set: s.Name})
	}
	return append(steps, &RemoveSet{Set: *s}, &ForgetSet{Set: s.Name})
}

// runsOn reports that the guest that was made for a set is up.
func (f *Facts) runsOn(s *Set) bool {
	t := f.Guest(s.As)
	if t == nil || !t.State.Up() {
		return false
	}
	ours, err := markedAs(t.XML, s.Name)
	return err == nil && ours
}

// mergeable blocks a merge that could not work or would lose data.
func (f *Facts) mergeable(s *Set, b *Blockers) {
	for _, m := range s.Members {
		st := f.States[m.Snapshot]
		vg := f.group(m.Snapshot.VG)
		switch {
		case m.Origin.LV == "" || vg == nil:
			b.add(ErrNoSet, "%s is no snapshot any more", m.Snapshot)
		case !f.States[m.Origin].Active:
			b.add(lvm.ErrInactive, "%s is not active: run 'cowhand lvm lvchange -ay %s'", m.Origin, m.Origin)
		case st.Merging:
			b.add(ErrConflict, "%s is being merged already: 'cowhand recover' finishes it", m.Snapshot)
		case st.Snapshot != nil && st.Snapshot.State != dmcore.SnapshotOK:
			b.add(ErrDamaged, "%s is invalid (it was full): it cannot be merged, only removed", m.Snapshot)
		default:
			if err := vg.CanMerge(m.Snapshot.LV); err != nil {
				*b = append(*b, err)
			}
			f.roomForMerge(s, m, b)
		}
	}
}
