package userspace

import (
	"errors"
	"sync"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// origin is a device that has snapshots, or whose snapshot-origin target is
// loaded: what the kernel's struct origin is, one for each underlying device.
type origin struct {
	key  any
	refs int         // guarded by origins.mu
	all  []*snapshot // every constructed snapshot; guarded by origins.mu

	// io is held shared by a write from the first look at the snapshots until
	// it reached the origin, and exclusively to change active.
	io     sync.RWMutex
	active []*snapshot // resumed, and so owed the old contents of chunks
}

// origins finds the origin of a device.
type origins struct {
	mu    sync.Mutex
	byKey map[any]*origin
}

func (os *origins) getLocked(l *lower) *origin {
	o := os.byKey[l.key()]
	if o == nil {
		o = &origin{key: l.key()}
		if os.byKey == nil {
			os.byKey = map[any]*origin{}
		}
		os.byKey[o.key] = o
	}
	o.refs++
	return o
}

func (os *origins) putLocked(o *origin) {
	if o.refs--; o.refs == 0 {
		delete(os.byKey, o.key)
	}
}

// span is a run of bytes of an origin.
type span struct{ off, end int64 }

// write writes to the origin once every snapshot has what it needs of the old
// contents, durably. The snapshot skip, which is being merged, needs none.
func (o *origin) write(below *lower, skip *snapshot, p []byte, off int64) error {
	o.io.RLock()
	defer o.io.RUnlock()
	if err := o.preserve(skip, span{off, off + int64(len(p))}); err != nil {
		return err
	}
	return below.write(p, off)
}

// preserve returns when each active snapshot holds the chunks of the spans or
// has become invalid. The caller holds io. An error means that the spans may
// not be overwritten.
func (o *origin) preserve(skip *snapshot, spans ...span) error {
	var first *request
	var rest []*request
	for _, s := range o.active {
		if s == skip || s.merge != nil {
			continue
		}
		r := s.ex.Load().missing(s.length, spans)
		switch {
		case r == nil:
		case first == nil:
			first = r
		default:
			rest = append(rest, r)
		}
	}
	if first == nil {
		return nil
	}
	errs := []error{first.wait()}
	for _, r := range rest {
		errs = append(errs, r.wait())
	}
	return errors.Join(errs...)
}

// originTarget is snapshot-origin: reads pass, writes are first copied out
// (drivers/md/dm-snap.c, origin_map).
type originTarget struct {
	m     *Machine
	below *lower
	o     *origin
	plain dmcore.SnapshotOrigin
}

func newOriginTarget(t *table, spec dmcore.SnapshotOrigin, length dmcore.Sectors) (*originTarget, error) {
	l, err := t.holdArea(spec.Dev, 0, length)
	if err != nil {
		return nil, err
	}
	m := t.owner.m
	m.origins.mu.Lock()
	defer m.origins.mu.Unlock()
	return &originTarget{m, l, m.origins.getLocked(l), spec}, nil
}

func (t *originTarget) close() {
	t.m.origins.mu.Lock()
	defer t.m.origins.mu.Unlock()
	t.m.origins.putLocked(t.o)
}

func (t *originTarget) read(p []byte, off int64) error  { return t.below.read(p, off) }
func (t *originTarget) write(p []byte, off int64) error { return t.o.write(t.below, nil, p, off) }
func (t *originTarget) sync(f *flush)                   { f.add(t.below) }

// zero copies out like a write.
func (t *originTarget) zero(off, n int64, mayUnmap bool) error {
	t.o.io.RLock()
	defer t.o.io.RUnlock()
	if err := t.o.preserve(nil, span{off, off + n}); err != nil {
		return err
	}
	return t.below.zero(off, n, mayUnmap)
}

// discard is refused, as by the kernel, whose origins take none: a discarded
// chunk would have to be copied out first.
func (t *originTarget) discard(_, _ int64) error { return errors.ErrUnsupported }

func (t *originTarget) extents(off, n int64) ([]blockdev.Extent, error) {
	return t.below.extents(off, n)
}
func (t *originTarget) spec() dmcore.Target { return t.plain }
func (t *originTarget) status() string      { return "" }
