package userspace_test

import (
	"bytes"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// asked is a disk on which something happens when its extents are asked for.
type asked struct {
	*blockdev.Mem
	happens func()
}

func (d *asked) Extents(off, n int64) ([]blockdev.Extent, error) {
	if f := d.happens; f != nil {
		d.happens = nil
		f()
	}
	return d.Mem.Extents(off, n)
}

// A snapshot that becomes invalid has no zeroes to tell of: they may be the
// origin's new ones.
func TestExtentsOfSnapshotGoneInvalid(t *testing.T) {
	const size = 64 * 4096
	disk := &asked{Mem: blockdev.NewMemBytes(bytes.Repeat([]byte{1}, size))}
	r := newRig(t)
	r.files["/origin"], r.files["/cow"] = disk, blockdev.NewMem(8*4096)
	r.device("real", "0 512 linear /origin 0")
	r.device("cow", "0 64 linear /cow 0")
	r.device("snap", "0 512 snapshot 0:0 0:1 P 8")
	r.device("origin", "0 512 snapshot-origin 0:0")
	origin, snap := r.handle("origin"), r.handle("snap")
	disk.happens = func() {
		if err := origin.Zero(0, size, true); err != nil {
			t.Error(err)
		}
	}
	if e, err := snap.Extents(0, size); err == nil {
		t.Errorf("extents %v of a snapshot that is invalid", e)
	}
	if st, err := r.c.SnapshotStatus(t.Context(), "snap"); err != nil || st.State != dmcore.SnapshotInvalid {
		t.Errorf("status %v, %v: the snapshot did not become invalid", st, err)
	}
}
