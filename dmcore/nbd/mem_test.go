package nbd

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"cowhand/dmcore/blockdev"
)

// mem is a device in memory, that knows which of its pages were written.
// A write or read calls hook first, if there is one.
type mem struct {
	data []byte
	hook func(cmd uint16, off int64) error

	mu    sync.Mutex
	pages []bool // written

	closed, syncs atomic.Int32
}

const memPage = 4096

func newMem(size int64) *mem {
	return &mem{data: make([]byte, size), pages: make([]bool, (size+memPage-1)/memPage)}
}

func (m *mem) call(cmd uint16, off int64) error {
	if m.hook != nil {
		return m.hook(cmd, off)
	}
	return nil
}

func (m *mem) ReadAt(p []byte, off int64) (int, error) {
	if err := m.call(cmdRead, off); err != nil {
		return 0, err
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *mem) WriteAt(p []byte, off int64) (int, error) {
	if err := m.call(cmdWrite, off); err != nil {
		return 0, err
	}
	m.mark(off, int64(len(p)), true)
	n := copy(m.data[off:], p)
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func (m *mem) mark(off, n int64, written bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !written { // whole pages only
		end := (off + n) / memPage
		for i := (off + memPage - 1) / memPage; i < end; i++ {
			m.pages[i] = false
		}
		return
	}
	for i := off / memPage; i < (off+n+memPage-1)/memPage; i++ {
		m.pages[i] = true
	}
}

func (m *mem) Size() int64 { return int64(len(m.data)) }
func (m *mem) Close() error {
	m.closed.Add(1)
	return nil
}

func (m *mem) Sync() error {
	m.syncs.Add(1)
	return m.call(cmdFlush, 0)
}

func (m *mem) Discard(off, n int64) error {
	if err := m.call(cmdTrim, off); err != nil {
		return err
	}
	clear(m.data[off : off+n])
	m.mark(off, n, false)
	return nil
}

func (m *mem) Zero(off, n int64, mayUnmap bool) error {
	if err := m.call(cmdWriteZeroes, off); err != nil {
		return err
	}
	clear(m.data[off : off+n])
	m.mark(off, n, !mayUnmap)
	return nil
}

func (m *mem) Extents(off, n int64) ([]blockdev.Extent, error) {
	if err := m.call(cmdBlockStatus, off); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []blockdev.Extent
	for end := off + n; off < end; {
		hole := !m.pages[off/memPage]
		next := min(off/memPage*memPage+memPage, end)
		out = append(out, blockdev.Extent{Length: next - off, Hole: hole, Zero: hole})
		off = next
	}
	return out, nil
}

// plain hides all that is not Device.
type plain struct{ blockdev.Device }

// exports is a fixed set of devices.
type exports map[string]entry

type entry struct {
	dev blockdev.Device
	Export
}

func (x exports) List(context.Context) ([]Export, error) {
	var out []Export
	for name, e := range x {
		e.Name = name
		out = append(out, e.Export)
	}
	return out, nil
}

func (x exports) Open(_ context.Context, name string, readOnly bool) (blockdev.Device, Export, error) {
	e, ok := x[name]
	switch {
	case !ok:
		return nil, Export{}, fs.ErrNotExist
	case e.dev == nil:
		return nil, Export{}, errors.New("it is broken")
	}
	e.Name = name
	return e.dev, e.Export, nil
}
