package thinmeta

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"sync"

	"cowhand/dmcore/blockdev"
)

// How many blocks are kept that are as on disk: 4 MiB; and how many that were
// changed, until they are written before the commit: 16 MiB.
const (
	maxClean = 1024
	maxDirty = 4096
)

// block is a metadata block in memory. Its bytes change only while it is dirty,
// and only in the one goroutine that changes the pool.
type block struct {
	nr   uint64
	kind kind
	b    []byte
}

// cache holds blocks that were read, the least recently used go first, and all
// that were changed and not yet written. It is safe for concurrent use.
type cache struct {
	dev    blockdev.Device
	blocks uint64 // of the device

	maxClean, maxDirty int

	mu    sync.Mutex // held for no I/O
	dirty map[uint64]*block
	clean map[uint64]*list.Element // of *block
	lru   list.List                // the most recently used is in front
}

// Blocks is how many metadata blocks there are on a device of that size.
func Blocks(size int64) uint64 { return min(uint64(size/BlockSize), maxMetaBlocks) }

func newCache(dev blockdev.Device) *cache {
	return &cache{
		dev:      dev,
		blocks:   Blocks(dev.Size()),
		maxClean: maxClean, maxDirty: maxDirty,
		dirty: map[uint64]*block{},
		clean: map[uint64]*list.Element{},
	}
}

// get returns a block of a kind. It is not to be changed.
func (c *cache) get(nr uint64, k kind) ([]byte, error) {
	if blk := c.find(nr); blk != nil {
		if blk.kind != k {
			return nil, corrupt(nr, "is both %s and %s", blk.kind, k)
		}
		return blk.b, nil
	}
	b, err := c.read(nr)
	if err != nil {
		return nil, err
	}
	if err := verify(b, nr, k); err != nil {
		return nil, err
	}
	if k == nodeKind {
		if err := (node{b}).validate(nr); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(&block{nr, k, b})
	return b, nil
}

// read reads a block past the cache.
func (c *cache) read(nr uint64) ([]byte, error) {
	if nr >= c.blocks {
		return nil, corrupt(nr, "is outside a device of %d blocks", c.blocks)
	}
	b := make([]byte, BlockSize)
	n, err := c.dev.ReadAt(b, int64(nr)*BlockSize)
	if n < BlockSize {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("thin metadata: block %d: %w", nr, err)
	}
	return b, nil
}

func (c *cache) find(nr uint64) *block {
	c.mu.Lock()
	defer c.mu.Unlock()
	if blk := c.dirty[nr]; blk != nil {
		return blk
	}
	if e := c.clean[nr]; e != nil {
		c.lru.MoveToFront(e)
		return e.Value.(*block)
	}
	return nil
}

// keep remembers a clean block. mu is held.
func (c *cache) keep(blk *block) {
	c.forget(blk.nr)
	c.clean[blk.nr] = c.lru.PushFront(blk)
	for c.lru.Len() > c.maxClean {
		c.forget(c.lru.Back().Value.(*block).nr)
	}
}

// forget drops a clean block. mu is held.
func (c *cache) forget(nr uint64) {
	if e := c.clean[nr]; e != nil {
		c.lru.Remove(e)
		delete(c.clean, nr)
	}
}
