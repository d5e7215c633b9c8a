package blockdev

import (
	"maps"
	"slices"
	"sync"
)

// Mem is a device in memory. Pages that were never written take no room, so
// that a large Mem is cheap. Sync does nothing.
type Mem struct {
	mu    sync.RWMutex
	size  int64
	pages map[int64]*page
}

const pageSize = 4096

// page is written in place only by the one Mem that has it.
type page struct {
	shared bool // set once, before a second Mem knows the page
	b      [pageSize]byte
}

// NewMem returns a device of size bytes, all zero.
func NewMem(size int64) *Mem {
	return &Mem{size: size, pages: map[int64]*page{}}
}

// NewMemBytes returns a device that holds a copy of b.
func NewMemBytes(b []byte) *Mem {
	m := NewMem(int64(len(b)))
	m.write(b, 0)
	return m
}

// Size implements Device.
func (m *Mem) Size() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.size
}

// Resize makes the device longer, with zeroes, or shorter.
func (m *Mem) Resize(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if size < m.size {
		m.zero(size, m.size-size)
	}
	m.size = size
}

// Clone returns a device of its own with the same contents. It is cheap: pages
// are copied when either device writes them.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pages {
		if !p.shared {
			p.shared = true
		}
	}
	return &Mem{size: m.size, pages: maps.Clone(m.pages)}
}

// own returns page i for writing.
func (m *Mem) own(i int64) *page {
	p := m.pages[i]
	switch {
	case p == nil:
		p = new(page)
	case p.shared:
		p = &page{b: p.b}
	default:
		return p
	}
	m.pages[i] = p
	return p
}

// ReadAt implements Device.
func (m *Mem) ReadAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := clipRead(off, len(p), m.size)
	for done := 0; done < n; {
		i, at := (off+int64(done))/pageSize, (off+int64(done))%pageSize
		part := p[done:min(n, done+int(pageSize-at))]
		if page := m.pages[i]; page != nil {
			copy(part, page.b[at:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return n, err
}

// WriteAt implements Device.
func (m *Mem) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := clipWrite(off, len(p), m.size)
	m.write(p[:n], off)
	return n, err
}

func (m *Mem) write(p []byte, off int64) {
	for len(p) > 0 {
		i, at := off/pageSize, off%pageSize
		n := copy(m.own(i).b[at:], p)
		p, off = p[n:], off+int64(n)
	}
}

// Sync implements Device.
func (m *Mem) Sync() error { return nil }

// Close implements Device; the contents stay.
func (m *Mem) Close() error { return nil }

// Discard zeroes the bytes and gives whole pages back.
func (m *Mem) Discard(off, n int64) error { return m.Zero(off, n, true) }

// Zero implements Zeroer.
func (m *Mem) Zero(off, n int64, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := checkRange(off, n, m.size); err != nil {
		return err
	}
	m.zero(off, n)
	return nil
}

func (m *Mem) zero(off, n int64) {
	end := off + n
	for _, i := range m.mapped(off, end) {
		from, to := max(off, i*pageSize), min(end, (i+1)*pageSize)
		switch {
		case to-from == pageSize:
			delete(m.pages, i)
		case from < to:
			clear(m.own(i).b[from-i*pageSize : to-i*pageSize])
		}
	}
}

// mapped returns, in order, the pages between off and end that are there.
func (m *Mem) mapped(off, end int64) []int64 {
	var out []int64
	if (end-off)/pageSize < int64(len(m.pages)) {
		for i := off / pageSize; i*pageSize < end; i++ {
			if m.pages[i] != nil {
				out = append(out, i)
			}
		}
		return out
	}
	for i := range m.pages {
		if (i+1)*pageSize > off && i*pageSize < end {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// Extents implements Mapper: pages never written are holes.
func (m *Mem) Extents(off, n int64) ([]Extent, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := checkRange(off, n, m.size); err != nil || n == 0 {
		return nil, err
	}
	var out []Extent
	end := off + n
	add := func(upTo int64, hole bool) {
		length := min(upTo, end) - off
		if length <= 0 {
			return
		}
		if last := len(out) - 1; last >= 0 && out[last].Hole == hole {
			out[last].Length += length
		} else {
			out = append(out, Extent{Length: length, Hole: hole, Zero: hole})
		}
		off += length
	}
	for _, i := range m.mapped(off, end) {
		add(i*pageSize, true)
		add((i+1)*pageSize, false)
	}
	add(end, true)
	return out, nil
}
