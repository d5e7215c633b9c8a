package cowstore

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// Areas are read ahead of need, in parallel: more and more of them, up to
// these bounds. The kernel reads 12 chunks ahead.
const (
	maxAhead      = 64
	maxAheadBytes = 4 << 20
)

// Read lists a store without changing it. A store that is not formatted yet
// (see [Open]) has a chunk size of 0 and no exceptions; of one that is not
// valid none are listed either, as the kernel reads none. The exceptions are in
// commit order.
func Read(dev blockdev.Device) (chunk dmcore.Sectors, valid bool, ex []Exception, err error) {
	h, err := readHeader(dev)
	if err != nil || h.magic == 0 {
		return 0, err == nil, nil, err
	}
	s, err := load(dev, h)
	if err != nil {
		return 0, false, nil, err
	}
	ex = make([]Exception, s.n)
	for i := range ex {
		ex[i] = *s.idx.at(uint64(i))
	}
	return s.g.chunk, s.valid, ex, nil
}

func readHeader(dev blockdev.Device) (header, error) {
	b := make([]byte, dmcore.SectorSize)
	if err := readFull(dev, b, 0); err != nil {
		return header{}, fmt.Errorf("cow store: header: %w", err)
	}
	h := decodeHeader(b)
	switch {
	case h.magic == 0:
	case h.magic != magic:
		return header{}, fmt.Errorf("cow store: header begins with %q: %w", b[:4], ErrCorrupt)
	case h.version != version:
		return header{}, fmt.Errorf("cow store: version %d is not known: %w", h.version, ErrCorrupt)
	}
	return h, nil
}

// load reads the exceptions of a formatted store.
func load(dev blockdev.Device, h header) (*Store, error) {
	g, err := newGeometry(dmcore.Sectors(h.chunk))
	if err != nil || h.chunk == 0 {
		return nil, fmt.Errorf("cow store: chunk size of %d sectors: %w", h.chunk, ErrCorrupt)
	}
	s := newStore(dev, g)
	s.valid = h.valid != 0
	if !s.valid {
		return s, nil
	}
	ascending := true
	r := areaReader{dev: dev, g: g, chunks: g.chunks(dev.Size())}
	for full := true; full; {
		if s.area, err = r.next(); err != nil {
			return nil, fmt.Errorf("cow store: area %d: %w", s.n/g.epa, err)
		}
		full, ascending, err = s.take(s.area, r.chunks, ascending)
		if err != nil {
			return nil, fmt.Errorf("cow store: area %d: %w", s.n/g.epa, err)
		}
	}
	s.begun = s.n
	s.area = slices.Clone(s.area) // it was part of a large read
	rest := s.area[s.n%g.epa*exceptionSize:]
	for i := range rest {
		if rest[i] != 0 {
			s.litter = true
			clear(rest)
			break
		}
	}
	if !ascending && s.shared() {
		return nil, fmt.Errorf("cow store: two exceptions point at one chunk: %w", ErrCorrupt)
	}
	return s, nil
}

// take adds an area's exceptions to the store.
func (s *Store) take(area []byte, chunks uint64, ascending bool) (full, stillAscending bool, err error) {
	for i := range s.g.epa {
		e := getException(area, i)
		if e.New == 0 {
			return false, ascending, nil
		}
		if err := s.g.check(e, chunks); err != nil {
			return false, false, err
		}
		if s.n == maxExceptions {
			return false, false, fmt.Errorf("more than %d exceptions: %w", s.n, ErrCorrupt)
		}
		if !s.idx.add(e) {
			return false, false, fmt.Errorf("chunk %d is excepted twice: %w", e.Old, ErrCorrupt)
		}
		s.n++
		if e.New < s.next {
			ascending = false
		}
		s.next = max(s.next, s.g.after(e.New))
	}
	return true, ascending, nil
}

// shared reports whether two exceptions point at one chunk. It is asked only of
// stores whose exceptions do not ascend.
func (s *Store) shared() bool {
	chunks := make([]uint64, s.n)
	for i := range chunks {
		chunks[i] = s.idx.at(uint64(i)).New
	}
	slices.Sort(chunks)
	return len(slices.Compact(chunks)) < int(s.n)
}

// areaReader reads areas in order.
type areaReader struct {
	dev     blockdev.Device
	g       geometry
	chunks  uint64 // of the device
	nextOne uint64
	ahead   int // areas read at once the last time
	got     []areaRead
}

type areaRead struct {
	b   []byte
	err error
}

func (r *areaReader) next() ([]byte, error) {
	if r.g.area(r.nextOne) >= r.chunks {
		return nil, fmt.Errorf("lies at chunk %d of %d: %w", r.g.area(r.nextOne), r.chunks, ErrCorrupt)
	}
	if len(r.got) == 0 {
		r.fetch()
	}
	a := r.got[0]
	r.got = r.got[1:]
	r.nextOne++
	return a.b, a.err
}

func (r *areaReader) fetch() {
	left := (r.chunks - r.g.area(r.nextOne) + r.g.stride - 1) / r.g.stride
	r.ahead = max(1, min(2*r.ahead, maxAhead, int(maxAheadBytes/r.g.bytes)))
	n := int(min(uint64(r.ahead), left))
	buf := make([]byte, int64(n)*r.g.bytes)
	r.got = make([]areaRead, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			b := buf[int64(i)*r.g.bytes:][:r.g.bytes]
			r.got[i] = areaRead{b, readFull(r.dev, b, r.g.offset(r.g.area(r.nextOne+uint64(i))))}
		})
	}
	wg.Wait()
}

// readFull reads len(b) bytes; fewer are an error.
func readFull(dev blockdev.Device, b []byte, off int64) error {
	n, err := dev.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("device ends after %d of %d bytes at %d: %w", n, len(b), off, ErrCorrupt)
	}
	return err
}
