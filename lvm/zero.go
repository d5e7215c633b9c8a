package lvm

import (
	"errors"
	"fmt"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// blank is the beginning of a new volume that must read as zeroes before
// anyone may look: the header of an exception store, whose old bytes would
// bring old exceptions back to life, or a file system's.
type blank struct {
	Ref
	length dmcore.Sectors
	part   bool // of a thin pool, or the spare: it has no device of its own
}

// volumeHead is how much of a new volume lvcreate zeroes (lvm2 2.03.16,
// lib/metadata/lv_manip.c, wipe_lv: 4 KiB).
const volumeHead dmcore.Sectors = 8

// storeHead is chunk 0 and the first area of an exception store.
func storeHead(chunk dmcore.Sectors) dmcore.Sectors { return 2 * chunk }

// zero writes zeroes over the beginning of a volume that is not in the metadata
// yet, on the physical volumes, and syncs them. Nothing is written if the group may
// not be.
func (e *Engine) zero(vg *VG, b blank) error {
	if err := vg.changeable(); err != nil {
		return vg.fail("", "", err)
	}
	if err := e.trace("%s: zero %d sectors", b.Ref, b.length); err != nil {
		return err
	}
	lv := vg.LV(b.LV)
	acts, err := vg.Activations(b.LV, ActivateOptions{PVDevice: vg.pvPath})
	if err != nil {
		return err
	}
	for _, a := range acts {
		if a.LV != b.LV || a.Layer == layerReal || a.Layer == "" && vg.Origin(b.LV) != nil {
			continue
		}
		if err := e.zeroTable(a.Table, min(b.length, vg.Size(lv))); err != nil {
			return vg.fail(b.LV, "zero", err)
		}
	}
	return nil
}

// zeroPart zeroes a volume that is no unit.
func (e *Engine) zeroPart(vg *VG, b blank) error {
	if err := e.trace("%s: zero %d sectors", b.Ref, b.length); err != nil {
		return err
	}
	m := &mapper{vg: vg, o: ActivateOptions{PVDevice: vg.pvPath}}
	t := m.stripes(vg.LV(b.LV))
	if m.err != nil {
		return m.err
	}
	return vg.fail(b.LV, "zero", e.zeroTable(t, b.length))
}

// zeroTable zeroes the first n sectors that a table of linear and striped
// segments maps.
func (e *Engine) zeroTable(t dmcore.Table, n dmcore.Sectors) error {
	for _, s := range t {
		if s.Start >= n {
			break
		}
		length := min(s.Length, n-s.Start)
		areas := []dmcore.Linear{}
		switch t := s.Target.(type) {
		case dmcore.Linear:
			areas = append(areas, t)
		case dmcore.Striped: // every stripe's share of it, rounded up to whole chunks
			k := dmcore.Sectors(len(t.Areas))
			length = min((length+t.Chunk*k-1)/(t.Chunk*k)*t.Chunk, s.Length/k)
			areas = t.Areas
		default:
			return fmt.Errorf("target %s: %w", t.Type(), ErrUnsupported)
		}
		for _, a := range areas {
			if err := e.zeroDevice(string(a.Dev), a.Start.Bytes(), length.Bytes()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Engine) zeroDevice(path string, off, n int64) (err error) {
	dev, err := e.Store.Open(path, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	return errors.Join(zeroes(dev, off, n), dev.Sync())
}

// zeroes has the device zero itself, if it can. Bytes that are written to a block
// device go with all of their page as this host knows it, and the rest of that
// may be another volume's, which the kernel's device mapper writes past the page.
func zeroes(dev blockdev.Device, off, n int64) error {
	if z, ok := dev.(blockdev.Zeroer); ok && z.Zero(off, n, false) == nil {
		return nil
	}
	return writeZeroes(dev, off, n)
}

func writeZeroes(dev blockdev.Device, off, n int64) error {
	buf := make([]byte, min(n, 1<<20))
	for n > 0 {
		b := buf[:min(n, int64(len(buf)))]
		if _, err := dev.WriteAt(b, off); err != nil {
			return err
		}
		off, n = off+int64(len(b)), n-int64(len(b))
	}
	return nil
}
