package userspace

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/thinmeta"
)

// thinTarget is thin: a device whose blocks are where the metadata of a pool says
// (drivers/md/dm-thin.c, struct thin_c). Its I/O passes the gate of the pool's
// device, so that nothing is on its way while the pool is suspended; only what waits
// for room in a full pool waits outside.
type thinTarget struct {
	owner  *device
	under  *lower // the pool's device
	origin *lower // external; nil: none
	plain  dmcore.Thin
	pool   *thinPool
	td     *thinDevice

	mu      sync.Mutex
	requeue chan struct{} // closed while waiting writes are to go back outside
	asked   bool          // it is closed
}

// errRequeue sends a request back to before the gate of its device.
var errRequeue = errors.New("to be queued again")

func newThin(t *table, spec dmcore.Thin) (*thinTarget, error) {
	h := &thinTarget{owner: t.owner, plain: spec, requeue: make(chan struct{})}
	var err error
	if h.under, err = t.hold(spec.Pool); err != nil {
		return nil, err
	}
	if h.under.dm != nil {
		h.pool = t.owner.m.pools.of(h.under.dm)
	}
	if h.pool == nil {
		return nil, fmt.Errorf("%s: is no thin pool: %w", spec.Pool, dmcore.ErrInvalid)
	}
	if spec.ExternalOrigin != "" {
		if h.origin, err = t.holdAll(spec.ExternalOrigin); err != nil {
			return nil, err
		}
		if h.origin.dm != nil && (h.origin.dm == h.under.dm || t.owner.m.stands(h.origin.dm, h.under.dm)) {
			return nil, fmt.Errorf("%s: an external origin that is in the pool itself: %w", spec.ExternalOrigin, dmcore.ErrInvalid)
		}
	}
	h.td, err = h.pool.openThin(spec.DeviceID)
	return h, err
}

func (t *thinTarget) close() { t.pool.closeThin(t.td) }

// noflush is closed when requests that wait are to go back outside.
func (t *thinTarget) noflush() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.requeue
}

// presuspend of a device that is not to be flushed sends writes that wait for room
// back outside (drivers/md/dm-thin.c, thin_presuspend). Otherwise the suspend waits
// for them.
func (t *thinTarget) presuspend(_ context.Context, noflush bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if noflush && !t.asked {
		t.asked = true
		close(t.requeue)
	}
	return nil
}

func (t *thinTarget) presuspendUndo() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked {
		t.asked, t.requeue = false, make(chan struct{})
	}
}

func (t *thinTarget) preresume() error { return nil }
func (t *thinTarget) resume()          { t.presuspendUndo() }

// inPool calls f inside the gate of the pool.
func (t *thinTarget) inPool(f func() error) error {
	d := t.under.dm
	if !d.gate.enter() {
		return d.gone()
	}
	defer d.gate.leave()
	if !t.pool.serves() {
		return errPoolFailed
	}
	return f()
}

// blocks is the run of blocks that n bytes at off touch.
func (t *thinTarget) blocks(off, n int64) (begin, end uint64) {
	return uint64(off / t.pool.block), uint64((off+n-1)/t.pool.block + 1)
}

// piece is a run of bytes of a thin device.
type piece struct {
	n      int64
	mapped bool
	at     int64 // where it is in the data device, if it is mapped
	shared bool  // perhaps with another thin device
}

// find measures the run at off, at most n bytes. Its blocks are held.
func (t *thinTarget) find(off, n int64) (piece, error) {
	x, err := t.lookup(off, n)
	if err != nil && t.pool.meta.Broken() != nil {
		// A change failed, which says nothing against what is committed.
		t.pool.mend()
		x, err = t.lookup(off, n)
	}
	if err != nil {
		return piece{}, fmt.Errorf("thin device %d: %w: %w", t.td.id, dmcore.ErrIO, err)
	}
	return x, nil
}

func (t *thinTarget) lookup(off, n int64) (piece, error) {
	size := t.pool.block
	begin, end := t.blocks(off, n)
	if end-begin == 1 {
		f, ok, err := t.pool.meta.Lookup(t.td.id, thinmeta.VBlock(begin))
		return piece{n, ok, int64(f.Data)*size + off%size, f.Shared}, err
	}
	x := piece{n: n}
	err := t.pool.meta.Read(func(r *thinmeta.Reader) error {
		d, err := r.Device(t.td.id)
		if err != nil {
			return err
		}
		for run, err := range r.Mappings(t.td.id, thinmeta.VBlock(begin), thinmeta.VBlock(end)) {
			if err != nil {
				return err
			}
			if uint64(run.Begin) > begin {
				x.n = int64(run.Begin)*size - off
				break
			}
			x = piece{min(n, (int64(run.Begin)+int64(run.Length))*size-off), true, int64(run.Data)*size + off%size, d.Shares(run.Mapping)}
			break
		}
		return nil
	})
	return x, err
}

func (t *thinTarget) read(p []byte, off int64) error {
	return t.inPool(func() error {
		begin, end := t.blocks(off, int64(len(p)))
		defer t.td.blocks.unlock(t.td.blocks.lock(begin, end, false))
		data := t.pool.data()
		if data == nil {
			return errPoolFailed
		}
		for len(p) > 0 {
			x, err := t.find(off, int64(len(p)))
			switch {
			case err != nil:
			case x.mapped:
				err = data.read(p[:x.n], x.at)
			default:
				err = t.readOrigin(p[:x.n], off)
			}
			if err != nil {
				return err
			}
			p, off = p[x.n:], off+x.n
		}
		return nil
	})
}

// readOrigin reads what is not mapped: from the external origin as far as it
// reaches, and zeroes.
func (t *thinTarget) readOrigin(p []byte, off int64) error {
	n := int64(0)
	if t.origin != nil {
		n = max(0, min(int64(len(p)), t.origin.Size()-off))
	}
	clear(p[n:])
	if n == 0 {
		return nil
	}
	return t.origin.read(p[:n], off)
}

// sync commits what the metadata does not have yet, and then syncs the data.
func (t *thinTarget) sync(f *flush) {
	if f.enter(t.under.dm) == nil {
		return
	}
	data := t.pool.data()
	if data == nil {
		f.err = errPoolFailed
		return
	}
	f.first = append(f.first, func() error { return t.pool.settle(t.td) })
	f.add(data)
}

// extents knows what is mapped as allocated.
func (t *thinTarget) extents(off, n int64) (e []blockdev.Extent, err error) {
	err = t.inPool(func() error {
		n = min(n, mostExtent)
		begin, end := t.blocks(off, n)
		defer t.td.blocks.unlock(t.td.blocks.lock(begin, end, false))
		x, err := t.find(off, n)
		switch {
		case err != nil:
			return err
		case x.mapped:
			e = allocated(x.n)
		case t.origin != nil && off < t.origin.Size():
			e, err = t.origin.extents(off, min(x.n, t.origin.Size()-off))
		default:
			e = []blockdev.Extent{{Length: x.n, Hole: true, Zero: true}}
		}
		return err
	})
	return e, err
}

func (t *thinTarget) spec() dmcore.Target { return t.plain }

// status is as drivers/md/dm-thin.c, thin_status, has it.
func (t *thinTarget) status() string {
	if t.pool.failed() {
		return dmcore.ThinStatus{State: dmcore.ThinFail}.String()
	}
	var s dmcore.ThinStatus
	block := dmcore.Sectors(t.pool.block / dmcore.SectorSize)
	err := t.pool.meta.Read(func(r *thinmeta.Reader) error {
		d, err := r.Device(t.td.id)
		if err != nil {
			return err
		}
		s.Mapped = dmcore.Sectors(d.MappedBlocks) * block
		last, ok, err := r.Highest(t.td.id)
		if ok {
			s.Highest = dmcore.Sectors(last+1)*block - 1
		}
		return err
	})
	if err != nil {
		s = dmcore.ThinStatus{State: dmcore.ThinError}
	}
	return s.String()
}
