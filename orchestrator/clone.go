package orchestrator

import (
	"fmt"
	"strings"

	"cowhand/hypervisor"
)

// CloneRequest asks for several instances of one guest.
type CloneRequest struct {
	Guest   string
	Names   []string
	Network hypervisor.Network
	NoStart bool
	CutOptions
}

// PlanClone plans the snapshots of all instances in one metadata commit, then
// a guest on each, with a name, UUID and MAC addresses of its own.
func (f *Facts) PlanClone(r CloneRequest, w *World) (*Plan, error) {
	var b Blockers
	g := f.guest(r.Guest, &b)
	if g == nil {
		return nil, b.err()
	}
	if g.State.Up() {
		b.add(ErrRunning, "guest %s is running: an image that is being written makes no good instances; shut it down first", g.Name)
	}
	f.noTrial(g, &b)
	r.Disks = nil
	p := &Plan{Workflow: "clone", Subject: fmt.Sprintf("%s as %s", g.Name, strings.Join(r.Names, ", ")), Guests: append([]string{g.Name}, r.Names...), Sets: r.Names,
		again: func(f *Facts) (*Plan, error) { return f.PlanClone(r, w) }}
	cut := &CutSet{Size: r.Size, Chunk: r.Chunk}
	var defines, starts []Step
	seen := map[string]bool{}
	for _, name := range r.Names {
		if seen[name] {
			b.add(ErrBadName, "instance %q is named twice", name)
			continue
		}
		seen[name] = true
		set := f.newSet(g, name, RoleClone, r.CutOptions, &b)
		set.As = name
		defines = append(defines, f.double(g, &set, w, r.Network, true, &b))
		starts = append(starts, &StartGuest{Guest: name, Set: set.Name})
		cut.Sets = append(cut.Sets, set)
	}
	if len(cut.Sets) == 0 {
		b.add(ErrBadName, "no instance is named")
	}
	f.checkSpace(cut, &b)
	p.Notes = append(p.Notes, f.roomNotes(cut)...)
	p.Steps = append([]Step{cut}, defines...)
	if !r.NoStart {
		p.Steps = append(p.Steps, starts...)
	}
	p.NoReturn = len(p.Steps)
	return p, b.err()
}

// MaxClones bounds how many instances one request makes.
const MaxClones = 1000

// CloneNames makes count names from a pattern with one %d, as "web%02d".
func CloneNames(pattern string, count int) ([]string, error) {
	if count < 1 || count > MaxClones {
		return nil, &Refusal{fmt.Sprintf("count %d: want 1 to %d", count, MaxClones), ErrBadName}
	}
	if strings.Count(pattern, "%") != 1 {
		return nil, &Refusal{fmt.Sprintf("name %q: want one %%d, as in 'web%%02d'", pattern), ErrBadName}
	}
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf(pattern, i+1)
		if strings.Contains(names[i], "%!") {
			return nil, &Refusal{fmt.Sprintf("name %q: want one %%d, as in 'web%%02d'", pattern), ErrBadName}
		}
	}
	return names, nil
}

// PlanRemove plans the end of sets, with the guests that run on them.
func (f *Facts) PlanRemove(names []string) (*Plan, error) {
	var b Blockers
	p := &Plan{Workflow: "rm", Subject: strings.Join(names, ", "), Sets: names,
		again: func(f *Facts) (*Plan, error) { return f.PlanRemove(names) }}
	for _, name := range names {
		s := the(f.sets(func(s *Set) bool { return s.Name == name }), name, &b)
		if s == nil {
			b.add(ErrNoSet, "set %q: no such set", name)
			continue
		}
		for _, m := range s.Members {
			if f.States[m.Snapshot].Merging {
				b.add(ErrConflict, "%s is being merged into %s and goes by itself when that is done", m.Snapshot, m.Origin)
			}
		}
		p.Guests = append(p.Guests, s.Guest)
		if s.As != "" {
			p.Guests = append(p.Guests, s.As)
		}
		p.Steps = append(p.Steps, f.removal(s)...)
	}
	return p, b.err()
}
