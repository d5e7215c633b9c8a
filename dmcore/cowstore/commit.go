package cowstore

import (
	"fmt"
	"math"

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

// Settle makes the data of exceptions durable ahead of their Commit, while
// another Commit may be under way: of two batches of exceptions, the second can
// wait for its data when the first waits for its list. Where Commit has to wait
// for more than the data anyway, Settle leaves it all to Commit.
func (s *Store) Settle(ex []Exception) error {
	s.mu.Lock()
	err := s.ready()
	crosses := s.n%s.g.epa+uint64(s.pending.n) >= s.g.epa
	s.mu.Unlock()
	if err != nil || crosses || len(ex) == 0 {
		return err
	}
	lo, hi := chunksOf(ex)
	if err := s.syncChunks(lo, hi); err != nil {
		return s.fail("settle", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range ex {
		if s.pending.at(e.New) == allocated {
			s.pending.set(e.New, settled)
		}
	}
	return nil
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
// chunks from those that are pending and tells whether all are settled. Nothing
// was written yet.
func (s *Store) mayCommit(ex []Exception) (allSettled bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(); err != nil {
		return false, err
	}
	chunks := s.g.chunks(s.dev.Size())
	if last := s.g.area((s.n + uint64(len(ex))) / s.g.epa); last >= chunks {
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
	return allSettled, nil
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
	lo, hi := chunksOf(ex)
	if settled {
		lo, hi = math.MaxUint64, 0
	}
	present, from := s.n/s.g.epa, s.n%s.g.epa
	to := min(from+uint64(len(ex)), s.g.epa)
	for i := from; i < to; i++ {
		putException(s.area, i, ex[i-from])
	}
	newest := s.area
	rest := ex[to-from:]
	if to == s.g.epa {
		newest = make([]byte, s.g.bytes)
	}
	for a := present + 1; a <= (s.n+uint64(len(ex)))/s.g.epa; a++ {
		clear(newest)
		k := min(uint64(len(rest)), s.g.epa)
		for i := range k {
			putException(newest, i, rest[i])
		}
		rest = rest[k:]
		if _, err := s.dev.WriteAt(newest, s.g.offset(s.g.area(a))); err != nil {
			return err
		}
		lo, hi = min(lo, s.g.area(a)), max(hi, s.g.area(a))
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
