package userspace

import (
	"fmt"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// linear passes I/O to an area of one device (drivers/md/dm-linear.c).
type linear struct {
	below  *lower
	start  int64
	target dmcore.Linear
}

func newLinear(t *table, spec dmcore.Linear, length dmcore.Sectors) (*linear, error) {
	l, err := t.holdArea(spec.Dev, spec.Start, length)
	if err != nil {
		return nil, err
	}
	return &linear{l, spec.Start.Bytes(), spec}, nil
}

func (l *linear) read(p []byte, off int64) error  { return l.below.read(p, l.start+off) }
func (l *linear) write(p []byte, off int64) error { return l.below.write(p, l.start+off) }
func (l *linear) sync(f *flush)                   { f.add(l.below) }
func (l *linear) syncRange(f *flush, off, n int64) {
	f.addRange(l.below, l.start+off, n)
}
func (l *linear) zero(off, n int64, mayUnmap bool) error {
	return l.below.zero(l.start+off, n, mayUnmap)
}
func (l *linear) discard(off, n int64) error { return l.below.discard(l.start+off, n) }
func (l *linear) extents(off, n int64) ([]blockdev.Extent, error) {
	return l.below.extents(l.start+off, n)
}
func (l *linear) spec() dmcore.Target { return l.target }
func (l *linear) status() string      { return "" }

// striped deals chunks out to its areas in turn (drivers/md/dm-stripe.c).
type striped struct {
	areas  []*linear
	chunk  int64
	target dmcore.Striped
}

func newStriped(t *table, spec dmcore.Striped, length dmcore.Sectors) (*striped, error) {
	n := dmcore.Sectors(len(spec.Areas))
	if n == 0 || spec.Chunk == 0 || length%n != 0 || length/n%spec.Chunk != 0 {
		return nil, fmt.Errorf("length %d is no multiple of %d stripes of %d sectors: %w",
			length, n, spec.Chunk, dmcore.ErrInvalid)
	}
	s := &striped{chunk: spec.Chunk.Bytes(), target: spec}
	for _, a := range spec.Areas {
		l, err := newLinear(t, a, length/n)
		if err != nil {
			return nil, err
		}
		s.areas = append(s.areas, l)
	}
	return s, nil
}

// at tells where a byte lies and how many follow it in the same chunk.
func (s *striped) at(off int64) (area *linear, pos, run int64) {
	chunk, in := off/s.chunk, off%s.chunk
	n := int64(len(s.areas))
	return s.areas[chunk%n], chunk/n*s.chunk + in, s.chunk - in
}

func (s *striped) each(off, n int64, f func(a *linear, pos, done, n int64) error) error {
	for done := int64(0); done < n; {
		a, pos, run := s.at(off + done)
		run = min(run, n-done)
		if err := f(a, pos, done, run); err != nil {
			return err
		}
		done += run
	}
	return nil
}

func (s *striped) read(p []byte, off int64) error {
	return s.each(off, int64(len(p)), func(a *linear, pos, done, n int64) error {
		return a.read(p[done:done+n], pos)
	})
}

func (s *striped) write(p []byte, off int64) error {
	return s.each(off, int64(len(p)), func(a *linear, pos, done, n int64) error {
		return a.write(p[done:done+n], pos)
	})
}

func (s *striped) sync(f *flush) {
	for _, a := range s.areas {
		a.sync(f)
	}
}

func (s *striped) zero(off, n int64, mayUnmap bool) error {
	return s.each(off, n, func(a *linear, pos, _, n int64) error { return a.zero(pos, n, mayUnmap) })
}

func (s *striped) discard(off, n int64) error {
	return s.each(off, n, func(a *linear, pos, _, n int64) error { return a.discard(pos, n) })
}

func (s *striped) extents(off, n int64) ([]blockdev.Extent, error) {
	a, pos, run := s.at(off)
	return a.extents(pos, min(run, n))
}

func (s *striped) spec() dmcore.Target { return s.target }

// status is the count of areas, their devices, and a letter of health each
// (drivers/md/dm-stripe.c, stripe_status).
func (s *striped) status() string {
	line := fmt.Sprint(len(s.areas))
	health := ""
	for _, a := range s.areas {
		line += " " + string(a.target.Dev)
		health += "A"
	}
	return line + " 1 " + health
}

// zeroTarget reads as zeroes and forgets (drivers/md/dm-zero.c).
type zeroTarget struct{}

func (zeroTarget) read(p []byte, _ int64) error  { clear(p); return nil }
func (zeroTarget) write([]byte, int64) error     { return nil }
func (zeroTarget) sync(*flush)                   {}
func (zeroTarget) zero(_, _ int64, _ bool) error { return nil }
func (zeroTarget) discard(_, _ int64) error      { return nil }
func (zeroTarget) extents(_, n int64) ([]blockdev.Extent, error) {
	return []blockdev.Extent{{Length: n, Hole: true, Zero: true}}, nil
}
func (zeroTarget) spec() dmcore.Target { return dmcore.Zero{} }
func (zeroTarget) status() string      { return "" }

// errorTarget fails all I/O (drivers/md/dm-target.c, io_err).
type errorTarget struct{}

func (errorTarget) read([]byte, int64) error                      { return dmcore.ErrIO }
func (errorTarget) write([]byte, int64) error                     { return dmcore.ErrIO }
func (errorTarget) sync(*flush)                                   {}
func (errorTarget) zero(_, _ int64, _ bool) error                 { return dmcore.ErrIO }
func (errorTarget) discard(_, _ int64) error                      { return dmcore.ErrIO }
func (errorTarget) extents(_, n int64) ([]blockdev.Extent, error) { return allocated(n), nil }
func (errorTarget) spec() dmcore.Target                           { return dmcore.Failing{} }
func (errorTarget) status() string                                { return "" }
