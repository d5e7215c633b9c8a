package userspace

import (
	"fmt"
	"slices"

	"cowhand/dmcore"
	"cowhand/dmcore/cowstore"
)

// An exception store must be open once. A second target on the same COW device
// therefore gets no store of its own when it is constructed, but takes over
// that of the first when it is resumed:
//
//	source active ──suspend source──▶ resume destination ──▶ source is invalid
//	                                      │
//	source destroyed before ──────────────┴──▶ destination is invalid
//
// The rules and their order are those of drivers/md/dm-snap.c
// (__validate_exception_handover, snapshot_preresume, snapshot_dtr).

// sharing finds the two ends of a handover among the targets on the COW device
// of s. The caller holds origins.mu.
func (s *snapshot) sharing() (source, destination *snapshot) {
	for _, o := range s.owner.m.origins.byKey {
		for _, x := range o.all {
			switch {
			case x.cow.key() != s.cow.key():
			case x.active:
				source = x
			default:
				destination = x
			}
		}
	}
	return source, destination
}

// register announces a target that is being constructed and tells whether it
// waits for a handover.
func (s *snapshot) register() (handover bool, err error) {
	os := &s.owner.m.origins
	os.mu.Lock()
	defer os.mu.Unlock()
	source, destination := s.sharing()
	switch {
	case destination != nil:
		return false, fmt.Errorf("%s: a table that is not live uses this COW device already: %w", s.cow.name, dmcore.ErrInvalid)
	case source != nil && source.origin.key() != s.origin.key():
		return false, fmt.Errorf("%s: belongs to a snapshot of %s: %w", s.cow.name, source.origin.name, dmcore.ErrInvalid)
	}
	s.o = os.getLocked(s.origin)
	if s.merge != nil && slices.ContainsFunc(s.o.all, func(x *snapshot) bool { return x.merge != nil }) {
		os.putLocked(s.o)
		return false, fmt.Errorf("%s: a snapshot is already merging: %w", s.origin.name, dmcore.ErrInvalid)
	}
	s.o.all = append(s.o.all, s)
	return source != nil, nil
}

func (s *snapshot) unregister() {
	os := &s.owner.m.origins
	os.mu.Lock()
	defer os.mu.Unlock()
	s.o.all = without(s.o.all, s)
	os.putLocked(s.o)
}

// preresume refuses a handover in the wrong order.
func (s *snapshot) preresume() error {
	os := &s.owner.m.origins
	os.mu.Lock()
	defer os.mu.Unlock()
	source, destination := s.sharing()
	switch {
	case source == nil || destination == nil:
	case source == s:
		return fmt.Errorf("%s: its exceptions are about to be handed over: %w", s.cow.name, dmcore.ErrInvalid)
	case !source.owner.isSuspended():
		return fmt.Errorf("%s: snapshot %s has to be suspended before its exceptions are handed over: %w",
			s.cow.name, source.owner.no, dmcore.ErrInvalid)
	}
	return nil
}

// resume makes the snapshot one that origin writes care for. It waits for the
// writes on the way to the origin, which did not.
func (s *snapshot) resume() {
	s.o.io.Lock()
	s.activate()
	s.o.io.Unlock()
	if s.merge != nil {
		s.merge.start()
	}
}

func (s *snapshot) activate() {
	os := &s.owner.m.origins
	os.mu.Lock()
	defer os.mu.Unlock()
	if s.active || s.spent {
		return
	}
	if source, _ := s.sharing(); source != nil && s.ex.Load() == nil {
		if e := source.ex.Swap(nil); e != nil {
			e.host.Store(s)
			s.ex.Store(e)
		}
		source.active, source.spent = false, true
		s.o.active = without(s.o.active, source)
		s.o.all = without(s.o.all, source)
	}
	s.active = true
	if s.ex.Load() != nil {
		s.o.active = append(s.o.active, s)
	}
}

func without(list []*snapshot, s *snapshot) []*snapshot {
	return slices.DeleteFunc(list, func(x *snapshot) bool { return x == s })
}

// close ends the target. A source that ends before its handover takes the
// exceptions with it; the destination finds none and is invalid.
func (s *snapshot) close() {
	s.o.io.Lock()
	s.o.active = without(s.o.active, s)
	s.o.io.Unlock()
	s.unregister()
	if e := s.ex.Load(); e != nil {
		e.rest()
	}
}

// reopen reads the store of a failed merge again: what is on disk after a write
// that failed is not what is in memory. Nothing else uses it meanwhile.
func (s *snapshot) reopen() error {
	store, err := cowstore.Open(s.cow, s.asked)
	if err != nil {
		return err
	}
	s.ex.Store(newExceptions(s, store))
	return nil
}
