package thinmeta

import (
	"bytes"
	"fmt"
	"iter"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// Reader looks at one transaction: the last that was committed, a metadata
// snapshot, or what a [Pool] is about to commit. It is safe for concurrent use.
//
// Of a pool that is in use, only a metadata snapshot stays as it is: the kernel
// writes over what a transaction freed as soon as the next one is committed. It
// has to be read past the page cache.
type Reader struct {
	c  *cache
	sb Superblock
}

// Read opens the last committed transaction. [ErrUnformatted] says that block 0
// is all zero, which the kernel formats.
func Read(dev blockdev.Device) (*Reader, error) {
	c := newCache(dev)
	sb, _, err := readSuperblock(c, 0)
	if err != nil {
		return nil, err
	}
	return &Reader{c, sb}, nil
}

// readSuperblock reads a superblock and the block that it is in, past the cache.
func readSuperblock(c *cache, nr uint64) (Superblock, []byte, error) {
	b, err := c.read(nr)
	if err != nil {
		return Superblock{}, nil, err
	}
	if nr == 0 && bytes.Count(b, []byte{0}) == len(b) {
		return Superblock{}, nil, ErrUnformatted
	}
	sb, err := decodeSuperblock(b, nr)
	return sb, b, err
}

// Held opens the metadata snapshot. dmcore.ErrNotFound says that there is none.
// It has no space maps, so that its Usage is zero.
func (r *Reader) Held() (*Reader, error) {
	if r.sb.HeldRoot == 0 {
		return nil, fmt.Errorf("thin metadata: no metadata snapshot: %w", dmcore.ErrNotFound)
	}
	b, err := r.c.get(r.sb.HeldRoot, superKind)
	if err != nil {
		return nil, err
	}
	sb, err := decodeSuperblock(b, r.sb.HeldRoot)
	if err != nil {
		return nil, err
	}
	return &Reader{r.c, sb}, nil
}

// Superblock is where the transaction begins.
func (r *Reader) Superblock() Superblock { return r.sb }

// Usage is how much of a pool is in use, without the reserve that the kernel
// counts as used metadata.
type Usage struct {
	UsedMetadata, Metadata uint64 // blocks of 4 KiB
	UsedData, Data         uint64 // blocks of the pool
}

// Usage tells how much is in use.
func (r *Reader) Usage() Usage {
	return Usage{r.sb.meta.used, r.sb.meta.blocks, r.sb.data.used, r.sb.data.blocks}
}

// Device is a thin device of a pool.
type Device struct {
	ID uint32
	Details
}

// Devices lists the thin devices by their numbers.
func (r *Reader) Devices() ([]Device, error) {
	var devices []Device
	var bad error
	err := r.c.each(r.sb.details, detailsSize, 0, func(key uint64, value []byte) bool {
		if key > uint64(dmcore.MaxThinID) {
			bad = fmt.Errorf("thin metadata: device id %d: %w", key, ErrCorrupt)
			return false
		}
		devices = append(devices, Device{uint32(key), decodeDetails(value)})
		return true
	})
	if err == nil {
		err = bad
	}
	return devices, err
}

// Device finds a thin device; dmcore.ErrNotFound if there is none.
func (r *Reader) Device(id uint32) (Device, error) {
	value, ok, err := r.c.lookup(r.sb.details, detailsSize, uint64(id))
	if err != nil {
		return Device{}, err
	}
	if !ok {
		return Device{}, noDevice(id)
	}
	return Device{id, decodeDetails(value)}, nil
}

func noDevice(id uint32) error {
	return fmt.Errorf("thin device %d: %w", id, dmcore.ErrNotFound)
}

// root is the root of a device's mapping tree.
func (r *Reader) root(id uint32) (uint64, error) {
	value, ok, err := r.c.lookup(r.sb.mappings, rootSize, uint64(id))
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, noDevice(id)
	}
	return le.Uint64(value), nil
}

// Lookup finds where a block of a thin device is; ok is false if it is not
// mapped.
func (r *Reader) Lookup(id uint32, v VBlock) (m Mapping, ok bool, err error) {
	root, err := r.root(id)
	if err != nil {
		return Mapping{}, false, err
	}
	value, ok, err := r.c.lookup(root, mappingSize, uint64(v))
	if !ok || err != nil {
		return Mapping{}, false, err
	}
	return decodeMapping(value), true, nil
}

// Highest is the last block of a thin device that is mapped; ok is false if none
// is.
func (r *Reader) Highest(id uint32) (v VBlock, ok bool, err error) {
	root, err := r.root(id)
	if err != nil {
		return 0, false, err
	}
	key, ok, err := r.c.last(root, mappingSize)
	return VBlock(key), ok, err
}

// Run is blocks of a thin device that follow one another, in the pool too, and
// were mapped at one time.
type Run struct {
	Begin  VBlock
	Length uint64
	Mapping
}

// Mappings walks the runs of a thin device that are within begin and end, in
// order. It stops at an error.
func (r *Reader) Mappings(id uint32, begin, end VBlock) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		root, err := r.root(id)
		if err != nil {
			yield(Run{}, err)
			return
		}
		var run Run
		stopped := false
		err = r.c.each(root, mappingSize, uint64(begin), func(key uint64, value []byte) bool {
			v, m := VBlock(key), decodeMapping(value)
			if v >= end {
				return false
			}
			if run.Length > 0 && run.follows(v, m) {
				run.Length++
				return true
			}
			stopped = run.Length > 0 && !yield(run, nil)
			run = Run{v, 1, m}
			return !stopped
		})
		switch {
		case stopped:
		case run.Length > 0 && !yield(run, nil):
		case err != nil:
			yield(Run{}, err)
		}
	}
}

// follows reports whether a mapping goes on where the run ends.
func (r Run) follows(v VBlock, m Mapping) bool {
	return v == r.Begin+VBlock(r.Length) && m.Data == r.Data+DBlock(r.Length) && m.Time == r.Time
}
