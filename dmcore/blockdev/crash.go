package blockdev

import (
	"errors"
	"math/rand/v2"
	"sync"
)

// ErrPowerCut is what every operation on a [Crash] gives after the cut.
var ErrPowerCut = errors.New("power cut")

const sectorSize = 512

// Power is what a group of Crash devices runs on. It numbers their writes and
// syncs (discards and zeroing count as writes), from 1, and can go away at any
// of them. The zero value never fails.
type Power struct {
	mu     sync.Mutex
	ops    int
	cutAt  int
	failAt int
	fail   error
}

// Ops is the number of writes and syncs so far, of all devices.
func (p *Power) Ops() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ops
}

// CutAt makes the power go away during the n-th operation counted from now: it
// and all after it, reads too, give ErrPowerCut. A write that is cut is in
// flight: any of its sectors may have arrived. 0 takes the order back.
func (p *Power) CutAt(n int) { p.at(&p.cutAt, n) }

// FailAt makes the n-th operation from now fail with err, and no other. A
// write that fails may have stored any of its sectors.
func (p *Power) FailAt(n int, err error) {
	p.at(&p.failAt, n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = err
}

func (p *Power) at(which *int, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*which = 0
	if n > 0 {
		*which = p.ops + n
	}
}

// off reports whether the power is gone.
func (p *Power) off() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cutAt > 0 && p.ops >= p.cutAt
}

// op counts an operation and tells whether it reaches the device at all, and
// how it ends.
func (p *Power) op() (reached bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ops++
	switch {
	case p.cutAt > 0 && p.ops >= p.cutAt:
		return p.ops == p.cutAt, ErrPowerCut
	case p.ops == p.failAt:
		return true, p.fail
	}
	return true, nil
}

// Crash is a device in memory that knows what a power cut would leave of it:
//
//	WriteAt ──▶ cache, unsynced list ──Sync──▶ durable
//	                     │                        │
//	                     └── some sectors ──▶ Clone ◀── all
type Crash struct {
	*Power
	mu       sync.Mutex
	cache    *Mem // what reads see
	durable  *Mem // what is sure to survive
	unsynced []write
}

type write struct {
	off  int64
	data []byte
}

// NewCrash returns a device of size zero bytes, durable, with power of its own.
func NewCrash(size int64) *Crash { return NewCrashOn(new(Power), NewMem(size)) }

// NewCrashOn returns a device that shares the power of others and holds a copy
// of what is in from, all of it durable.
func NewCrashOn(p *Power, from *Mem) *Crash {
	return &Crash{Power: p, cache: from.Clone(), durable: from.Clone()}
}

// Clone returns what a power cut at this moment may leave: everything synced,
// and of every later write each 512-byte sector with a chance of keepPercent
// in a hundred. The device itself stays as it is.
func (c *Crash) Clone(rng *rand.Rand, keepPercent int) *Mem {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.durable.Clone()
	for _, w := range c.unsynced {
		for off, data := w.off, w.data; len(data) > 0; {
			n := min(len(data), int(sectorSize-off%sectorSize))
			if rng.IntN(100) < keepPercent {
				m.write(data[:n], off)
			}
			off, data = off+int64(n), data[n:]
		}
	}
	return m
}

// Size implements Device.
func (c *Crash) Size() int64 { return c.cache.Size() }

// ReadAt implements Device.
func (c *Crash) ReadAt(p []byte, off int64) (int, error) {
	if c.off() {
		return 0, ErrPowerCut
	}
	return c.cache.ReadAt(p, off)
}

// WriteAt implements Device.
func (c *Crash) WriteAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reached, fail := c.op()
	if !reached {
		return 0, fail
	}
	n, err := c.cache.WriteAt(p, off)
	if n > 0 {
		c.unsynced = append(c.unsynced, write{off, append([]byte(nil), p[:n]...)})
	}
	if fail != nil {
		return 0, fail
	}
	return n, err
}

// Sync implements Device. One that fails has made nothing durable.
func (c *Crash) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.op(); err != nil {
		return err
	}
	for _, w := range c.unsynced {
		c.durable.write(w.data, w.off)
	}
	c.unsynced = nil
	return nil
}

// SyncRange implements RangeSyncer. Of writes that lie there in part, the rest
// stays in danger.
func (c *Crash) SyncRange(off, n int64) error {
	if err := checkRange(off, n, c.Size()); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.op(); err != nil {
		return err
	}
	end := off + n
	var left []write
	for _, w := range c.unsynced {
		wend := w.off + int64(len(w.data))
		lo, hi := max(off, w.off), min(end, wend)
		if lo >= hi {
			left = append(left, w)
			continue
		}
		c.durable.write(w.data[lo-w.off:hi-w.off], lo)
		if w.off < lo {
			left = append(left, write{w.off, w.data[:lo-w.off]})
		}
		if hi < wend {
			left = append(left, write{hi, w.data[hi-w.off:]})
		}
	}
	c.unsynced = left
	return nil
}

// Zero writes zeroes.
func (c *Crash) Zero(off, n int64, _ bool) error {
	if err := checkRange(off, n, c.Size()); err != nil {
		return err
	}
	_, err := c.WriteAt(make([]byte, n), off)
	return err
}

// Discard writes zeroes.
func (c *Crash) Discard(off, n int64) error { return c.Zero(off, n, true) }

// Close implements Device; what was not synced stays in danger.
func (c *Crash) Close() error { return nil }
