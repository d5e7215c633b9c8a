package userspace

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/thinmeta"
)

// thinPool is what the thin-pool targets of a device share, one live and one that
// may be about to be, and the thin targets that stand on it (drivers/md/dm-thin.c,
// struct pool). It lasts as long as there is a target:
//
//	load: metadata opened ──resume──▶ bound to the target, running ──suspend──▶ committed
//	                                      ▲                                        │
//	                                      └────────── resume, perhaps with a new ──┘
//	                                                  table: it grows
type thinPool struct {
	m       *Machine
	dev     *device // whose tables the targets are in
	metaKey any     // of the metadata device
	dataKey any
	block   int64 // bytes of a data block
	meta    *thinmeta.Pool
	buffers sync.Pool // of *[]byte, to copy with

	inRow sync.Mutex // held to allocate the blocks of one write; taken before tx

	// tx is held to commit, to give a transaction up, and to change the mode. It is
	// taken before the locks of meta.
	tx       sync.Mutex
	fresh    []poolRun // blocks mapped since the last commit; their data is not durable
	syncAll  bool      // the next commit makes all data durable
	freed    []poolRun // blocks unmapped, to be discarded below after the next commit
	freedSum uint64    // how many blocks these are

	mu        sync.Mutex // held for no I/O; guards these:
	targets   []*poolTarget
	bound     *poolTarget // that was resumed last; nil: there is none
	mode      poolMode    // changes with tx held too
	errorFull bool        // fail writes that find no room, now
	lowTold   bool        // the event for little room was raised
	lowMeta   bool
	suspended bool
	news      chan struct{} // closed and renewed when who waits for room is to look again
	fullSince *time.Timer   // ends the waiting
	late      *time.Timer   // commits what nobody waits for
	begun     uint64        // commits that began, and
	done      uint64        // the last that succeeded
	opened    map[uint32]*thinDevice
	queue     []*insertion // mappings to be made by the next batch
	serving   bool
}

// poolRun is blocks of the data device.
type poolRun struct {
	first thinmeta.DBlock
	n     uint64
}

func (r poolRun) end() thinmeta.DBlock { return r.first + thinmeta.DBlock(r.n) }

// thinDevice is what the targets of one thin device share, if there are two.
type thinDevice struct {
	id     uint32
	uses   int    // guarded by thinPool.mu
	needs  uint64 // the commit that has all its changes; guarded by thinPool.mu
	blocks blockLock
}

// pools finds the pool of a device.
type pools struct {
	mu  sync.Mutex
	all []*thinPool
}

func (ps *pools) of(d *device) *thinPool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.all {
		if p.dev == d {
			return p
		}
	}
	return nil
}

// join adds a target to the pool of its device, which is new if made is true and
// then has to be opened (drivers/md/dm-thin.c, __pool_find).
func (ps *pools) join(t *poolTarget) (p *thinPool, made bool, err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.all {
		if p.dev != t.dev && p.metaKey == t.meta.key() {
			return nil, false, fmt.Errorf("%s: is the metadata of the pool %s: %w", t.meta.name, p.dev.no, dmcore.ErrBusy)
		}
	}
	for _, p := range ps.all {
		if p.dev != t.dev {
			continue
		}
		switch {
		case p.metaKey != t.meta.key():
			return nil, false, fmt.Errorf("%s: a different pool cannot replace a pool: %w", t.dev.no, dmcore.ErrInvalid)
		case p.dataKey != t.data.key():
			return nil, false, fmt.Errorf("%s: a pool keeps its data device: %w", t.dev.no, dmcore.ErrBusy)
		case p.block != t.plain.BlockSize.Bytes(): // the kernel ignores that
			return nil, false, fmt.Errorf("%s: a pool keeps its blocks of %d bytes: %w", t.dev.no, p.block, dmcore.ErrInvalid)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if was := p.targets[len(p.targets)-1].plain.Features.IgnoreDiscard; was != t.plain.Features.IgnoreDiscard {
			return nil, false, fmt.Errorf("%s: discards cannot be turned on or off once the pool is there: %w", t.dev.no, dmcore.ErrInvalid)
		}
		p.targets = append(p.targets, t)
		return p, false, nil
	}
	p = &thinPool{
		m: t.dev.m, dev: t.dev, metaKey: t.meta.key(), dataKey: t.data.key(), block: t.plain.BlockSize.Bytes(),
		targets: []*poolTarget{t}, suspended: true, news: make(chan struct{}), opened: map[uint32]*thinDevice{},
	}
	ps.all = append(ps.all, p)
	return p, true, nil
}

// leave takes a target away, and with the last one the pool.
func (ps *pools) leave(t *poolTarget) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := t.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = slices.DeleteFunc(p.targets, func(x *poolTarget) bool { return x == t })
	if p.bound == t {
		p.bound = nil
	}
	if len(p.targets) == 0 {
		ps.all = slices.DeleteFunc(ps.all, func(x *thinPool) bool { return x == p })
	}
}

// open opens the metadata, which is made if there is none.
func (p *thinPool) open(t *poolTarget) error {
	meta, err := thinmeta.Open(t.meta, dataSync{p})
	if errors.Is(err, thinmeta.ErrUnformatted) && !t.plain.Features.ReadOnly {
		if err := thinmeta.Format(t.meta, t.plain.BlockSize, 0); err != nil {
			return err
		}
		meta, err = thinmeta.Open(t.meta, dataSync{p})
	}
	switch {
	case err != nil:
		return err
	case meta.Superblock().BlockSize != t.plain.BlockSize:
		return fmt.Errorf("%s: has blocks of %d sectors, not %d: %w",
			t.meta.name, meta.Superblock().BlockSize, t.plain.BlockSize, dmcore.ErrInvalid)
	}
	p.meta = meta
	return nil
}

// openThin finds a thin device for a target that maps it.
func (p *thinPool) openThin(id uint32) (*thinDevice, error) {
	p.mu.Lock()
	mode, suspended := p.mode, p.suspended
	p.mu.Unlock()
	switch {
	case suspended: // before meta is looked at, which may be about to be opened
		return nil, fmt.Errorf("thin device %d: the pool is suspended: %w", id, dmcore.ErrInvalid)
	case mode == poolFailed:
		return nil, fmt.Errorf("thin device %d: the pool has failed: %w", id, dmcore.ErrInvalid)
	}
	p.tx.Lock() // nobody deletes it meanwhile
	defer p.tx.Unlock()
	if _, err := p.meta.Device(id); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	td := p.opened[id]
	if td == nil {
		td = &thinDevice{id: id}
		p.opened[id] = td
	}
	td.uses++
	return td, nil
}

func (p *thinPool) closeThin(td *thinDevice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if td.uses--; td.uses == 0 {
		delete(p.opened, td.id)
	}
}

// data is the device with the blocks, nil if no target is bound.
func (p *thinPool) data() *lower {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bound == nil {
		return nil
	}
	return p.bound.data
}

// serves reports a pool that has not failed, and has not given way to another table of
// its device either: its metadata may be another pool's then.
func (p *thinPool) serves() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bound != nil && p.mode != poolFailed
}
