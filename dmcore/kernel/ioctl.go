package kernel

import (
	"context"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ask carries out a call that does not wait.
func (c *Control) ask(q *call) (*answer, error) {
	f, err := c.controlFile()
	if err != nil {
		return nil, err
	}
	return roundTrip(f, q)
}

// askPatiently carries out a call that may wait until ctx ends.
func (c *Control) askPatiently(ctx context.Context, q *call) (a *answer, err error) {
	f, err := c.controlFile()
	if err != nil {
		return nil, err
	}
	err = interruptible(ctx, func() error {
		a, err = once(f, q, 0)
		return err
	})
	return a, err
}

// roundTrip makes the buffer bigger until the answer fits.
func roundTrip(f *os.File, q *call) (*answer, error) {
	room := 0
	if q.answers {
		room = firstRoom
	}
	for {
		a, err := once(f, q, room)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case a.head.Flags&flagBufferFull == 0:
			return a, nil
		case room >= maxRoom:
			return nil, malformed("data", room)
		default:
			room = max(firstRoom, 2*room)
		}
	}
}

// once is one ioctl. The buffer is made anew for each, because the kernel wipes
// it where the data may be secret.
func once(f *os.File, q *call, room int) (*answer, error) {
	b, err := q.encode(room)
	if err != nil {
		return nil, err
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var errno unix.Errno
	if err := conn.Control(func(fd uintptr) { errno = ioctl(fd, q.num, b) }); err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, errno
	}
	return decode(b)
}

func ioctl(fd, num uintptr, b []byte) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, num, uintptr(unsafe.Pointer(&b[0])))
	return errno
}
