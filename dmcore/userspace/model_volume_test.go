package userspace_test

import (
	"encoding/binary"
	"fmt"
	"slices"

	"cowhand/dmcore"
)

// The model knows of each sector the 64-bit value it is filled with.

// volume is what a device must hold: the values in cur and, after a power cut,
// any of the values in maybe, which were written since the last sync or were
// there at it.
type volume struct {
	cur   []uint64
	maybe map[int][]uint64
}

func newVolume(sectors int) *volume {
	return &volume{make([]uint64, sectors), map[int][]uint64{}}
}

func (v *volume) clone() *volume {
	c := &volume{slices.Clone(v.cur), map[int][]uint64{}}
	for i, m := range v.maybe {
		c.maybe[i] = slices.Clone(m)
	}
	return c
}

// settle takes what a power cut left.
func (v *volume) settle(got []uint64) error {
	for i, g := range got {
		if g != v.cur[i] && !slices.Contains(v.maybe[i], g) {
			return fmt.Errorf("sector %d is %x after the power cut, want %x or one of %x", i, g, v.cur[i], v.maybe[i])
		}
	}
	v.cur = got
	clear(v.maybe)
	return nil
}

func (v *volume) diff(from int, got []uint64) error {
	for i, g := range got {
		if g != v.cur[from+i] {
			return fmt.Errorf("sector %d is %x, want %x", from+i, g, v.cur[from+i])
		}
	}
	return nil
}

func pack(vals []uint64) []byte {
	p := make([]byte, len(vals)*dmcore.SectorSize)
	for i := range p {
		if i%8 == 0 {
			binary.LittleEndian.PutUint64(p[i:], vals[i/dmcore.SectorSize])
		}
	}
	return p
}

func unpack(p []byte) ([]uint64, error) {
	vals := make([]uint64, len(p)/dmcore.SectorSize)
	for i := 0; i < len(p); i += 8 {
		v := binary.LittleEndian.Uint64(p[i:])
		if i%dmcore.SectorSize == 0 {
			vals[i/dmcore.SectorSize] = v
		} else if vals[i/dmcore.SectorSize] != v {
			return nil, fmt.Errorf("sector %d holds both %x and %x", i/dmcore.SectorSize, vals[i/dmcore.SectorSize], v)
		}
	}
	return vals, nil
}
