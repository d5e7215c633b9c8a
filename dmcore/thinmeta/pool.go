package thinmeta

import (
	"errors"
	"fmt"
	"sync"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// Syncer makes the data of a pool durable.
type Syncer interface {
	Sync() error
}

// Pool is the metadata of a pool, open for changes. It is safe for concurrent
// use; changes run one at a time.
//
// A change is in memory until Commit. What refuses a change, because of its
// arguments or of a lack of room, leaves everything as it was. After any other
// error what is in memory is not known any more, and everything but Rollback
// keeps failing with it.
type Pool struct {
	dev     blockdev.Device
	dataDev Syncer
	room    int // for entries in new nodes; 0: as much as there is. Tests have little, for tall trees

	writer sync.Mutex // held for a change or a commit; guards these:
	super  []byte     // the superblock as it is on disk
	fresh  map[uint64]struct{}

	state     sync.RWMutex    // held for writing while these change:
	held      map[DBlock]bool // data blocks that are not to be allocated; true: they were, and not mapped yet
	allocated uint64          // how many of these are true
	c         *cache
	sb        Superblock // space map roots apart
	committed Superblock
	data      *spaceMap
	meta      *spaceMap
	changed   bool
	flushing  bool
	broken    error
}

// pendingMost is how many changed counts of data blocks are kept in memory.
const pendingMost = 1 << 16

// Open opens the metadata of a pool that nobody else has open. Commit syncs data
// before it commits that blocks of it are mapped; nil leaves that to the caller.
func Open(meta blockdev.Device, data Syncer) (*Pool, error) {
	// What a process wrote that was killed can be read, but it has to be durable
	// before something is built on it.
	if err := meta.Sync(); err != nil {
		return nil, fmt.Errorf("thin metadata: open: %w", err)
	}
	p := &Pool{dev: meta, dataDev: data}
	if err := p.load(); err != nil {
		return nil, err
	}
	return p, nil
}

// load reads what was committed.
func (p *Pool) load() error {
	c := newCache(p.dev)
	sb, super, err := readSuperblock(c, 0)
	if err != nil {
		return err
	}
	switch {
	case sb.compatReadOnly != 0:
		return fmt.Errorf("thin metadata: unknown features %#x: %w", sb.compatReadOnly, dmcore.ErrReadOnly)
	case sb.meta.blocks > c.blocks:
		return corrupt(0, "%d metadata blocks on a device of %d", sb.meta.blocks, c.blocks)
	case bitmaps(sb.data.blocks) > c.blocks || bitmaps(sb.meta.blocks) > indexEntries:
		return corrupt(0, "%d data and %d metadata blocks have no room for their bitmaps", sb.data.blocks, sb.meta.blocks)
	case sb.meta.used > sb.meta.blocks || sb.data.used > sb.data.blocks || sb.data.blocks > maxDBlock+1:
		return corrupt(0, "%d of %d metadata and %d of %d data blocks in use",
			sb.meta.used, sb.meta.blocks, sb.data.used, sb.data.blocks)
	}
	b, err := c.get(sb.meta.index, indexKind)
	if err != nil {
		return err
	}
	index := new([indexEntries]indexEntry)
	for i := range index {
		index[i] = decodeIndexEntry(b[indexHeader+i*entrySize:])
	}
	p.begin(c, sb, super, index)
	return nil
}

// begin is the state after a commit.
func (p *Pool) begin(c *cache, sb Superblock, super []byte, index *[indexEntries]indexEntry) {
	p.c, p.sb, p.committed, p.super = c, sb, sb, super
	p.fresh, p.held, p.allocated = map[uint64]struct{}{}, map[DBlock]bool{}, 0
	p.data = newSpaceMap(p, "data", sb.data, nil)
	p.meta = newSpaceMap(p, "metadata", sb.meta, index)
	p.changed, p.broken = false, nil
}

// now is the superblock as it would be committed.
func (p *Pool) now() Superblock {
	sb := p.sb
	sb.data, sb.meta = p.data.root, p.meta.root
	return sb
}

// reader looks at what is about to be committed. state is held.
func (p *Pool) reader() *Reader { return &Reader{p.c, p.now()} }

// Read calls f with what is about to be committed, which does not change
// meanwhile. f must not use the pool, nor keep the Reader.
func (p *Pool) Read(f func(r *Reader) error) error {
	p.state.RLock()
	defer p.state.RUnlock()
	if p.broken != nil {
		return p.broken
	}
	return f(p.reader())
}

// Superblock is the superblock as it would be committed.
func (p *Pool) Superblock() Superblock {
	p.state.RLock()
	defer p.state.RUnlock()
	return p.now()
}

// Usage tells how much is in use. Metadata that the transaction let go is free,
// but cannot be used before it is committed.
func (p *Pool) Usage() Usage {
	p.state.RLock()
	defer p.state.RUnlock()
	return p.reader().Usage()
}

// Room is how much can be allocated until the next commit, as the kernel counts:
// what the transaction let go is free only after it (dm-space-map-disk.c,
// sm_disk_get_nr_free), and Reserve is no part of Metadata.
type Room struct {
	Data              uint64 // blocks of the pool
	Metadata, Reserve uint64 // blocks of 4 KiB
}

// Room tells how much can be allocated.
func (p *Pool) Room() Room {
	p.state.RLock()
	defer p.state.RUnlock()
	data, meta, reserve := p.data.available(), p.meta.available(), p.reserve()
	return Room{data - min(data, p.allocated), meta - min(meta, reserve), reserve}
}

// Broken is the error with which everything fails until Rollback; nil if nothing
// does.
func (p *Pool) Broken() error {
	p.state.RLock()
	defer p.state.RUnlock()
	return p.broken
}

// Found is where a block of a thin device is.
type Found struct {
	Mapping
	Shared bool // perhaps with a snapshot: to be copied before it is written
}

// Lookup finds where a block of a thin device is; ok is false if it is not
// mapped.
func (p *Pool) Lookup(id uint32, v VBlock) (f Found, ok bool, err error) {
	err = p.Read(func(r *Reader) error {
		d, err := r.Device(id)
		if err != nil {
			return err
		}
		f.Mapping, ok, err = r.Lookup(id, v)
		f.Shared = ok && d.Shares(f.Mapping)
		return err
	})
	return f, ok, err
}

// reserve is how many metadata blocks are kept for commits and for changes that
// give blocks back (dm-thin-metadata.c, __set_metadata_reserve).
func (p *Pool) reserve() uint64 { return min(4096, p.meta.root.blocks/10) }

// need is whether a change is one that gives blocks back, and may use some of
// the reserve.
type need int

const (
	grows need = iota
	shrinks
)

// change runs a change. check refuses it while nothing was changed.
func (p *Pool) change(n need, check func(r *Reader) error, do func() error) error {
	p.writer.Lock()
	defer p.writer.Unlock()
	p.state.Lock()
	defer p.state.Unlock()
	return p.changeLocked(n, check, do)
}

func (p *Pool) changeLocked(n need, check func(r *Reader) error, do func() error) error {
	if err := p.writable(); err != nil {
		return err
	}
	if err := check(p.reader()); err != nil {
		return err
	}
	least := p.reserve()
	if n == shrinks {
		least /= 4
	}
	// Each bitmap that is to be changed is to be copied.
	least += uint64(len(p.data.touched) + len(p.meta.touched))
	if free := p.meta.available(); free <= least {
		return fmt.Errorf("thin metadata: %d of %d blocks are free, %d of them are reserved: %w",
			free, p.meta.root.blocks, least, ErrMetadataFull)
	}
	p.changed = true
	err := do()
	if err == nil {
		err = p.relieve()
	}
	if err == nil {
		err = p.c.trim()
	}
	p.broken = err
	return err
}

// writable tells why the pool cannot change.
func (p *Pool) writable() error {
	switch {
	case p.broken != nil:
		return p.broken
	case p.sb.NeedsCheck:
		return ErrNeedsCheck
	}
	return nil
}

// relieve keeps what is in memory small.
func (p *Pool) relieve() error {
	if len(p.data.pending) < pendingMost {
		return nil
	}
	return p.data.flush()
}

// Commit makes everything durable that was changed since the last commit:
//
//	data ──▶ sync ─┐
//	blocks ─▶ sync ┴▶ superblock ─▶ sync
//
// The data of blocks that were mapped is to be written before. Without a change
// nothing is done, and data is not synced either.
func (p *Pool) Commit() error {
	p.writer.Lock()
	defer p.writer.Unlock()
	return p.commit()
}

func (p *Pool) commit() error {
	p.state.Lock()
	err := p.writable()
	if err != nil || !p.changed {
		p.state.Unlock()
		return err
	}
	blocks, super, err := p.settle()
	p.state.Unlock()
	if err == nil {
		err = p.store(blocks, super)
	}
	p.state.Lock()
	defer p.state.Unlock()
	if err != nil {
		p.broken = fmt.Errorf("thin metadata: commit: %w", err)
		return p.broken
	}
	p.c.settled(blocks)
	p.super, p.sb = super, p.now()
	p.committed = p.sb
	clear(p.fresh)
	p.data.reset()
	p.meta.reset()
	p.changed = false
	return nil
}

// settle brings all blocks into the form they are to have on disk.
func (p *Pool) settle() (blocks []*block, super []byte, err error) {
	if err := p.data.flush(); err != nil {
		return nil, nil, err
	}
	if err := p.meta.flush(); err != nil {
		return nil, nil, err
	}
	super = append([]byte(nil), p.super...)
	p.now().encode(super, 0)
	return p.c.seal(), super, nil
}

// store writes blocks and then the superblock. Nothing changes meanwhile. Nothing
// refers to the blocks until the superblock does, so that they need not wait for the
// data.
func (p *Pool) store(blocks []*block, super []byte) error {
	data := make(chan error, 1)
	go func() { data <- p.syncData() }()
	err := p.c.write(blocks)
	if err == nil {
		err = p.dev.Sync()
	}
	if err := errors.Join(<-data, err); err != nil {
		return err
	}
	return writeSuper(p.dev, super)
}

func (p *Pool) syncData() error {
	if p.dataDev == nil {
		return nil
	}
	if err := p.dataDev.Sync(); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

func writeSuper(dev blockdev.Device, super []byte) error {
	if _, err := dev.WriteAt(super, 0); err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	return nil
}

// Rollback goes back to what was committed, and lets all blocks go that were
// allocated or held. After a commit that failed that may be the transaction that
// was to be committed, if its superblock was written; it is made durable first.
func (p *Pool) Rollback() error {
	p.writer.Lock()
	defer p.writer.Unlock()
	p.state.Lock()
	defer p.state.Unlock()
	err := p.load()
	if err == nil {
		err = writeSuper(p.dev, p.super)
	}
	if err != nil {
		p.broken = fmt.Errorf("thin metadata: rollback: %w", err)
		return p.broken
	}
	return nil
}

// SetNeedsCheck says on disk, at once, whether the metadata has to be checked
// before anything may be changed. What was not committed is not touched.
func (p *Pool) SetNeedsCheck(on bool) error {
	p.writer.Lock()
	defer p.writer.Unlock()
	p.state.Lock()
	defer p.state.Unlock()
	if p.broken != nil {
		return p.broken
	}
	super := append([]byte(nil), p.super...)
	committed := p.committed
	committed.NeedsCheck = on
	committed.encode(super, 0)
	if err := writeSuper(p.dev, super); err != nil {
		p.broken = fmt.Errorf("thin metadata: %w", err)
		return p.broken
	}
	p.super, p.committed, p.sb.NeedsCheck = super, committed, on
	return nil
}
