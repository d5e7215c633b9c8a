package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cowhand/hypervisor"
	"cowhand/lvm"
)

// Herd is guests, where their disks are, and how to let go of them.
type Herd struct {
	Guests hypervisor.Hypervisor
	Disks  Addresses
	Close  func() error
}

// guests pauses and resumes. Without a shortage and without a guest that we paused
// nobody is asked.
func (m *Monitor) guests(ctx context.Context, short []shortage, fills lvm.Fills) (held bool, trouble []Trouble) {
	failed := func(err error) {
		if err != nil {
			trouble = append(trouble, Trouble{err.Error(), err.Error()})
		}
	}
	holds, err := m.Files.Holds()
	failed(err)
	short = slices.DeleteFunc(short, func(s shortage) bool { return s.Lost && len(holds) == 0 }) // too late
	if len(short) == 0 && len(holds) == 0 {
		return false, trouble
	}
	herd, err := m.Guests(ctx)
	if err != nil {
		failed(fmt.Errorf("guests cannot be paused or resumed: %w", err))
		return len(holds) > 0, trouble
	}
	defer func() { failed(herd.Close()) }()
	all, errs, err := herd.look(ctx)
	if err != nil {
		failed(err)
		return len(holds) > 0, trouble
	}
	for _, err := range errs {
		failed(err)
	}
	for _, r := range m.Pausing.rule(holds, all, short, fills.Groups) {
		now, err := m.carryOut(ctx, herd, r)
		failed(err)
		switch now {
		case unsure:
			held = true
		case pause, stays, record:
			held = true
			trouble = append(trouble, Trouble{"guest " + r.hold.Guest + " paused " + r.hold.UUID, r.hold.Paused()})
		}
	}
	return held, trouble
}

// look looks at all guests. One that cannot be looked at does not keep others from
// being paused.
func (h *Herd) look(ctx context.Context) (list []upGuest, errs []error, err error) {
	guests, err := h.Guests.Guests(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range guests {
		u, err := h.lookAt(ctx, g)
		if errors.Is(err, hypervisor.ErrNotFound) || errors.Is(err, hypervisor.ErrNotRunning) {
			continue // since it was listed
		}
		if err != nil {
			u.unknown, u.disks = true, nil
			errs = append(errs, err)
		}
		list = append(list, u)
	}
	return list, errs, nil
}

func (h *Herd) lookAt(ctx context.Context, g hypervisor.Guest) (upGuest, error) {
	u := upGuest{name: g.Name(), uuid: g.UUID()}
	var err error
	if u.state, err = g.State(ctx); err != nil || !u.state.Up() {
		return u, err
	}
	live, err := g.Live(ctx)
	if err != nil {
		return u, err
	}
	disks, err := hypervisor.Disks(live.XML)
	if err != nil {
		return u, fmt.Errorf("guest %s: %w", u.name, err)
	}
	for _, d := range disks {
		ref, ok := h.Disks.Locate(d)
		u.disks = append(u.disks, GuestDisk{d, ref, ok})
	}
	u.activity = live.Activity
	return u, nil
}

// guest is the guest of a hold, and not another that got its name.
func (h *Herd) guest(ctx context.Context, of Hold, op string) (hypervisor.Guest, error) {
	g, err := h.Guests.Guest(ctx, of.Guest)
	if err == nil && g.UUID() != of.UUID {
		err = &hypervisor.Error{Op: op, Guest: of.Guest, Err: hypervisor.ErrNotFound}
	}
	return g, err
}

// carryOut does what was decided, and returns what became of it.
func (m *Monitor) carryOut(ctx context.Context, herd *Herd, r ruling) (verdict, error) {
	switch r.verdict {
	case pause:
		return m.pause(ctx, herd, r.hold)
	case record:
		r.hold.Activity = r.guest.activity
		return record, m.Files.saveHold(r.hold)
	case letGo:
		m.Tell(fmt.Sprintf("guest %s: was let go on although %s; it is not paused again for that", r.hold.Guest, r.hold))
		r.hold.LetGo = true
		return letGo, m.Files.saveHold(r.hold)
	case resume:
		g, err := herd.guest(ctx, r.hold, "resume")
		if err == nil {
			err = g.Resume(ctx)
		}
		if err != nil {
			return stays, err
		}
		m.Tell(fmt.Sprintf("guest %s: goes on, there is room in %s again, or it is gone", r.hold.Guest, r.hold.space()))
		return resume, m.Files.forgetHold(r.hold.UUID)
	case forget:
		return forget, m.Files.forgetHold(r.hold.UUID)
	}
	return r.verdict, nil
}

// pause writes down that the guest is paused, does so, and writes down what it had
// done until then.
func (m *Monitor) pause(ctx context.Context, herd *Herd, h Hold) (verdict, error) {
	h.Since = m.Now()
	g, err := herd.guest(ctx, h, "pause")
	if err != nil {
		return forget, err
	}
	st, err := g.State(ctx)
	if err != nil || st != hypervisor.Running { // since it was looked at, and not by us
		return forget, err
	}
	if err := m.Files.saveHold(h); err != nil {
		return forget, err
	}
	if err := g.Pause(ctx); err != nil {
		return unsure, err
	}
	live, err := g.Live(ctx)
	if err != nil {
		return pause, err
	}
	h.Activity = live.Activity
	return pause, m.Files.saveHold(h)
}
