package cowstore

import (
	"bytes"
	"fmt"
	"sync"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// Store is an open exception store. It is safe for concurrent use: Commit and
// DropTail run one at a time, and nothing else waits for their I/O, Settle
// included. Once a
// write or sync of the store failed, what is on disk is not known any more, and
// Allocate, Commit and DropTail keep failing with that error; Invalidate is
// still tried.
type Store struct {
	dev blockdev.Device
	g   geometry
	idx *index

	writer sync.Mutex // held by Commit and DropTail; guards these:
	area   []byte     // the area the next exception goes to, as it is to be on disk
	litter bool       // there may be more on disk behind the end of the list

	mu      sync.Mutex             // held for no I/O; guards these:
	n       uint64                 // committed exceptions; only the writer changes it
	begun   uint64                 // and those whose Commit has begun
	next    uint64                 // the chunk Allocate gives
	pending pending                // chunks that Allocate gave
	laid    map[uint64][]Exception // what Settle was called with, by its place in the list
	merging bool                   // the last change was a DropTail
	valid   bool
	broken  error
}

func newStore(dev blockdev.Device, g geometry) *Store {
	return &Store{dev: dev, g: g, idx: newIndex(), area: make([]byte, g.bytes),
		next: firstFree, laid: map[uint64][]Exception{}, valid: true}
}

// Format makes an empty store. What was there before is no longer a store from
// the first write on, and the new one is there with the last.
func Format(dev blockdev.Device, chunk dmcore.Sectors) error {
	g, err := newGeometry(chunk)
	if err != nil {
		return err
	}
	if size := dev.Size(); g.chunks(size) <= firstFree {
		return fmt.Errorf("cow store: %d bytes have no room for %d chunks of %d: %w", size, firstFree+1, g.bytes, ErrFull)
	}
	if err := format(dev, g); err != nil {
		return fmt.Errorf("cow store: format: %w", err)
	}
	return nil
}

func format(dev blockdev.Device, g geometry) error {
	was := make([]byte, dmcore.SectorSize)
	if err := readFull(dev, was, 0); err != nil {
		return err
	}
	zero := make([]byte, firstFree*g.bytes)
	if !bytes.Equal(was, zero[:len(was)]) {
		if err := writeSync(dev, zero[:len(was)], 0); err != nil {
			return err
		}
	}
	if err := writeSync(dev, zero[len(was):], int64(len(was))); err != nil {
		return err
	}
	return writeSync(dev, encodeHeader(true, g.chunk), 0)
}

// Open reads a store. A device that begins with four zero bytes is a new one
// and is formatted with that chunk size (0: 16 KiB); any other brings its own.
// One that was invalidated opens, and is not valid.
func Open(dev blockdev.Device, chunk dmcore.Sectors) (*Store, error) {
	if _, err := newGeometry(chunk); err != nil {
		return nil, err
	}
	h, err := readHeader(dev)
	if err != nil {
		return nil, err
	}
	if h.magic == 0 {
		if err := Format(dev, chunk); err != nil {
			return nil, err
		}
		if h, err = readHeader(dev); err != nil {
			return nil, err
		}
	}
	// Who used the store before may have been killed in a commit. What it left
	// may be in memory alone, and is about to be relied upon.
	if err := dev.Sync(); err != nil {
		return nil, fmt.Errorf("cow store: open: %w", err)
	}
	return load(dev, h)
}

// ChunkSize is the size of a chunk.
func (s *Store) ChunkSize() dmcore.Sectors { return s.g.chunk }

// Valid reports whether the store was never invalidated.
func (s *Store) Valid() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.valid
}

// Lookup finds the COW device's chunk that a committed exception gives for a
// chunk of the origin.
func (s *Store) Lookup(old uint64) (new uint64, ok bool) { return s.idx.get(old) }

// Run looks up chunks of the origin from old on, at most max, as long as they
// are like the first: without an exception, or with exceptions that give chunks
// of the COW device one after another, from new on.
func (s *Store) Run(old, max uint64) (new, n uint64, ok bool) { return s.idx.run(old, max) }

// Len is the number of committed exceptions.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.n)
}

// Allocate gives a free chunk of the COW device, which stays free on disk until
// its exception is committed. A device that grew since is seen to have grown.
// ErrFull says that there is none, also for the very last chunk of a device
// that has no room for the metadata area behind it: to fill an area the kernel
// zeroes the next one, and to fail in that costs it the snapshot.
func (s *Store) Allocate() (new uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(); err != nil {
		return 0, err
	}
	chunks := s.g.chunks(s.dev.Size())
	last := s.next
	if s.g.isArea(last + 1) {
		last++
	}
	if last >= chunks || s.n+uint64(s.pending.n) >= maxExceptions {
		return 0, fmt.Errorf("%d of %d chunks in use: %w", s.next, chunks, ErrFull)
	}
	new = s.next
	s.next = s.g.after(new)
	s.pending.add(new)
	return new, nil
}

// ready tells why the store cannot change. mu is held.
func (s *Store) ready() error {
	if s.broken != nil {
		return s.broken
	}
	if !s.valid {
		return ErrInvalidated
	}
	return nil
}

// Invalidate marks the store as no longer a picture of its origin, for ever:
// from now on in memory, and on disk when it returns without error.
func (s *Store) Invalidate() error {
	s.mu.Lock()
	s.valid = false
	s.mu.Unlock()
	if err := writeSync(s.dev, encodeHeader(false, s.g.chunk), 0); err != nil {
		return fmt.Errorf("cow store: invalidate: %w", err)
	}
	return nil
}

// Usage counts as the kernel does (persistent_usage): everything below the next
// free chunk is allocated; once a merge takes exceptions away, the next free
// chunk is the one it would be had all been committed in order of allocation.
func (s *Store) Usage() dmcore.SnapshotStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.valid {
		return dmcore.SnapshotStatus{State: dmcore.SnapshotInvalid}
	}
	area, next := s.n/s.g.epa, s.next
	if s.merging {
		next = s.g.area(area) + s.n%s.g.epa + 1
	}
	return dmcore.SnapshotStatus{
		Allocated: dmcore.Sectors(next) * s.g.chunk,
		Total:     dmcore.Sectors(s.dev.Size() / dmcore.SectorSize),
		Metadata:  dmcore.Sectors(area+2) * s.g.chunk,
	}
}

func writeSync(dev blockdev.Device, b []byte, off int64) error {
	if _, err := dev.WriteAt(b, off); err != nil {
		return err
	}
	return dev.Sync()
}
