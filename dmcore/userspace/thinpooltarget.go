package userspace

import (
	"context"
	"errors"
	"fmt"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/thinmeta"
)

// poolTarget is thin-pool: its own I/O goes to the data device
// (drivers/md/dm-thin.c, struct pool_c).
type poolTarget struct {
	dev        *device
	meta, data *lower
	length     int64
	plain      dmcore.ThinPool
	pool       *thinPool
	mode       poolMode // that the pool is to have when the target is resumed; guarded by thinPool.tx
}

func newPoolTarget(t *table, spec dmcore.ThinPool, length dmcore.Sectors) (*poolTarget, error) {
	b := &poolTarget{dev: t.owner, length: length.Bytes(), plain: spec}
	switch {
	case spec.Metadata == spec.Data:
		return nil, fmt.Errorf("%s is both metadata and data device: %w", spec.Data, dmcore.ErrInvalid)
	case spec.BlockSize < dmcore.MinThinBlock || spec.BlockSize > dmcore.MaxThinBlock || spec.BlockSize%dmcore.MinThinBlock != 0:
		return nil, fmt.Errorf("blocks of %d sectors are no multiple of %d from %d to %d: %w",
			spec.BlockSize, dmcore.MinThinBlock, dmcore.MinThinBlock, dmcore.MaxThinBlock, dmcore.ErrInvalid)
	case t.readOnly:
		return nil, fmt.Errorf("a pool may not be read-only: %w", dmcore.ErrInvalid)
	}
	if spec.Features.ReadOnly {
		b.mode = poolReadOnly
	}
	var err error
	if b.meta, err = t.holdAll(spec.Metadata); err != nil {
		return nil, err
	}
	if b.data, err = t.holdArea(spec.Data, 0, length); err != nil {
		return nil, err
	}
	if b.meta.key() == b.data.key() {
		return nil, fmt.Errorf("%s is both metadata and data device: %w", spec.Data, dmcore.ErrInvalid)
	}
	ps := &t.owner.m.pools
	p, made, err := ps.join(b)
	if err != nil {
		return nil, err
	}
	b.pool = p
	if !made {
		return b, nil
	}
	if err := p.open(b); err != nil {
		ps.leave(b)
		if errors.Is(err, thinmeta.ErrCorrupt) || errors.Is(err, thinmeta.ErrUnformatted) {
			err = fmt.Errorf("%w: %w", dmcore.ErrInvalid, err)
		}
		return nil, err
	}
	return b, nil
}

func (b *poolTarget) close() { b.dev.m.pools.leave(b) }

func (b *poolTarget) read(p []byte, off int64) error  { return b.data.read(p, off) }
func (b *poolTarget) write(p []byte, off int64) error { return b.data.write(p, off) }
func (b *poolTarget) sync(f *flush)                   { f.add(b.data) }
func (b *poolTarget) syncRange(f *flush, off, n int64) {
	f.addRange(b.data, off, n)
}
func (b *poolTarget) zero(off, n int64, mayUnmap bool) error { return b.data.zero(off, n, mayUnmap) }

// discard is one of those that a pool passes down.
func (b *poolTarget) discard(off, n int64) error {
	if !b.passesDown() {
		return errors.ErrUnsupported
	}
	return b.data.discard(off, n)
}

func (b *poolTarget) passesDown() bool {
	return !b.plain.Features.IgnoreDiscard && !b.plain.Features.NoDiscardPassdown
}

func (b *poolTarget) extents(off, n int64) ([]blockdev.Extent, error) { return b.data.extents(off, n) }
func (b *poolTarget) spec() dmcore.Target                             { return b.plain }

// status is as drivers/md/dm-thin.c, pool_status, has it.
func (b *poolTarget) status() string {
	p := b.pool
	p.mu.Lock()
	mode, errorFull := p.mode, p.errorFull
	p.mu.Unlock()
	if mode == poolFailed {
		return dmcore.ThinPoolStatus{State: dmcore.ThinFail}.String()
	}
	sb, u, room := p.meta.Superblock(), p.meta.Usage(), p.meta.Room()
	return dmcore.ThinPoolStatus{
		TransactionID: sb.TransactionID,
		UsedMetadata:  u.Metadata - room.Metadata, TotalMetadata: u.Metadata,
		UsedData: u.Data - room.Data, TotalData: u.Data,
		HeldRoot:       sb.HeldRoot,
		Mode:           mode.word(),
		Discard:        b.discards(),
		ErrorIfNoSpace: errorFull,
		NeedsCheck:     sb.NeedsCheck,
		LowWater:       b.lowMetadata(),
	}.String()
}

func (b *poolTarget) discards() dmcore.ThinDiscard {
	switch {
	case b.plain.Features.IgnoreDiscard:
		return dmcore.DiscardIgnored
	case b.plain.Features.NoDiscardPassdown:
		return dmcore.DiscardNoPassdown
	}
	return dmcore.DiscardPassdown
}

// lowMetadata is how many free metadata blocks are few
// (drivers/md/dm-thin.c, calc_metadata_threshold).
func (b *poolTarget) lowMetadata() uint64 {
	return min(1024, thinmeta.Blocks(b.meta.Size())/4)
}

// preresume makes the pool this target's: its size, and what it is to be able to.
func (b *poolTarget) preresume() error {
	p := b.pool
	p.tx.Lock()
	defer p.tx.Unlock()
	p.mu.Lock()
	p.bound = b
	p.errorFull = b.plain.Features.ErrorIfNoSpace
	p.mu.Unlock()
	p.setMode(b.mode)
	err := p.grow(b)
	if p.failed() {
		return nil // what waits is to fail, and not to wait for ever
	}
	return err
}

// grow gives the pool what its devices have more than it knows
// (drivers/md/dm-thin.c, maybe_resize_data_dev and maybe_resize_metadata_dev).
func (p *thinPool) grow(b *poolTarget) error {
	u, check := p.meta.Usage(), p.meta.Superblock().NeedsCheck
	data, meta := uint64(b.length/p.block), thinmeta.Blocks(b.meta.Size())
	switch {
	case data < u.Data:
		return fmt.Errorf("%d data blocks, the pool has %d: %w", data, u.Data, dmcore.ErrInvalid)
	case meta < u.Metadata:
		return fmt.Errorf("%d metadata blocks, the pool has %d: %w", meta, u.Metadata, dmcore.ErrInvalid)
	case check || p.modeNow() >= poolReadOnly:
		return nil // it grows when it may be changed again
	}
	if meta > u.Metadata {
		if p.modeNow() == poolOutOfMetadata {
			p.setMode(poolWrite)
		}
		if err := p.changed(p.meta.ResizeMetadata()); err != nil {
			return err
		}
	}
	if data > u.Data {
		if err := p.changed(p.meta.ResizeData(data)); err != nil {
			return err
		}
	}
	if data > u.Data || meta > u.Metadata {
		return p.commitLocked()
	}
	return nil
}

func (b *poolTarget) resume() {
	p := b.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended, p.lowTold = false, false
	p.tellLocked()
}

func (b *poolTarget) presuspend(context.Context, bool) error { return nil }
func (b *poolTarget) presuspendUndo()                        {}

// postsuspend commits. No I/O of a thin device is on its way through the pool.
func (b *poolTarget) postsuspend() {
	p := b.pool
	p.tx.Lock()
	defer p.tx.Unlock()
	p.mu.Lock()
	p.suspended = true
	p.stopLocked()
	p.mu.Unlock()
	if p.modeNow() < poolOutOfMetadata {
		p.commitLocked() // what cannot be committed is given up, and the mode tells
	}
}
