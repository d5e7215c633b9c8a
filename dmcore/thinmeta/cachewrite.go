package thinmeta

import (
	"fmt"
	"maps"
	"slices"
)

// maxWrite is how many blocks are written at once.
const maxWrite = 64

// put adds a block that is not on disk.
func (c *cache) put(nr uint64, k kind, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(nr)
	c.dirty[nr] = &block{nr, k, b}
}

// own returns a block that is to be changed.
func (c *cache) own(nr uint64, k kind) ([]byte, error) {
	b, err := c.get(nr, k)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dirty[nr] == nil {
		c.forget(nr)
		c.dirty[nr] = &block{nr, k, b}
	}
	return b, nil
}

// drop forgets a block that is free and was never committed.
func (c *cache) drop(nr uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(nr)
	delete(c.dirty, nr)
}

// seal gives all changed blocks their checksums and lists them in order.
func (c *cache) seal() []*block {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*block
	for _, nr := range slices.Sorted(maps.Keys(c.dirty)) {
		blk := c.dirty[nr]
		seal(blk.b, nr, blk.kind)
		out = append(out, blk)
	}
	return out
}

// write writes sealed blocks, neighbours together.
func (c *cache) write(blocks []*block) error {
	var buf []byte
	for i := 0; i < len(blocks); {
		first := blocks[i].nr
		buf = buf[:0]
		for ; i < len(blocks) && blocks[i].nr == first+uint64(len(buf)/BlockSize) && len(buf) < maxWrite*BlockSize; i++ {
			buf = append(buf, blocks[i].b...)
		}
		if _, err := c.dev.WriteAt(buf, int64(first)*BlockSize); err != nil {
			return fmt.Errorf("thin metadata: write of block %d: %w", first, err)
		}
	}
	return nil
}

// settled makes blocks that were written clean.
func (c *cache) settled(blocks []*block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, blk := range blocks {
		delete(c.dirty, blk.nr)
		c.keep(blk)
	}
}

// trim writes what was changed if that is much. Nothing on disk refers to it, so
// that it needs no order.
func (c *cache) trim() error {
	if len(c.dirty) <= c.maxDirty {
		return nil
	}
	blocks := c.seal()
	if err := c.write(blocks); err != nil {
		return err
	}
	c.settled(blocks)
	return nil
}
