package userspace_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// transfer is one read or write; after it ran, err tells.
type transfer struct {
	s     *snap // nil: the origin
	write bool
	zero  bool // writes zeroes as such
	from  int
	vals  []uint64 // written, or read
	err   error
}

func (w *world) vol(s *snap) *volume {
	if s == nil {
		return w.origin
	}
	return s.volume
}

// plan makes transfers that can run at once: on one device, none overlaps a
// write.
func (w *world) plan(n int) []*transfer {
	var out []*transfer
	for range n {
		t := &transfer{write: w.rng.IntN(3) > 0}
		if w.rng.IntN(2) == 0 {
			if t.s = w.any(); t.s != nil && t.s.invalid {
				t.s = nil
			}
		}
		length := 1 + w.rng.IntN(12)
		if w.rng.IntN(4) == 0 {
			length = 1 + w.rng.IntN(min(300, w.sectors))
		}
		t.from = w.rng.IntN(w.sectors - length + 1)
		if w.rng.IntN(4) == 0 {
			t.from = t.from / 8 * 8
		}
		t.vals = make([]uint64, length)
		if slices.ContainsFunc(out, func(o *transfer) bool {
			return o.s == t.s && (o.write || t.write) && o.from < t.from+length && t.from < o.from+len(o.vals)
		}) {
			continue
		}
		t.zero = t.write && w.rng.IntN(8) == 0
		if t.write && !t.zero {
			w.tag++
			for i := range t.vals {
				t.vals[i] = w.tag<<16 | uint64(t.from+i)
			}
		}
		out = append(out, t)
	}
	return out
}

func (w *world) run(t *transfer) error {
	name := "o"
	if t.s != nil {
		name = t.s.name()
	}
	h, err := w.m.Open(dmcore.Name(name), false)
	if err != nil {
		return err
	}
	defer h.Close()
	off := int64(t.from) * dmcore.SectorSize
	if t.zero {
		err := h.Zero(off, int64(len(t.vals))*dmcore.SectorSize, true)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	if t.write {
		_, err = h.WriteAt(pack(t.vals), off)
		return err
	}
	p := make([]byte, len(t.vals)*dmcore.SectorSize)
	if _, err = h.ReadAt(p, off); err == nil {
		t.vals, err = unpack(p)
	}
	return err
}

// io runs transfers at once, beside what f does, and takes them into the model.
func (w *world) io(n int, f func() error) error {
	list := w.plan(n)
	var all sync.WaitGroup
	for _, t := range list {
		all.Go(func() { t.err = w.run(t) })
	}
	err := f()
	all.Wait()
	for _, t := range list {
		err = errors.Join(err, w.account(t))
	}
	return err
}

func (w *world) account(t *transfer) error {
	v, name := w.vol(t.s), "o"
	if t.s != nil {
		name = t.s.name()
	}
	if t.err == nil && !t.write {
		if err := v.diff(t.from, t.vals); err != nil {
			return fmt.Errorf("%s: read of %d sectors at %d: %w", name, len(t.vals), t.from, err)
		}
		return nil
	}
	for i, val := range t.vals {
		switch k := t.from + i; {
		case !t.write:
		case t.err != nil:
			v.maybe[k] = append(v.maybe[k], val)
		default:
			v.maybe[k] = append(v.maybe[k], v.cur[k])
			v.cur[k] = val
			if t.s != nil {
				t.s.own[k] = true
			}
		}
	}
	if t.err == nil || t.s != nil && w.full(t.s) {
		return nil
	}
	return fmt.Errorf("%s: write %v at sector %d: %w", name, t.write, t.from, t.err)
}

// full reports whether a snapshot became invalid, as only one that had not room
// for every chunk may.
func (w *world) full(s *snap) bool {
	st, err := w.c.SnapshotStatus(w.t.Context(), dmcore.UUID(s.name()))
	if err == nil && st.State == dmcore.SnapshotInvalid && s.small {
		s.invalid = true
	}
	return s.invalid
}

func (w *world) sync() error {
	s := w.any()
	if w.rng.IntN(2) == 0 || s != nil && s.invalid {
		s = nil
	}
	name := "o"
	if s != nil {
		name = s.name()
	}
	h, err := w.m.Open(dmcore.Name(name), false)
	if err != nil {
		return err
	}
	if err := errors.Join(h.Sync(), h.Close()); err != nil {
		return err
	}
	if s == nil {
		clear(w.origin.maybe)
		return nil
	}
	for k := range s.own { // the rest is the origin's
		delete(s.maybe, k)
	}
	return nil
}

// read reads a whole device.
func (w *world) read(name string) ([]uint64, error) {
	h, err := w.m.Open(dmcore.Name(name), true)
	if err != nil {
		return nil, err
	}
	p := make([]byte, w.sectors*dmcore.SectorSize)
	_, err = h.ReadAt(p, 0)
	if err == nil {
		err = zeroExtents(h, p)
	}
	if err = errors.Join(err, h.Close()); err != nil {
		return nil, err
	}
	return unpack(p)
}

// zeroExtents checks that what a device calls zero is so.
func zeroExtents(m blockdev.Mapper, p []byte) error {
	for off := int64(0); off < int64(len(p)); {
		list, err := m.Extents(off, int64(len(p))-off)
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.Zero && len(bytes.Trim(p[off:off+e.Length], "\x00")) > 0 {
				return fmt.Errorf("the %d bytes at %d are not zero, as extents say", e.Length, off)
			}
			off += e.Length
		}
	}
	return nil
}

// check compares every device with the model, as does f.
func (w *world) check(compare func(v *volume, got []uint64) error) error {
	got, err := w.read("o")
	if err == nil {
		err = compare(w.origin, got)
	}
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	for _, s := range w.snaps {
		if s == w.merging {
			continue
		}
		was := s.invalid
		got, err := w.read(s.name())
		if err != nil && w.full(s) {
			continue
		}
		if err == nil && was {
			err = errors.New("an invalid snapshot is valid again")
		}
		if err == nil {
			err = compare(s.volume, got)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
	}
	return nil
}

func same(v *volume, got []uint64) error { return v.diff(0, got) }

func (w *world) restart() error {
	if err := w.m.Close(); err != nil {
		return err
	}
	w.boot()
	return w.activate()
}

// step does something.
func (w *world) step() error {
	for _, s := range w.snaps {
		s.lost = s.lost || s.invalid && w.merging == nil && w.powered()
	}
	nothing := func() error { return nil }
	k := w.rng.IntN(100)
	w.log = append(w.log, k)
	switch {
	case k < 60:
		return w.io(1+w.rng.IntN(8), nothing)
	case k < 68:
		return w.take()
	case k < 71:
		return w.drop()
	case k < 74:
		return w.extend()
	case k < 77:
		return w.reload()
	case k < 81:
		return w.startMerge()
	case k < 86:
		return w.finishMerge(w.rng.IntN(2) == 0)
	case k < 89:
		return w.io(1+w.rng.IntN(8), w.pause)
	case k < 91:
		return w.restart()
	case k < 95:
		return w.sync()
	}
	return w.check(same)
}
