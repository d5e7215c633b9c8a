package userspace

import (
	"fmt"
	"sync/atomic"

	"cowhand/dmcore"
)

// device is one mapped device. Commands that change it hold ctl; the fields
// under it that others look at are guarded by Machine.mu. I/O needs neither: it
// passes the gate, and the live table changes only while the gate is closed.
type device struct {
	m    *Machine
	no   dmcore.DevNo
	ctl  chan struct{} // a lock of one place, so that waiting for it can end with a context
	gate gate
	live atomic.Pointer[table]

	// Guarded by Machine.mu.
	name      dmcore.Name
	uuid      dmcore.UUID
	inactive  *table
	suspended bool
	opens     int             // handles
	users     map[*device]int // devices whose tables use this one, and in how many
	deferred  bool            // remove when nothing uses it
	removed   bool
	eventNr   uint32
	event     chan struct{} // closed and renewed by each event
}

func (d *device) openCount() int { return d.opens + len(d.users) }

// standsUnder reports whether other uses d, directly or through others. The
// caller holds Machine.mu.
func (d *device) standsUnder(other *device) bool {
	for u := range d.users {
		if u == other || u.standsUnder(other) {
			return true
		}
	}
	return false
}

func (d *device) info() dmcore.Info {
	live := d.live.Load()
	return dmcore.Info{
		Name: d.name, UUID: d.uuid, Dev: d.no,
		OpenCount: d.openCount(), EventNr: d.eventNr,
		Suspended: d.suspended, Live: live != nil, Inactive: d.inactive != nil,
		ReadOnly: live != nil && live.readOnly, DeferredRemove: d.deferred,
	}
}

// raise counts an event and wakes who waits for it.
func (d *device) raise() {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.raiseLocked()
}

func (d *device) raiseLocked() {
	d.eventNr++
	close(d.event)
	d.event = make(chan struct{})
}

func (d *device) isSuspended() bool {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.suspended
}

func (d *device) size() int64 {
	if t := d.live.Load(); t != nil {
		return t.size
	}
	return 0
}

func (d *device) readOnly() bool {
	t := d.live.Load()
	return t != nil && t.readOnly
}

func (d *device) gone() error { return fmt.Errorf("device %s: %w", d.no, dmcore.ErrNotFound) }

// within checks that a transfer lies inside the table.
func (d *device) within(t *table, what string, off, n int64) error {
	if t == nil || off < 0 || n < 0 || off > t.size || n > t.size-off {
		return ioError(d.no.Dev(), what, int(n), off, errBeyondEnd)
	}
	return nil
}

// again does I/O until it is not sent back to before the gate.
func again(io func() error) error {
	for {
		if err := io(); err != errRequeue {
			return err
		}
	}
}

func (d *device) read(p []byte, off int64) error {
	if !d.gate.enter() {
		return d.gone()
	}
	t := d.live.Load()
	err := d.within(t, "read", off, int64(len(p)))
	if err == nil {
		err = t.read(p, off)
	}
	d.gate.leave()
	return err
}

func (d *device) write(p []byte, off int64) error {
	return again(func() error { return d.writeOnce(p, off) })
}

func (d *device) writeOnce(p []byte, off int64) error {
	if !d.gate.enter() {
		return d.gone()
	}
	t := d.live.Load()
	err := d.within(t, "write", off, int64(len(p)))
	if err == nil {
		err = t.write(p, off)
	}
	d.gate.leave()
	return err
}

// with calls f with the live table, as I/O of n bytes at off.
func (d *device) with(off, n int64, f func(*table) error) error {
	return again(func() error { return d.withOnce(off, n, f) })
}

func (d *device) withOnce(off, n int64, f func(*table) error) error {
	if !d.gate.enter() {
		return d.gone()
	}
	defer d.gate.leave()
	t := d.live.Load()
	if err := d.within(t, "request", off, n); err != nil {
		return err
	}
	return f(t)
}
