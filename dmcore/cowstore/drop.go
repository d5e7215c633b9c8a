package cowstore

import (
	"fmt"

	"cowhand/dmcore"
)

// Tail returns the last exceptions of the list, the newest first and at most
// max: what a merge copies next (persistent_prepare_merge).
func (s *Store) Tail(max int) []Exception {
	s.writer.Lock()
	defer s.writer.Unlock()
	n := min(uint64(max), s.n)
	out := make([]Exception, n)
	for i := range out {
		out[i] = *s.idx.at(s.n - 1 - uint64(i))
	}
	return out
}

// DropTail takes the last n exceptions off the list; their chunks are in the
// origin, synced. When it returns this is durable, and Lookup misses them. It
// costs one sync, and another if the end of the list moves to an earlier area:
// the later ones are empty on disk before that one stops being full.
func (s *Store) DropTail(n int) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.mu.Lock()
	err := s.ready()
	s.mu.Unlock()
	if err != nil || n == 0 {
		return err
	}
	if n < 0 || uint64(n) > s.n {
		return fmt.Errorf("cow store: drop %d of %d exceptions: %w", n, s.n, dmcore.ErrInvalid)
	}
	left := s.n - uint64(n)
	if err := s.truncate(left); err != nil {
		return s.fail("drop", err)
	}
	for range n {
		s.idx.drop()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n, s.begun = left, left
	clear(s.laid) // in another place now
	s.merging = true
	return nil
}

// truncate makes the list on disk end after its first left exceptions.
func (s *Store) truncate(left uint64) error {
	if err := s.sweep(); err != nil {
		return err
	}
	target, from := left/s.g.epa, left%s.g.epa
	present, to := s.n/s.g.epa, s.n%s.g.epa
	if present > target {
		clear(s.area)
		for a := present; a > target; a-- {
			if _, err := s.dev.WriteAt(s.area, s.g.offset(s.g.area(a))); err != nil {
				return err
			}
		}
		if err := s.dev.Sync(); err != nil {
			return err
		}
		to = s.g.epa
		for i := range from {
			putException(s.area, i, *s.idx.at(target*s.g.epa + i))
		}
	}
	clear(s.area[from*exceptionSize : to*exceptionSize])
	if err := s.writeArea(s.area, target, from, to); err != nil {
		return err
	}
	return s.dev.Sync()
}
