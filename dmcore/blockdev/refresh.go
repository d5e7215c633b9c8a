package blockdev

import "golang.org/x/sys/unix"

// Refresher is a device that somebody else may have written, past the copy that
// this host's kernel keeps of it.
type Refresher interface {
	// Refresh forgets such a copy of n bytes from off: the next read asks the
	// device. What was written here and not synced stays.
	Refresh(off, n int64) error
}

// Refresh drops clean pages of a block device, which another host may share.
// The copy of a file is the truth, and stays.
func (d *File) Refresh(off, n int64) error {
	if !d.block {
		return nil
	}
	return unix.Fadvise(int(d.f.Fd()), off, n, unix.FADV_DONTNEED)
}
