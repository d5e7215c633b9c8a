package orchestrator

import (
	"time"

	"cowhand/hypervisor"
	"cowhand/lvm"
)

// TryRequest asks for a guest that runs on a snapshot of another's disks.
type TryRequest struct {
	Guest       string
	Set         string // empty: "try", or "try-2" and so on
	Network     hypervisor.Network
	FailRunning bool // refuse a guest that runs instead of stopping it
	Timeout     time.Duration
	Reconnect   time.Duration
	CutOptions
}

// PlanTry plans a trial: guest off, snapshots of all its disks, GUEST-SET
// defined on them and started.
func (f *Facts) PlanTry(r TryRequest, w *World) (*Plan, error) {
	var b Blockers
	g := f.guest(r.Guest, &b)
	if g == nil {
		return nil, b.err()
	}
	if r.Set == "" {
		r.Set = f.freeSetName("try")
	}
	r.Disks = nil // a trial that wrote to an origin would be no trial
	set := f.newSet(g, r.Set, RoleTrial, r.CutOptions, &b)
	set.As = g.Name + "-" + set.Name
	f.noTrial(g, &b)
	if g.State.Up() && r.FailRunning {
		b.add(ErrRunning, "guest %s is running: shut it down, or let cowhand do it with --when-running stop", g.Name)
	}
	define := f.double(g, &set, w, r.Network, false, &b)
	cut := &CutSet{Sets: []Set{set}, Size: r.Size, Chunk: r.Chunk}
	f.checkSpace(cut, &b)
	p := &Plan{Workflow: "try", Subject: g.Name + " as " + set.As, Guests: []string{g.Name, set.As}, Sets: []string{set.Name},
		again: func(f *Facts) (*Plan, error) { return f.PlanTry(r, w) }}
	p.Steps = append(p.Steps, g.stop(r.Timeout)...)
	p.Steps = append(p.Steps, &SaveGuest{Guest: g.Name, Set: set.Name}, cut, define, &StartGuest{Guest: set.As, Set: set.Name})
	p.NoReturn = len(p.Steps)
	p.Notes = append(p.Notes, f.roomNotes(cut)...)
	p.Notes = append(p.Notes, g.Name+" stays off while "+set.As+" runs; then 'cowhand keep "+set.Name+"' or 'cowhand discard "+set.Name+"'")
	return p, b.err()
}

// double plans the definition of a guest on a set's snapshots.
func (f *Facts) double(g *GuestFacts, s *Set, w *World, net hypervisor.Network, freshMACs bool, b *Blockers) *DefineGuest {
	if f.Guest(s.As) != nil {
		b.add(hypervisor.ErrExists, "guest %q exists", s.As)
	}
	d := &DefineGuest{Guest: g.Name, As: s.As, UUID: w.FreshUUID(), Set: s.Name, Role: s.Role,
		Disks: map[string]lvm.Ref{}, FreshMACs: freshMACs, Network: net}
	for _, m := range s.Members {
		d.Disks[m.Disk] = m.Snapshot
	}
	if _, err := d.rewrite(g.XML, w); err != nil { // what libvirt or the original would suffer from
		*b = append(*b, err)
	}
	return d
}
