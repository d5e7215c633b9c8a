package orchestrator

import "slices"

// RollbackRequest asks to put a guest's disks back to a set.
type RollbackRequest struct {
	Guest        string
	Set          string // empty: the newest snapshot
	FailRunning  bool   // refuse a guest that runs instead of stopping it
	KeepSnapshot bool   // take the same set again after the merge
	EndRequest
	CutOptions
}

// PlanRollback plans to stop a guest, merge a snapshot set into its disks and
// start it again.
func (f *Facts) PlanRollback(r RollbackRequest) (*Plan, error) {
	var b Blockers
	g := f.guest(r.Guest, &b)
	if g == nil {
		return nil, b.err()
	}
	s := f.rollbackSet(r, &b)
	if s == nil {
		return nil, b.err()
	}
	if len(r.Disks) > 0 {
		part := *s
		part.Members = nil
		for _, m := range s.Members {
			if slices.Contains(r.Disks, m.Disk) {
				part.Members = append(part.Members, m)
			}
		}
		if len(part.Members) != len(r.Disks) {
			b.add(ErrNoSet, "set %q does not hold all of the disks %v", s.Name, r.Disks)
		}
		s = &part
	} else {
		s.whole(&b, "name the disks that are to go back with --disk")
	}
	f.noTrial(g, &b)
	f.mergeable(s, &b)
	g.blockSaved(&b)
	if g.State.Up() && r.FailRunning {
		b.add(ErrRunning, "guest %s is running: shut it down, or let cowhand do it with --when-running stop", g.Name)
	}
	p := &Plan{Workflow: "rollback", Subject: g.Name + " to " + s.Name, Guests: []string{g.Name}, Sets: []string{s.Name},
		again: func(f *Facts) (*Plan, error) { return f.PlanRollback(r) }}
	p.Steps = g.stop(r.Timeout)
	p.NoReturn = len(p.Steps)
	p.Steps = append(p.Steps, &StartMerge{Members: s.Members})
	start := g.State.Up() && !r.NoStart
	if r.KeepSnapshot {
		again := *s
		again.Time, again.Grade, again.Was = r.Now, GradeClean, ""
		p.Steps = append(p.Steps, &FinishMerge{Members: s.Members, Interval: r.Interval},
			&CutSet{Sets: []Set{again}, Size: r.Size, Chunk: r.Chunk})
		if start {
			p.Steps = append(p.Steps, &StartGuest{Guest: g.Name})
		}
	} else {
		p.Steps = append(p.Steps, f.afterMerge(s, start, r.EndRequest)...)
	}
	p.Notes = append(p.Notes, "everything "+g.Name+" wrote since "+s.Time.Local().Format("2006-01-02 15:04:05")+" is lost")
	return p, b.err()
}

func (f *Facts) rollbackSet(r RollbackRequest, b *Blockers) *Set {
	sets := f.Of(r.Guest, RoleSnapshot)
	if r.Set == "" {
		if len(sets) == 0 {
			b.add(ErrNoSet, "guest %s has no snapshot to go back to", r.Guest)
			for _, s := range f.Of(r.Guest, RoleTrial) {
				b.add(ErrHasTrial, "guest %s has the trial %q: 'cowhand discard %s' makes the guest what it was before", r.Guest, s.Name, s.Name)
			}
			return nil
		}
		return sets[len(sets)-1]
	}
	for _, s := range sets {
		if s.Name == r.Set {
			return s
		}
	}
	if s := f.Set(r.Set); s != nil {
		b.add(ErrNoSet, "set %q is a %s of guest %s, not a snapshot of %s", r.Set, s.Role, s.Guest, r.Guest)
	} else {
		b.add(ErrNoSet, "guest %s has no snapshot %q", r.Guest, r.Set)
	}
	return nil
}
