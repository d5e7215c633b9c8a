package thinmeta

import (
	"fmt"

	"cowhand/dmcore"
)

// Allocate finds a free data block, which nothing committed refers to, and keeps
// it for Map. It stays free on disk until then: one that is never mapped is not
// lost. Free gives it back. It does not wait for the I/O of a commit.
func (p *Pool) Allocate() (DBlock, error) {
	p.state.Lock()
	defer p.state.Unlock()
	if err := p.writable(); err != nil {
		return 0, err
	}
	b, ok, err := p.data.find(func(b uint64) bool {
		_, held := p.held[DBlock(b)]
		return held
	})
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, fmt.Errorf("%d of %d data blocks in use: %w", p.data.root.used, p.data.root.blocks, ErrDataFull)
	}
	p.held[DBlock(b)] = true
	p.allocated++
	return DBlock(b), nil
}

// Hold keeps blocks from being allocated, whether they are free or not: those
// that are to be discarded below, from before they are unmapped until after that
// is committed and done. Free ends it.
func (p *Pool) Hold(d DBlock, n uint64) {
	p.state.Lock()
	defer p.state.Unlock()
	for i := range DBlock(n) {
		if _, held := p.held[d+i]; !held {
			p.held[d+i] = false
		}
	}
}

// Free ends the effect of Allocate and Hold on blocks.
func (p *Pool) Free(d DBlock, n uint64) {
	p.state.Lock()
	defer p.state.Unlock()
	for i := range DBlock(n) {
		p.unhold(d + i)
	}
	p.data.lowest = min(p.data.lowest, uint64(d))
}

// unhold forgets that a block is held. state is held for writing.
func (p *Pool) unhold(d DBlock) {
	if p.held[d] {
		p.allocated--
	}
	delete(p.held, d)
}

// Uses is how many mappings refer to a data block; shared trees count once.
func (p *Pool) Uses(d DBlock) (n uint32, err error) {
	p.state.RLock()
	defer p.state.RUnlock()
	if p.broken != nil {
		return 0, p.broken
	}
	if uint64(d) >= p.data.root.blocks {
		return 0, fmt.Errorf("data block %d of %d: %w", d, p.data.root.blocks, dmcore.ErrInvalid)
	}
	return p.data.count(uint64(d))
}

// Map maps a block of a thin device to a data block from Allocate, whose data is
// written, and lets go what it was mapped to before: so a block is provisioned,
// and sharing is broken.
func (p *Pool) Map(id uint32, v VBlock, d DBlock) error {
	check := func(r *Reader) error {
		if _, err := r.Device(id); err != nil {
			return err
		}
		err := fmt.Errorf("thin device %d: block %d to data block %d, which was not allocated: %w", id, v, d, dmcore.ErrInvalid)
		if _, held := p.held[d]; !held || uint64(d) >= p.data.root.blocks {
			return err
		}
		if n, cerr := p.data.count(uint64(d)); n == 0 {
			return cerr
		}
		return err
	}
	return p.change(grows, check, func() error {
		p.unhold(d)
		p.data.first(uint64(d))
		p.data.taken++
		var old []byte
		err := p.editMappings(id, func(root uint64) (uint64, error) {
			var err error
			root, old, err = p.insert(root, mappingValues, uint64(v), encodeMapping(Mapping{d, p.sb.Time}))
			return root, err
		})
		if err != nil {
			return err
		}
		if old != nil {
			return mappingValues.dec(p, old)
		}
		return p.editDetails(id, func(d *Details) { d.MappedBlocks++ })
	})
}

// editMappings changes the mapping tree of a device. The way to its root is
// copied before the root is, so that what others have of it is counted.
func (p *Pool) editMappings(id uint32, f func(root uint64) (uint64, error)) error {
	top, value, err := p.edit(p.sb.mappings, topValues, uint64(id))
	if err != nil {
		return err
	}
	p.sb.mappings = top
	root, err := f(le.Uint64(value))
	if err != nil {
		return err
	}
	le.PutUint64(value, root)
	return nil
}

// Unmap lets go the blocks of a thin device from begin up to end, and returns
// how many were mapped.
func (p *Pool) Unmap(id uint32, begin, end VBlock) (n uint64, err error) {
	some := false
	check := func(r *Reader) error {
		if _, err := r.Device(id); err != nil {
			return err
		}
		for _, err := range r.Mappings(id, begin, end) {
			some = true
			return err
		}
		return nil
	}
	err = p.change(shrinks, check, func() error {
		if !some {
			return nil
		}
		err := p.editMappings(id, func(root uint64) (uint64, error) {
			root, removed, err := p.remove(root, mappingValues, uint64(begin), uint64(end-1))
			n = removed
			return root, err
		})
		if err != nil {
			return err
		}
		return p.editDetails(id, func(d *Details) { d.MappedBlocks -= min(n, d.MappedBlocks) })
	})
	return n, err
}
