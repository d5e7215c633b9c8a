package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/dmtest"
	"cowhand/dmcore/kernel"
	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) {
	if os.Getenv(unprivileged) != "" {
		lookUnprivileged()
		return
	}
	inside.Main(m)
}

func newControl(t *testing.T, cfg kernel.Config) *kernel.Control {
	t.Helper()
	c := kernel.New(cfg)
	t.Cleanup(func() {
		if err := dmcore.NewClient(c).Settle(context.Background()); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// lab is the kernel under test, on loop devices. Devices are opened by their
// numbers: their names may have to wait for one that is suspended.
func lab(t *testing.T) dmtest.Lab {
	c := newControl(t, kernel.Config{})
	return dmtest.Lab{
		Control: calm(c),
		Backing: loop,
		Open: func(name dmcore.Name, readOnly bool) (blockdev.Device, error) {
			info, err := dmcore.NewClient(c).Info(context.Background(), name)
			if err != nil {
				return nil, err
			}
			return openDirect(fmt.Sprintf("/dev/dm-%d", info.Dev.Minor), readOnly)
		},
	}
}

// calm is c where udev, which opens what is new, is done with that before a
// device is asked for its state, unless one is suspended: udev may read that.
func calm(c *kernel.Control) dmcore.Control {
	return dmcore.ControlFunc(func(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
		if cmd == dmcore.Status {
			dm := dmcore.NewClient(c)
			infos, err := dm.List(ctx)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(infos, func(i dmcore.Info) bool { return i.Suspended && i.Live }) {
				if err := dm.Settle(ctx); err != nil {
					return nil, err
				}
			}
		}
		return c.Do(ctx, cmd, req)
	})
}

// loop makes a device of a file in memory.
func loop(t *testing.T, size dmcore.Sectors) dmcore.Dev {
	t.Helper()
	ok := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "image"))
	ok(err)
	defer file.Close()
	ok(file.Truncate(size.Bytes()))
	ctl, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	ok(err)
	defer unix.Close(ctl)
	for {
		n, err := unix.IoctlRetInt(ctl, unix.LOOP_CTL_GET_FREE)
		ok(err)
		dev, err := unix.Open(fmt.Sprintf("/dev/loop%d", n), unix.O_RDWR|unix.O_CLOEXEC, 0)
		ok(err)
		t.Cleanup(func() { unix.Close(dev) })
		err = unix.IoctlLoopConfigure(dev, &unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}})
		if err == unix.EBUSY {
			continue // somebody else was faster
		}
		ok(err)
		return dmcore.DevNo{Major: 7, Minor: uint32(n)}.Dev()
	}
}

// direct is a block device past the page cache: a device and what it stands on
// would each have their own.
type direct struct{ fd int }

func openDirect(path string, readOnly bool) (blockdev.Device, error) {
	mode := unix.O_RDWR
	if readOnly {
		mode = unix.O_RDONLY
	}
	fd, err := unix.Open(path, mode|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, meaning(err))
	}
	return &direct{fd}, nil
}

func meaning(err error) error {
	switch err {
	case unix.EIO:
		return dmcore.ErrIO
	case unix.EACCES, unix.EPERM, unix.EROFS:
		return dmcore.ErrReadOnly
	}
	return err
}

func (d *direct) Size() int64 {
	n, err := unix.Seek(d.fd, 0, io.SeekEnd)
	if err != nil {
		return -1
	}
	return n
}

func (d *direct) ReadAt(p []byte, off int64) (int, error) {
	return d.transfer(p, off, io.EOF, func(b []byte, off int64) (int, error) {
		n, err := unix.Pread(d.fd, b, off)
		copy(p, b[:max(n, 0)])
		return n, err
	})
}

func (d *direct) WriteAt(p []byte, off int64) (int, error) {
	return d.transfer(p, off, io.ErrShortWrite, func(b []byte, off int64) (int, error) {
		copy(b, p)
		return unix.Pwrite(d.fd, b, off)
	})
}

// transfer does it with memory that is aligned, as far as the device reaches.
func (d *direct) transfer(p []byte, off int64, end error, do func(b []byte, off int64) (int, error)) (int, error) {
	n := int(max(0, min(int64(len(p)), d.Size()-off)))
	if n == len(p) {
		end = nil
	}
	if n == 0 {
		return 0, end
	}
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(b)
	for {
		got, err := do(b, off)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, meaning(err)
		case got != n:
			return got, errors.New("short transfer")
		default:
			return n, end
		}
	}
}

// Discard makes it a blockdev.Discarder.
func (d *direct) Discard(off, n int64) error {
	span := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), unix.BLKDISCARD, uintptr(unsafe.Pointer(&span)))
	if errno != 0 {
		return meaning(errno)
	}
	return nil
}

func (d *direct) Sync() error  { return meaning(unix.Fsync(d.fd)) }
func (d *direct) Close() error { return unix.Close(d.fd) }
