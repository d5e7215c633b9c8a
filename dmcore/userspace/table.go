package userspace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

var errBeyondEnd = errors.New("beyond the end of the device")

// target carries out the I/O of one segment. Offsets are bytes from the
// segment's start; transfers lie inside it and are whole sectors. A write has
// happened when it returns nil: what it wrote is in the files below, though
// not durable.
type target interface {
	read(p []byte, off int64) error
	write(p []byte, off int64) error
	// sync adds to f what must be synced to make earlier writes durable.
	sync(f *flush)
	// zero and discard may answer errors.ErrUnsupported.
	zero(off, n int64, mayUnmap bool) error
	discard(off, n int64) error
	extents(off, n int64) ([]blockdev.Extent, error)
	// spec is what the table prints, status what the status line says.
	spec() dmcore.Target
	status() string
}

// A target with a state of its own may have these hooks, named after those of
// the kernel's struct target_type. preresume may refuse; then the device stays
// suspended.
type (
	presuspender interface {
		// presuspend stops own work; an error means it goes on. noflush says that
		// I/O which would wait for long is to wait outside.
		presuspend(ctx context.Context, noflush bool) error
		presuspendUndo()
	}
	postsuspender interface{ postsuspend() } // no I/O is inside
	resumer       interface {
		preresume() error
		resume()
	}
	closer interface{ close() }
)

type segment struct {
	start, end int64
	target     target
}

// table is a constructed table: its targets hold their devices.
type table struct {
	owner    *device
	readOnly bool
	segs     []segment
	size     int64
	lowers   []*lower
	areas    []heldArea
	promised []promise
}

// construct runs the constructors of a table for d. On error nothing is held.
func (m *Machine) construct(d *device, spec dmcore.Table, readOnly bool) (*table, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if holdsPool(spec) && len(spec) > 1 {
		return nil, fmt.Errorf("a thin pool beside other segments: %w", dmcore.ErrInvalid)
	}
	t := &table{owner: d, readOnly: readOnly, size: spec.Len().Bytes()}
	for i, s := range spec {
		target, err := t.add(s)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("table segment %d: %s: %w", i, s.Target.Type(), err), t.destroy())
		}
		t.segs = append(t.segs, segment{s.Start.Bytes(), (s.Start + s.Length).Bytes(), target})
	}
	return t, nil
}

// holdsPool reports whether a table has a thin pool, which is then to be all of it
// (drivers/md/dm-thin.c, DM_TARGET_SINGLETON).
func holdsPool(spec dmcore.Table) bool {
	return slices.ContainsFunc(spec, func(s dmcore.Segment) bool {
		_, ok := s.Target.(dmcore.ThinPool)
		return ok
	})
}

func (t *table) add(s dmcore.Segment) (target, error) {
	switch spec := s.Target.(type) {
	case dmcore.Linear:
		return newLinear(t, spec, s.Length)
	case dmcore.Striped:
		return newStriped(t, spec, s.Length)
	case dmcore.SnapshotOrigin:
		return newOriginTarget(t, spec, s.Length)
	case dmcore.Snapshot:
		return newSnapshot(t, spec.Origin, spec.COW, spec.Chunk, s.Length, false)
	case dmcore.SnapshotMerge:
		return newSnapshot(t, spec.Origin, spec.COW, spec.Chunk, s.Length, true)
	case dmcore.Zero:
		return zeroTarget{}, nil
	case dmcore.Failing:
		return errorTarget{}, nil
	case dmcore.ThinPool:
		return newPoolTarget(t, spec, s.Length)
	case dmcore.Thin:
		return newThin(t, spec)
	}
	return nil, fmt.Errorf("target %q: %w", s.Target.Type(), dmcore.ErrNotSupported)
}

// hold gives a device that the table uses, opened once a table.
func (t *table) hold(ref dmcore.Dev) (*lower, error) {
	for _, l := range t.lowers {
		if l.name == ref {
			return l, nil
		}
	}
	l, err := t.owner.m.acquire(t.owner, ref)
	if err != nil {
		return nil, err
	}
	t.lowers = append(t.lowers, l)
	return l, nil
}

// holdArea is hold with the check the kernel makes of an area of a device: it
// must not reach past the end, unless the device has no size yet
// (drivers/md/dm-table.c, device_area_is_invalid). The kernel looks when the table
// becomes live; a device that is loaded longer may be so by then. That the device is
// read-only concerns who opens it, not a table above (block/blk-core.c,
// bio_check_ro).
func (t *table) holdArea(ref dmcore.Dev, start, length dmcore.Sectors) (*lower, error) {
	l, err := t.hold(ref)
	if err != nil {
		return nil, err
	}
	p := promise{l, start, length}
	if start+length < start {
		return nil, p.broken()
	}
	if !p.kept() {
		if l.coming() < (start + length).Bytes() {
			return nil, p.broken()
		}
		t.promised = append(t.promised, p)
	}
	return l, t.take(l, area{start.Bytes(), length.Bytes()})
}

// promise is an area of a device that was too short when the table was loaded.
type promise struct {
	on            *lower
	start, length dmcore.Sectors
}

func (p promise) kept() bool {
	size := p.on.Size()
	return size == 0 || (p.start+p.length).Bytes() <= size
}

func (p promise) broken() error {
	return fmt.Errorf("%s: area of %d sectors at %d, device has %d: %w",
		p.on.name, p.length, p.start, p.on.Size()/dmcore.SectorSize, dmcore.ErrInvalid)
}

// holdAll is holdArea for a whole device.
func (t *table) holdAll(ref dmcore.Dev) (*lower, error) {
	l, err := t.hold(ref)
	if err != nil {
		return nil, err
	}
	return t.holdArea(ref, 0, dmcore.Sectors(l.Size()/dmcore.SectorSize))
}

// destroy undoes construct. No I/O is in flight and none can come.
func (t *table) destroy() error {
	for _, s := range t.segs {
		if c, ok := s.target.(closer); ok {
			c.close()
		}
	}
	errs := []error{t.leave()}
	for _, l := range t.lowers {
		errs = append(errs, t.owner.m.release(t.owner, l))
	}
	t.lowers = nil
	return errors.Join(errs...)
}

func (t *table) find(off int64) *segment {
	if len(t.segs) == 1 {
		return &t.segs[0]
	}
	return &t.segs[sort.Search(len(t.segs), func(i int) bool { return off < t.segs[i].end })]
}

func (t *table) read(p []byte, off int64) error {
	for len(p) > 0 {
		s := t.find(off)
		n := min(int64(len(p)), s.end-off)
		if err := s.target.read(p[:n], off-s.start); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (t *table) write(p []byte, off int64) error {
	for len(p) > 0 {
		s := t.find(off)
		n := min(int64(len(p)), s.end-off)
		if err := s.target.write(p[:n], off-s.start); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// each calls f for the part of each segment that off and n cover.
func (t *table) each(off, n int64, f func(s *segment, off, n int64) error) error {
	for n > 0 {
		s := t.find(off)
		k := min(n, s.end-off)
		if err := f(s, off-s.start, k); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

func (t *table) zero(off, n int64, mayUnmap bool) error {
	return t.each(off, n, func(s *segment, off, n int64) error { return s.target.zero(off, n, mayUnmap) })
}

func (t *table) discard(off, n int64) error {
	return t.each(off, n, func(s *segment, off, n int64) error { return s.target.discard(off, n) })
}

// extents answers for the first segment alone; that is at least a sector.
func (t *table) extents(off, n int64) ([]blockdev.Extent, error) {
	s := t.find(off)
	return s.target.extents(off-s.start, min(n, s.end-off))
}

// spec is the table as it prints.
func (t *table) spec() dmcore.Table {
	var out dmcore.Table
	for _, s := range t.segs {
		start := dmcore.Sectors(s.start / dmcore.SectorSize)
		out = append(out, dmcore.Segment{
			Start: start, Length: dmcore.Sectors(s.end/dmcore.SectorSize) - start, Target: s.target.spec()})
	}
	return out
}

func (t *table) status() []dmcore.TargetStatus {
	var out []dmcore.TargetStatus
	for i, s := range t.spec() {
		out = append(out, dmcore.TargetStatus{
			Start: s.Start, Length: s.Length, Type: s.Target.Type(), Params: t.segs[i].target.status()})
	}
	return out
}

func (t *table) devs() []dmcore.Dev {
	var devs []dmcore.Dev
	for _, l := range t.lowers {
		devs = append(devs, l.name)
	}
	return devs
}

// presuspend tells the targets that no I/O will come soon. On error all of them
// go on.
func (t *table) presuspend(ctx context.Context, noflush bool) error {
	for i, s := range t.segs {
		p, ok := s.target.(presuspender)
		if !ok {
			continue
		}
		if err := p.presuspend(ctx, noflush); err != nil {
			t.presuspendUndo(i)
			return err
		}
	}
	return nil
}

// presuspendUndo undoes presuspend for the first n segments.
func (t *table) presuspendUndo(n int) {
	for _, s := range slices.Backward(t.segs[:n]) {
		if p, ok := s.target.(presuspender); ok {
			p.presuspendUndo()
		}
	}
}

func (t *table) postsuspend() {
	for _, s := range t.segs {
		if p, ok := s.target.(postsuspender); ok {
			p.postsuspend()
		}
	}
}

func (t *table) resume() error {
	for _, p := range t.promised {
		if !p.kept() {
			return p.broken()
		}
	}
	for _, s := range t.segs {
		if r, ok := s.target.(resumer); ok {
			if err := r.preresume(); err != nil {
				return err
			}
		}
	}
	for _, s := range t.segs {
		if r, ok := s.target.(resumer); ok {
			r.resume()
		}
	}
	return nil
}
