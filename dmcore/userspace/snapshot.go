package userspace

import (
	"errors"
	"fmt"
	"sync/atomic"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/cowstore"
)

// snapshot is the snapshot target and, with merge set, snapshot-merge
// (drivers/md/dm-snap.c, struct dm_snapshot).
//
//	new ──register──▶ constructed ──resume──▶ active ──close──▶ gone
//	                   │ ex set, or              ▲
//	                   └ waits for a handover ───┘
type snapshot struct {
	owner       *device
	origin, cow *lower
	o           *origin
	length      int64
	asked       dmcore.Sectors // the table's chunk size; the store may say otherwise
	merge       *merge         // nil: a plain snapshot

	ex     atomic.Pointer[exceptions] // nil before a handover to it and after one from it
	active bool                       // guarded by origins.mu
	spent  bool                       // gave its exceptions away; guarded by origins.mu
}

func newSnapshot(t *table, origin, cow dmcore.Dev, chunk, length dmcore.Sectors, merging bool) (*snapshot, error) {
	s := &snapshot{owner: t.owner, length: length.Bytes(), asked: chunk}
	if merging {
		s.merge = newMerge(s)
	}
	var err error
	if s.origin, err = t.holdArea(origin, 0, length); err != nil {
		return nil, err
	}
	if s.cow, err = t.holdArea(cow, 0, 0); err != nil {
		return nil, err
	}
	if s.cow.key() == s.origin.key() {
		return nil, fmt.Errorf("%s is both origin and COW device: %w", cow, dmcore.ErrInvalid)
	}
	handover, err := s.register()
	if err != nil || handover {
		return s, err
	}
	store, err := cowstore.Open(s.cow, chunk)
	if err != nil {
		s.unregister()
		if errors.Is(err, cowstore.ErrCorrupt) || errors.Is(err, cowstore.ErrFull) {
			err = fmt.Errorf("%w: %w", dmcore.ErrInvalid, err)
		}
		return nil, err
	}
	s.ex.Store(newExceptions(s, store))
	return s, nil
}

// usable returns the exceptions of a snapshot that is not invalid.
func (s *snapshot) usable() (*exceptions, error) {
	e := s.ex.Load()
	if e == nil || !e.valid.Load() {
		return nil, errInvalid
	}
	return e, nil
}

var errMergeFailed = errors.New("the merge failed")

var errInvalid = fmt.Errorf("snapshot is invalid: %w", dmcore.ErrIO)

func (s *snapshot) read(p []byte, off int64) error {
	e, err := s.usable()
	if err != nil {
		if s.merge != nil {
			return s.origin.read(p, off)
		}
		return err
	}
	for len(p) > 0 {
		n, err := e.readRun(s, p, off)
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// run measures the run of bytes at off, at most n, that lies in one piece: in
// the COW device at byte at, or in the origin (found is false).
func (e *exceptions) run(off, n int64) (at, length int64, found bool) {
	c, end := off>>e.shift, off+n
	first, k, found := e.store.Run(uint64(c), uint64((end-1)>>e.shift-c+1))
	return int64(first)<<e.shift + off - c<<e.shift, min((c+int64(k))<<e.shift, end) - off, found
}

// readRun reads the first run of p. What it read from the origin may have been
// overwritten meanwhile; but then the old contents were committed before
// (origin.write), and are now found in the COW device. Merging commits nothing.
func (e *exceptions) readRun(s *snapshot, p []byte, off int64) (int64, error) {
	seq := e.seq.Load()
	at, n, found := e.run(off, int64(len(p)))
	p = p[:n]
	if found {
		return n, s.cow.read(p, at)
	}
	if err := s.origin.read(p, off); err != nil || s.merge != nil {
		return n, err
	}
	if seq%2 == 1 || e.seq.Load() != seq {
		if err := e.reread(s, p, off); err != nil {
			return n, err
		}
	}
	if !e.valid.Load() {
		return n, errInvalid
	}
	return n, nil
}

// reread replaces those chunks of p that have got an exception.
func (e *exceptions) reread(s *snapshot, p []byte, off int64) error {
	for len(p) > 0 {
		at, n, found := e.run(off, int64(len(p)))
		if found {
			if err := s.cow.read(p[:n], at); err != nil {
				return err
			}
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (s *snapshot) write(p []byte, off int64) error {
	if s.merge != nil {
		return s.merge.write(p, off)
	}
	e, err := s.usable()
	if err != nil {
		return err
	}
	var r *request
	for done := int64(0); done < int64(len(p)); {
		at, n, found := e.run(off+done, int64(len(p))-done)
		if found {
			if err := s.cow.write(p[done:done+n], at); err != nil {
				return err
			}
		} else {
			if r == nil {
				r = &request{data: p, base: off, done: make(chan error, 1)}
			}
			r.add(off+done, off+done+n)
		}
		done += n
	}
	if r != nil {
		e.submit(r)
		return r.wait()
	}
	if !e.valid.Load() {
		return errInvalid
	}
	return nil
}

// sync of a snapshot needs the COW device alone: exceptions are durable once
// they are seen. A merge writes to both.
func (s *snapshot) sync(f *flush) {
	if s.merge != nil {
		f.add(s.origin)
	}
	f.add(s.cow)
}

// zero is a write like any other.
func (s *snapshot) zero(_, _ int64, _ bool) error { return errors.ErrUnsupported }

// discard is refused by a snapshot and has no effect on a merge
// (drivers/md/dm-snap.c, snapshot_merge_map).
func (s *snapshot) discard(_, _ int64) error {
	if s.merge != nil {
		return nil
	}
	return errors.ErrUnsupported
}

// extents knows the chunks in the COW device as allocated and asks the origin
// about the others.
func (s *snapshot) extents(off, n int64) ([]blockdev.Extent, error) {
	e, err := s.usable()
	if err != nil {
		if s.merge != nil {
			return s.origin.extents(off, n)
		}
		return nil, err
	}
	n = min(n, mostExtent)
	seq := e.seq.Load()
	_, n, found := e.run(off, n)
	if found {
		return allocated(n), nil
	}
	ext, err := s.origin.extents(off, n)
	if s.merge == nil && !e.valid.Load() {
		return nil, errInvalid // it was the origin's new contents, maybe
	}
	if err == nil && (seq%2 == 1 || e.seq.Load() != seq) {
		return allocated(n), nil // it may have been the origin's new contents
	}
	return ext, err
}

// mostExtent bounds the chunks that one question about extents looks up.
const mostExtent = 1 << 30

func (s *snapshot) spec() dmcore.Target {
	chunk := s.asked
	if e := s.ex.Load(); e != nil {
		chunk = e.store.ChunkSize()
	}
	if s.merge != nil {
		return dmcore.SnapshotMerge{Origin: s.origin.name, COW: s.cow.name, Chunk: chunk}
	}
	return dmcore.Snapshot{Origin: s.origin.name, COW: s.cow.name, Chunk: chunk}
}

// status is as drivers/md/dm-snap.c, snapshot_status, has it.
func (s *snapshot) status() string {
	e := s.ex.Load()
	switch {
	case e == nil || !e.valid.Load():
		return dmcore.SnapshotInvalid.String()
	case s.merge != nil && s.merge.failed():
		return dmcore.MergeFailed.String()
	}
	return e.store.Usage().String()
}
