package userspace

import (
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// Handle is an open device. It is a blockdev.Device whose I/O goes through the
// table that is live at the time, and waits while the device is suspended.
// Offsets and lengths are multiples of 512 bytes; anything else is
// [dmcore.ErrInvalid].
type Handle struct {
	d        *device
	readOnly bool
	closed   atomic.Bool
}

var (
	_ blockdev.Device    = (*Handle)(nil)
	_ blockdev.Discarder = (*Handle)(nil)
	_ blockdev.Zeroer    = (*Handle)(nil)
	_ blockdev.Mapper    = (*Handle)(nil)
)

// Open opens a device for I/O. While it is open the device cannot be removed.
// A device whose live table is read-only opens only for reading.
func (m *Machine) Open(name dmcore.Name, readOnly bool) (*Handle, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.byName[name]
	switch {
	case d == nil:
		return nil, fmt.Errorf("device %s: %w: %w", name, dmcore.ErrNotFound, fs.ErrNotExist)
	case !readOnly && d.readOnly():
		return nil, fmt.Errorf("device %s: %w", name, dmcore.ErrReadOnly)
	}
	d.opens++
	return &Handle{d: d, readOnly: readOnly}, nil
}

// Close gives the device back. It waits for nothing.
func (h *Handle) Close() error {
	if h.closed.Swap(true) {
		return fs.ErrClosed
	}
	m := h.d.m
	m.mu.Lock()
	h.d.opens--
	gone := m.dropIfDeferred(h.d)
	m.mu.Unlock()
	if gone {
		return m.finish(h.d)
	}
	return nil
}

// Size is the length of the live table; 0 if there is none.
func (h *Handle) Size() int64 { return h.d.size() }

// ReadOnly reports whether writes are refused: the handle was opened so, or
// the live table became read-only.
func (h *Handle) ReadOnly() bool { return h.readOnly || h.d.readOnly() }

// check is what every request must pass before it enters the gate.
func (h *Handle) check(off, n int64) error {
	if h.closed.Load() {
		return fs.ErrClosed
	}
	if (off|n)%dmcore.SectorSize != 0 || off < 0 || n < 0 {
		return fmt.Errorf("device %s: %d bytes at %d: not whole sectors: %w", h.d.no, n, off, dmcore.ErrInvalid)
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (h *Handle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	d := h.d
	if !d.gate.enter() {
		return 0, d.gone()
	}
	defer d.gate.leave()
	t := d.live.Load()
	n := fit(t, off, len(p))
	if n > 0 {
		if err := t.read(p[:n], off); err != nil {
			return 0, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (h *Handle) WriteAt(p []byte, off int64) (n int, err error) {
	err = again(func() error {
		n, err = h.writeOnce(p, off)
		return err
	})
	return n, err
}

func (h *Handle) writeOnce(p []byte, off int64) (int, error) {
	if err := h.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	d := h.d
	if !d.gate.enter() {
		return 0, d.gone()
	}
	defer d.gate.leave()
	t := d.live.Load()
	if h.readOnly || t != nil && t.readOnly {
		return 0, fmt.Errorf("device %s: %w", d.no, dmcore.ErrReadOnly)
	}
	n := fit(t, off, len(p))
	if n > 0 {
		if err := t.write(p[:n], off); err != nil {
			return 0, err
		}
	}
	if n < len(p) {
		return n, ioError(d.no.Dev(), "write", len(p), off, errBeyondEnd)
	}
	return n, nil
}

// fit is how much of n bytes at off lies inside the table.
func fit(t *table, off int64, n int) int {
	if t == nil || off >= t.size {
		return 0
	}
	return int(min(int64(n), t.size-off))
}

// Sync makes every acknowledged write durable, whatever lies below: each file
// or device once, in parallel.
func (h *Handle) Sync() error {
	if h.closed.Load() {
		return fs.ErrClosed
	}
	return h.d.sync()
}

func (d *device) sync() error {
	var f flush
	f.addDevice(d)
	return f.run()
}

// Zero writes zeroes, or answers errors.ErrUnsupported where that is no faster
// than writing them.
func (h *Handle) Zero(off, n int64, mayUnmap bool) error {
	return h.change(off, n, func(t *table) error { return t.zero(off, n, mayUnmap) })
}

// Discard gives bytes back to what is below, or answers errors.ErrUnsupported.
func (h *Handle) Discard(off, n int64) error {
	return h.change(off, n, func(t *table) error { return t.discard(off, n) })
}

func (h *Handle) change(off, n int64, f func(*table) error) error {
	if err := h.check(off, n); err != nil {
		return err
	}
	return h.d.with(off, n, func(t *table) error {
		if h.readOnly || t.readOnly {
			return fmt.Errorf("device %s: %w", h.d.no, dmcore.ErrReadOnly)
		}
		return f(t)
	})
}

// Extents tells which bytes are allocated; what is not known counts as
// allocated.
func (h *Handle) Extents(off, n int64) ([]blockdev.Extent, error) {
	if err := h.check(off, n); err != nil {
		return nil, err
	}
	if n = min(n, h.Size()-off); n <= 0 {
		return nil, io.EOF
	}
	var e []blockdev.Extent
	err := h.d.with(off, n, func(t *table) (err error) {
		e, err = t.extents(off, n)
		return err
	})
	return e, err
}

// Queued tells how many requests wait for the device to be resumed.
func (h *Handle) Queued() int { return int(h.d.gate.queued.Load()) }

var _ dmcore.Control = (*Machine)(nil)
