package blockdev

import (
	"os"

	"golang.org/x/sys/unix"
)

// Refresher is a device that somebody else may have written, past the copy that
// this host's kernel keeps of it.
type Refresher interface {
	// Refresh forgets such a copy of n bytes from off: the next read asks the
	// device. What was written here and not synced stays.
	Refresh(off, n int64) error
}

// Evicter is a device that somebody else may come to use past that copy.
type Evicter interface {
	Refresher
	// Evict makes durable what was written here to n bytes from off, and forgets
	// the copy: nothing of it is written later.
	Evict(off, n int64) error
}

// Evict syncs and drops pages of a block device; of a file nothing.
func (d *File) Evict(off, n int64) error {
	if !d.block || n == 0 {
		return nil
	}
	if err := d.SyncRange(off, n); err != nil {
		return err
	}
	return d.Refresh(off, n)
}

// Refresh drops clean pages of a block device, which another host may share,
// all that have a byte of the range: the kernel itself would keep those that lie
// in it only in part (mm/fadvise.c). The copy of a file is the truth, and stays.
func (d *File) Refresh(off, n int64) error {
	if !d.block {
		return nil
	}
	page := int64(os.Getpagesize())
	from := off / page * page
	to := (off + n + page - 1) / page * page
	return unix.Fadvise(int(d.f.Fd()), from, to-from, unix.FADV_DONTNEED)
}
