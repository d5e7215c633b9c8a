package cowstore

import (
	"fmt"
	"math"
	"slices"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// blockSize is the least that is written of an area: a page, so that the page
// cache need not read what it is about to replace.
const blockSize = 4096

// Commit appends exceptions to the list, in the order given, which is to be the
// order of allocation. Each New is a chunk from Allocate whose data was
// written; it need not have been synced. When Commit returns they are durable,
// data and exception, and Lookup finds them. It costs two syncs, however many
// there are, of the chunks concerned alone; the first of them is saved if Settle
// did it.
//
//	areas after the present one, whole  ─┐
//	the empty area after a full one     ─┼─▶ sync ─▶ present area ─▶ sync
//	data, written by the caller         ─┘
//
// The areas written first cannot be seen from the list before the present one
// is full.
func (s *Store) Commit(ex []Exception) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	settled, err := s.mayCommit(ex)
	if err != nil || len(ex) == 0 {
		return err
	}
	if err := s.extend(ex, settled); err != nil {
		return s.fail("commit", err)
	}
	for _, e := range ex {
		s.idx.add(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n += uint64(len(ex))
	s.merging = false
	return nil
}

// Settle does ahead of Commit, while others may be under way, all that does not
// depend on their end: of two batches of exceptions, the second can wait for its
// data when the first waits for its list. All that was allocated before is to be
// committed before, and Commit is to get the same exceptions; otherwise it does
// all of it again.
//
// The areas it writes are behind the one in which the batches before will have
// ended, which is not full until this one is committed.
func (s *Store) Settle(ex []Exception) error {
	if len(ex) == 0 {
		return nil
	}
	s.mu.Lock()
	err := s.ready()
	place := s.begun + s.pending.below(ex[0].New)
	s.mu.Unlock()
	if err != nil || s.lastArea(place, ex) >= s.g.chunks(s.dev.Size()) {
		return err // for Commit to refuse
	}
	lo, hi := chunksOf(ex)
	if _, err = s.lay(ex, place); err == nil {
		lo, hi = s.withAreas(lo, hi, ex, place)
		err = s.syncChunks(lo, hi)
	}
	if err != nil {
		return s.fail("settle", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range ex {
		if s.pending.at(e.New) == allocated {
			s.pending.set(e.New, settled)
		}
	}
	s.laid[place] = slices.Clone(ex)
	return nil
}

// lastArea is the chunk of the area in which the list ends after exceptions that
// begin at a place in it.
func (s *Store) lastArea(place uint64, ex []Exception) uint64 {
	return s.g.area((place + uint64(len(ex))) / s.g.epa)
}

// lay writes the areas behind that of place, as they are with exceptions that
// begin there, and returns the last of them; nil if there is none.
func (s *Store) lay(ex []Exception, place uint64) (area []byte, err error) {
	for a := place/s.g.epa + 1; a <= (place+uint64(len(ex)))/s.g.epa; a++ {
		area = s.areaOf(a, ex, place)
		if _, err := s.dev.WriteAt(area, s.g.offset(s.g.area(a))); err != nil {
			return nil, err
		}
	}
	return area, nil
}

// areaOf is an area behind that of place.
func (s *Store) areaOf(a uint64, ex []Exception, place uint64) []byte {
	area := make([]byte, s.g.bytes)
	rest := ex[a*s.g.epa-place:]
	for i := range min(uint64(len(rest)), s.g.epa) {
		putException(area, i, rest[i])
	}
	return area
}

// withAreas widens a range of chunks to the areas that lay writes.
func (s *Store) withAreas(lo, hi uint64, ex []Exception, place uint64) (uint64, uint64) {
	if first, last := s.g.area(place/s.g.epa+1), s.lastArea(place, ex); first <= last {
		return min(lo, first), max(hi, last)
	}
	return lo, hi
}

// chunksOf tells the first and the last chunk of the data of exceptions.
func chunksOf(ex []Exception) (lo, hi uint64) {
	lo, hi = ex[0].New, ex[0].New
	for _, e := range ex[1:] {
		lo, hi = min(lo, e.New), max(hi, e.New)
	}
	return lo, hi
}

func (s *Store) syncChunks(lo, hi uint64) error {
	return blockdev.SyncRange(s.dev, s.g.offset(lo), s.g.offset(hi+1)-s.g.offset(lo))
}

// mayCommit refuses what would make the store corrupt, and otherwise takes the
// chunks from those that are pending and tells whether Settle did its part. Nothing
// was written yet.
func (s *Store) mayCommit(ex []Exception) (allSettled bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(); err != nil {
		return false, err
	}
	chunks := s.g.chunks(s.dev.Size())
	if last := s.lastArea(s.n, ex); last >= chunks {
		return false, fmt.Errorf("cow store: commit: no room for an area at chunk %d of %d: %w", last, chunks, ErrFull)
	}
	twice, repeats := repeated(ex)
	allSettled = true
	for i, e := range ex {
		if err := s.mayAdd(e, repeats && e.Old == twice, chunks); err != nil {
			for _, e := range ex[:i] {
				s.pending.set(e.New, allocated)
			}
			return false, fmt.Errorf("cow store: commit %d → %d: %w", e.Old, e.New, err)
		}
		allSettled = allSettled && s.pending.at(e.New) == settled
		s.pending.set(e.New, taken)
	}
	for _, e := range ex {
		s.pending.set(e.New, none)
	}
	laid := s.laid[s.n]
	delete(s.laid, s.n)
	s.begun = s.n + uint64(len(ex))
	return allSettled && slices.Equal(laid, ex), nil
}

// repeated finds a chunk of the origin that two exceptions name. What ascends
// repeats none.
func repeated(ex []Exception) (old uint64, found bool) {
	rising := true
	for i := 1; rising && i < len(ex); i++ {
		rising = ex[i-1].Old < ex[i].Old
	}
	if rising {
		return 0, false
	}
	seen := make(map[uint64]struct{}, len(ex))
	for _, e := range ex {
		if _, found := seen[e.Old]; found {
			return e.Old, true
		}
		seen[e.Old] = struct{}{}
	}
	return 0, false
}

func (s *Store) mayAdd(e Exception, twice bool, chunks uint64) error {
	if m := s.pending.at(e.New); m != allocated && m != settled {
		return fmt.Errorf("chunk %d was not allocated: %w", e.New, dmcore.ErrInvalid)
	}
	if _, ok := s.idx.get(e.Old); ok || twice {
		return fmt.Errorf("chunk %d is excepted already: %w", e.Old, dmcore.ErrInvalid)
	}
	if err := s.g.check(e, chunks); err != nil {
		return fmt.Errorf("%v: %w", err, dmcore.ErrInvalid) // the caller's fault: the store is sound
	}
	return nil
}

// extend makes the exceptions durable behind the n that are. It syncs what the
// list needs and no more, for the device may have much to write for others.
func (s *Store) extend(ex []Exception, settled bool) error {
	swept := s.litter
	if err := s.sweep(); err != nil {
		return err
	}
	present, from := s.n/s.g.epa, s.n%s.g.epa
	to := min(from+uint64(len(ex)), s.g.epa)
	for i := from; i < to; i++ {
		putException(s.area, i, ex[i-from])
	}
	newest := s.area
	lo, hi := uint64(math.MaxUint64), uint64(0)
	switch last := (s.n + uint64(len(ex))) / s.g.epa; {
	case !settled:
		area, err := s.lay(ex, s.n)
		if err != nil {
			return err
		}
		if area != nil {
			newest = area
		}
		lo, hi = chunksOf(ex)
		lo, hi = s.withAreas(lo, hi, ex, s.n)
	case last > present:
		newest = s.areaOf(last, ex, s.n)
	}
	if area := s.g.area(present); swept {
		lo, hi = min(lo, area), max(hi, area)
	}
	if lo <= hi {
		if err := s.syncChunks(lo, hi); err != nil {
			return err
		}
	}
	if err := s.writeArea(s.area, present, from, to); err != nil {
		return err
	}
	area := s.g.area(present)
	s.area = newest
	return s.syncChunks(area, area)
}

// writeArea writes exceptions from..to-1 of an area, and whatever shares their
// blocks.
func (s *Store) writeArea(area []byte, i, from, to uint64) error {
	lo := from * exceptionSize / blockSize * blockSize
	hi := (to*exceptionSize + blockSize - 1) / blockSize * blockSize
	_, err := s.dev.WriteAt(area[lo:hi], s.g.offset(s.g.area(i))+int64(lo))
	return err
}

// sweep zeroes what a torn write left behind the end of the list, lest it come
// back to life as a part of it. It is durable with the sync that every change
// begins or ends with; before that nothing is appended.
func (s *Store) sweep() error {
	if !s.litter {
		return nil
	}
	s.litter = false
	return s.writeArea(s.area, s.n/s.g.epa, s.n%s.g.epa, s.g.epa)
}

// fail remembers that the store on disk is not known any more.
func (s *Store) fail(op string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = fmt.Errorf("cow store: %s at %d exceptions: %w", op, s.n, err)
	return s.broken
}
