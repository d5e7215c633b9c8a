package kernel

import (
	"context"
	"math/rand/v2"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cookie is a System V semaphore that counts the events udev has yet to work
// on, and one more for us: the events carry the lower half of its key, and
// lvm2's rules end with `dmsetup udevcomplete`, which counts down
// (libdm/libdm-common.c of lvm2 2.03.16). The nil cookie counts nothing.
type cookie struct {
	id  int
	key uint32
}

const (
	cookieMagic = 0x0D4D // the upper half of the key
	setVal      = 16     // SETVAL of include/uapi/linux/sem.h
)

// sembuf is struct sembuf of include/uapi/linux/sem.h.
type sembuf struct {
	num uint16
	op  int16
	flg int16
}

// newCookie makes a semaphore of value 1 whose key nobody has, or nil.
func newCookie() *cookie {
	for range 1000 {
		key := cookieMagic<<16 | 1 + rand.Uint32N(0xffff)
		id, _, errno := unix.Syscall(unix.SYS_SEMGET, uintptr(key), 1, unix.IPC_CREAT|unix.IPC_EXCL|0o600)
		if errno == unix.EEXIST {
			continue
		}
		if errno != 0 {
			return nil
		}
		c := &cookie{int(id), key}
		if _, _, errno := unix.Syscall6(unix.SYS_SEMCTL, id, 0, setVal, 1, 0, 0); errno != 0 {
			c.remove()
			return nil
		}
		return c
	}
	return nil
}

// base is what an event carries.
func (c *cookie) base() uint32 {
	if c == nil {
		return 0
	}
	return c.key & 0xffff
}

func (c *cookie) up() bool { return c != nil && c.op(1, unix.IPC_NOWAIT, nil) == nil }

// down takes back an up. It never waits: should somebody have counted too far,
// there is nothing to take back.
func (c *cookie) down() {
	if c != nil {
		c.op(-1, unix.IPC_NOWAIT, nil)
	}
}

// wait takes our own count back and waits until udev has taken all others. The
// semaphore is gone afterwards, whatever the error: EAGAIN if patience ended,
// ctx's if that did. One that somebody else removed needs no waiting for.
func (c *cookie) wait(ctx context.Context, patience time.Duration) error {
	if c == nil {
		return nil
	}
	defer c.remove()
	c.down()
	end := time.Now().Add(patience)
	err := interruptible(ctx, func() error {
		ts := unix.NsecToTimespec(max(0, time.Until(end)).Nanoseconds())
		return c.op(0, 0, &ts)
	})
	if err == unix.EIDRM || err == unix.EINVAL {
		return nil
	}
	return err
}

func (c *cookie) remove() {
	if c != nil {
		unix.Syscall6(unix.SYS_SEMCTL, uintptr(c.id), 0, unix.IPC_RMID, 0, 0, 0)
	}
}

func (c *cookie) op(n, flags int16, timeout *unix.Timespec) error {
	b := sembuf{op: n, flg: flags}
	_, _, errno := unix.Syscall6(unix.SYS_SEMTIMEDOP, uintptr(c.id), uintptr(unsafe.Pointer(&b)), 1,
		uintptr(unsafe.Pointer(timeout)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
