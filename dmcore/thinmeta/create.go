package thinmeta

import (
	"fmt"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// minMetaBlocks is the least that Format takes: what it writes, and as much for
// the copies of the first change.
const minMetaBlocks = 32

// Format makes the metadata of an empty pool, as the kernel does when block 0 is
// all zero: on the whole device, or as much of it as metadata can have. The pool
// has data blocks of the size given, which is a multiple of 64 KiB; the kernel
// begins with none and adds them with ResizeData.
//
// What was on the device is gone when Format returns, or when it failed.
func Format(dev blockdev.Device, block dmcore.Sectors, data uint64) error {
	if !validBlockSize(block) {
		return fmt.Errorf("thin metadata: data blocks of %d sectors are no multiple of %d from %d to %d: %w",
			block, dmcore.MinThinBlock, dmcore.MinThinBlock, dmcore.MaxThinBlock, dmcore.ErrInvalid)
	}
	c := newCache(dev)
	if c.blocks < minMetaBlocks {
		return fmt.Errorf("thin metadata: a device of %d blocks, want %d: %w", c.blocks, minMetaBlocks, ErrMetadataFull)
	}
	if data > maxDBlock {
		return fmt.Errorf("thin metadata: %d data blocks: %w", data, dmcore.ErrInvalid)
	}
	super := make([]byte, BlockSize)
	if err := writeSuper(dev, super); err != nil { // nothing is there while blocks are written
		return fmt.Errorf("thin metadata: format: %w", err)
	}
	p := &Pool{dev: dev}
	p.begin(c, Superblock{
		Version: superVersion, BlockSize: block, MetadataBlocks: c.blocks, metaBlockSectors: metaBlockSectors,
	}, super, new([indexEntries]indexEntry))
	p.changed = true
	if err := p.plant(data); err != nil {
		return fmt.Errorf("thin metadata: format: %w", err)
	}
	return p.Commit()
}

// plant makes the space maps and trees of an empty pool, in the kernel's order
// and so in the same blocks (dm-space-map-metadata.c, dm_sm_metadata_create).
func (p *Pool) plant(data uint64) (err error) {
	p.meta.root.blocks = p.c.blocks
	p.meta.first(0) // the superblock
	if p.meta.root.index, err = p.add(indexKind, make([]byte, BlockSize)); err != nil {
		return err
	}
	if p.meta.root.counts, err = p.addTree(countValues); err != nil {
		return err
	}
	p.meta.root.blocks = 0
	if err = p.meta.extend(p.c.blocks); err != nil {
		return err
	}
	if p.data.root.index, err = p.addTree(indexValues); err != nil {
		return err
	}
	if p.data.root.counts, err = p.addTree(countValues); err != nil {
		return err
	}
	if p.sb.mappings, err = p.addTree(topValues); err != nil {
		return err
	}
	if p.sb.details, err = p.addTree(detailsValues); err != nil {
		return err
	}
	return p.data.extend(data)
}

// ResizeData says that the data device has more blocks. It cannot have fewer.
func (p *Pool) ResizeData(blocks uint64) error {
	return p.change(grows, func(r *Reader) error {
		if blocks < r.sb.data.blocks || blocks > maxDBlock {
			return fmt.Errorf("thin metadata: %d data blocks instead of %d: %w", blocks, r.sb.data.blocks, dmcore.ErrInvalid)
		}
		need := bitmaps(blocks) - bitmaps(r.sb.data.blocks)
		if free, reserved := p.meta.available(), p.reserve(); free < need+need/8+reserved {
			return fmt.Errorf("thin metadata: %d blocks are free, %d bitmaps are to be added: %w", free, need, ErrMetadataFull)
		}
		return nil
	}, func() error { return p.data.extend(blocks) })
}

// ResizeMetadata uses all of a metadata device that grew, or as much as metadata
// can have.
func (p *Pool) ResizeMetadata() error {
	blocks := newCache(p.dev).blocks
	return p.change(shrinks, func(r *Reader) error {
		if blocks < r.sb.meta.blocks {
			return fmt.Errorf("thin metadata: %d metadata blocks instead of %d: %w", blocks, r.sb.meta.blocks, dmcore.ErrInvalid)
		}
		return nil
	}, func() error {
		p.c.blocks = blocks
		return p.meta.extend(blocks)
	})
}
