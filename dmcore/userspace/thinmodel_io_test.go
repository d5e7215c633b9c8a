package userspace_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	"cowhand/dmcore"
)

// thinIO is one request; after it ran, err tells.
type thinIO struct {
	v    *thinVol
	kind string // read, write, zero, discard
	from int
	vals []uint64 // to be written, or read
	err  error
}

// plan makes requests that can run at once: on one device, none overlaps another,
// unless both read.
func (w *thinWorld) plan(n int) (out []*thinIO) {
	for range n {
		v := w.any()
		if v == nil {
			return nil
		}
		o := &thinIO{v: v, kind: []string{"read", "read", "write", "write", "write", "zero", "discard"}[w.rng.IntN(7)]}
		length := 1 + w.rng.IntN(12)
		if o.kind == "discard" || o.kind == "zero" || w.rng.IntN(4) == 0 {
			length = 1 + w.rng.IntN(500)
		}
		o.from = w.rng.IntN(thinSectors - length + 1)
		if w.rng.IntN(3) == 0 {
			o.from, length = o.from/128*128, min((length+127)/128*128, thinSectors-o.from/128*128)
		}
		o.vals = make([]uint64, length)
		if slices.ContainsFunc(out, func(x *thinIO) bool {
			return x.v == v && (x.kind != "read" || o.kind != "read") && o.from < x.from+len(x.vals) && x.from < o.from+length
		}) {
			continue
		}
		if o.kind == "write" {
			w.tag++
			for i := range o.vals {
				o.vals[i] = w.tag<<16 | uint64(o.from+i)
			}
		}
		if o.kind == "discard" { // of whole blocks alone
			begin, end := (o.from+127)/128*128, (o.from+length)/128*128
			if begin >= end {
				continue
			}
			o.from, o.vals = begin, make([]uint64, end-begin)
		}
		out = append(out, o)
	}
	return out
}

func (w *thinWorld) run(o *thinIO) (err error) {
	h, err := w.m.Open(dmcore.Name(o.v.name()), false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	off, n := int64(o.from)*512, int64(len(o.vals))*512
	switch o.kind {
	case "discard":
		return h.Discard(off, n)
	case "zero":
		if err := h.Zero(off, n, true); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		fallthrough
	case "write":
		_, err = h.WriteAt(pack(o.vals), off)
		return err
	}
	p := make([]byte, n)
	if _, err = h.ReadAt(p, off); err == nil {
		o.vals, err = unpack(p)
	}
	return err
}

// io runs requests at once, beside what f does, and takes them into the model.
func (w *thinWorld) io(f func() error) error {
	list := w.plan(1 + w.rng.IntN(6))
	var all sync.WaitGroup
	for _, o := range list {
		all.Go(func() { o.err = w.run(o) })
	}
	err := f()
	all.Wait()
	for _, o := range list {
		err = errors.Join(err, w.account(o))
	}
	return err
}

func (w *thinWorld) account(o *thinIO) error {
	v := o.v
	switch {
	case o.kind == "read" && o.err == nil:
		if err := v.diff(o.from, o.vals); err != nil {
			return fmt.Errorf("%s: read: %w", v.name(), err)
		}
	case o.kind == "read":
	case o.err == nil:
		for i, val := range o.vals {
			k := o.from + i
			if o.kind == "discard" && v.cur[k] != val {
				if _, ok := v.undone[k]; !ok {
					v.undone[k] = v.cur[k]
				}
			} else if o.kind != "discard" {
				delete(v.undone, k)
			}
			v.maybe[k] = append(v.maybe[k], v.cur[k])
			v.cur[k] = val
		}
		return nil
	case errors.Is(o.err, syscall.ENOSPC): // some of it may be there
		got, err := w.read(v)
		if err != nil { // the power went just then
			for i, val := range o.vals {
				v.maybe[o.from+i] = append(v.maybe[o.from+i], val)
			}
			return err
		}
		for i, val := range o.vals {
			k := o.from + i
			if got[k] != v.cur[k] && got[k] != val {
				return fmt.Errorf("%s: sector %d is %x after a write that failed, want %x or %x", v.name(), k, got[k], v.cur[k], val)
			}
			if got[k] == val {
				delete(v.undone, k)
			}
			v.maybe[k] = append(v.maybe[k], v.cur[k], val)
			v.cur[k] = got[k]
		}
		return nil
	default:
		for i, val := range o.vals {
			v.maybe[o.from+i] = append(v.maybe[o.from+i], val)
		}
	}
	if o.err != nil {
		return fmt.Errorf("%s: %s of %d sectors at %d: %w", v.name(), o.kind, len(o.vals), o.from, o.err)
	}
	return nil
}

func (w *thinWorld) read(v *thinVol) ([]uint64, error) {
	h, err := w.m.Open(dmcore.Name(v.name()), true)
	if err != nil {
		return nil, err
	}
	p := make([]byte, thinSectors*512)
	_, err = h.ReadAt(p, 0)
	if err == nil {
		err = zeroExtents(h, p)
	}
	if err = errors.Join(err, h.Close()); err != nil {
		return nil, err
	}
	return unpack(p)
}

// check compares every device with the model, as does f.
func (w *thinWorld) check(f func(v *thinVol, got []uint64) error) error {
	for _, id := range w.ids() {
		got, err := w.read(w.vols[id])
		if err == nil {
			err = f(w.vols[id], got)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.vols[id].name(), err)
		}
	}
	return nil
}

func thinSame(v *thinVol, got []uint64) error { return v.diff(0, got) }

// killed takes what the death of a process left: all but discards.
func killed(v *thinVol, got []uint64) error {
	for k, g := range got {
		if u, ok := v.undone[k]; g != v.cur[k] && (!ok || g != u) {
			return fmt.Errorf("sector %d is %x after the process was killed, want %x", k, g, v.cur[k])
		}
	}
	v.cur = got
	clear(v.undone)
	return nil
}

// settled takes what a power cut left.
func settled(v *thinVol, got []uint64) error {
	clear(v.undone)
	return v.settle(got)
}
