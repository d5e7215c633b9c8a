package blockdev

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// File is an image file or a block device.
type File struct {
	f     *os.File
	block bool
	size  atomic.Int64 // as last seen; grows are noticed when they matter

	syncMu  sync.Mutex
	syncErr error
}

// maxExtents bounds the answer of one Extents call on a fragmented file.
const maxExtents = 1024

// OpenFile opens an existing image file or block device. Anything else, such
// as a directory, is refused.
func OpenFile(path string, readOnly bool) (*File, error) {
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	d := &File{f: f}
	if err := d.identify(); err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

func (d *File) identify() error {
	fi, err := d.f.Stat()
	if err != nil {
		return err
	}
	switch mode := fi.Mode(); {
	case mode.IsRegular():
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		d.block = true
	default:
		return fmt.Errorf("%s: neither a file nor a block device: %w", d.f.Name(), errors.ErrUnsupported)
	}
	_, err = d.readSize()
	return err
}

// readSize asks the kernel. Seeking to the end works for files and for block
// devices; nothing here uses the file's own offset.
func (d *File) readSize() (int64, error) {
	size, err := d.f.Seek(0, io.SeekEnd)
	if err == nil {
		d.size.Store(size)
	}
	return size, err
}

// Size is the present length: a file or device that grew while open is seen
// to have grown.
func (d *File) Size() int64 {
	size, err := d.readSize()
	if err != nil {
		return d.size.Load()
	}
	return size
}

// sizeFor returns a size that decides whether an access up to end fits,
// without a system call when it is known to.
func (d *File) sizeFor(end int64) int64 {
	if size := d.size.Load(); end >= 0 && end <= size {
		return size
	}
	return d.Size()
}

// ReadAt implements Device.
func (d *File) ReadAt(p []byte, off int64) (int, error) {
	n, end := clipRead(off, len(p), d.sizeFor(off+int64(len(p))))
	if n == 0 {
		return 0, end
	}
	got, err := d.f.ReadAt(p[:n], off)
	if err == nil {
		err = end
	}
	return got, err
}

// WriteAt implements Device; it never makes the file longer.
func (d *File) WriteAt(p []byte, off int64) (int, error) {
	n, end := clipWrite(off, len(p), d.sizeFor(off+int64(len(p))))
	if n == 0 {
		return 0, end
	}
	put, err := d.f.WriteAt(p[:n], off)
	if err == nil {
		err = end
	}
	return put, err
}

// Sync is fdatasync. Once it failed it fails for ever: the kernel reports a
// lost write only once and then takes the page for clean, so that a second
// success would say nothing (fsync(2), NOTES).
func (d *File) Sync() error {
	return d.syncing("fdatasync", unix.Fdatasync)
}

// SyncRange implements RangeSyncer by msync, which is fdatasync of a part of a
// file (mm/msync.c calls vfs_fsync_range): what others wrote elsewhere in the
// file, scattered maybe, is not waited for.
func (d *File) SyncRange(off, n int64) error {
	if err := checkRange(off, n, d.sizeFor(off+n)); err != nil || n == 0 {
		return err
	}
	page := int64(os.Getpagesize())
	from := off / page * page
	err := d.syncing("msync", func(fd int) error {
		m, err := unix.Mmap(fd, from, int(off+n-from), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return errNoMapping
		}
		return cmp.Or(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
	})
	if errors.Is(err, errNoMapping) {
		return d.Sync()
	}
	return err
}

// errNoMapping says that nothing was tried.
var errNoMapping = errors.New("cannot be mapped")

// syncing makes a call that syncs, and keeps its failure. One that succeeds
// beside one that fails proves nothing: the other was told of the lost write,
// and whose it was is not known.
func (d *File) syncing(op string, call func(fd int) error) error {
	if err := d.lost(nil); err != nil {
		return err
	}
	err := d.control(op, call)
	if errors.Is(err, errNoMapping) {
		return err
	}
	return d.lost(err)
}

// lost returns the first failure of a sync, which err may be.
func (d *File) lost(err error) error {
	d.syncMu.Lock()
	defer d.syncMu.Unlock()
	if d.syncErr == nil {
		d.syncErr = err
	}
	return d.syncErr
}

// Discard punches a hole into a file and sends BLKDISCARD to a block device.
func (d *File) Discard(off, n int64) error {
	if err := checkRange(off, n, d.sizeFor(off+n)); err != nil || n == 0 {
		return err
	}
	if !d.block {
		return d.fallocate(unix.FALLOC_FL_PUNCH_HOLE, off, n)
	}
	span := [2]uint64{uint64(off), uint64(n)}
	return d.control("BLKDISCARD", func(fd int) error {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKDISCARD, uintptr(unsafe.Pointer(&span)))
		return d.unaligned(e)
	})
}

// unaligned says of a request that is no whole number of a block device's blocks,
// which may be larger than sectors, that it is not supported. All else that is
// invalid was refused before.
func (d *File) unaligned(e error) error {
	switch {
	case e == syscall.Errno(0):
		return nil
	case d.block && e == unix.EINVAL:
		return unix.EOPNOTSUPP
	}
	return e
}

// Zero implements Zeroer by fallocate, for files and block devices alike
// (block/fops.c, blkdev_fallocate): punching guarantees zeroes there and fails
// where the device cannot.
func (d *File) Zero(off, n int64, mayUnmap bool) error {
	if err := checkRange(off, n, d.sizeFor(off+n)); err != nil || n == 0 {
		return err
	}
	if mayUnmap {
		if err := d.fallocate(unix.FALLOC_FL_PUNCH_HOLE, off, n); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return d.fallocate(unix.FALLOC_FL_ZERO_RANGE, off, n)
}

func (d *File) fallocate(mode uint32, off, n int64) error {
	return d.control("fallocate", func(fd int) error {
		return d.unaligned(unix.Fallocate(fd, mode|unix.FALLOC_FL_KEEP_SIZE, off, n))
	})
}

// Extents implements Mapper by SEEK_DATA and SEEK_HOLE. A block device is all
// data.
func (d *File) Extents(off, n int64) ([]Extent, error) {
	if err := checkRange(off, n, d.sizeFor(off+n)); err != nil || n == 0 {
		return nil, err
	}
	if d.block {
		return []Extent{{Length: n}}, nil
	}
	var out []Extent
	for end := off + n; off < end && len(out) < maxExtents; {
		data, err := d.f.Seek(off, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO):
			data = end // nothing but hole up to the end of the file
		case errors.Is(err, unix.EINVAL):
			return append(out, Extent{Length: end - off}), nil // no such question on this file system
		case err != nil:
			return nil, err
		}
		if data > off {
			hole := min(data, end) - off
			out = append(out, Extent{Length: hole, Hole: true, Zero: true})
			off += hole
			continue
		}
		hole, err := d.f.Seek(off, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		if hole <= off { // punched since the question before
			hole = off + sectorSize // devices know nothing smaller
		}
		length := min(hole, end) - off
		out = append(out, Extent{Length: length})
		off += length
	}
	return out, nil
}

// Close closes the file. It does not sync.
func (d *File) Close() error { return d.f.Close() }

// control runs a system call on the descriptor, again while it is interrupted,
// and turns the errnos of an operation that is not there into ErrUnsupported.
func (d *File) control(op string, call func(fd int) error) error {
	conn, err := d.f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = conn.Control(func(fd uintptr) {
		for {
			if result = call(int(fd)); result != unix.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return err
	case result == unix.EOPNOTSUPP || result == unix.ENOSYS || result == unix.ENOTTY:
		return fmt.Errorf("%s: %s: %w", d.f.Name(), op, errors.ErrUnsupported)
	case result != nil:
		return &os.PathError{Op: op, Path: d.f.Name(), Err: result}
	}
	return nil
}
