package kernel

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// wait waits for the device's event number to change. The kernel's own wait
// takes a thread and ends only with a signal, so this arms a descriptor, which
// the Go runtime polls, for the next event of any device (since 4.37,
// drivers/md/dm-ioctl.c, dev_arm_poll), and looks again.
func (c *Control) wait(ctx context.Context, q call, req *dmcore.Request) (*dmcore.Reply, error) {
	f, err := openControl(c.cfg.Dir, unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		return nil, errors.Join(dmcore.ErrNotSupported, err)
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	var reply *dmcore.Reply
	polled := conn.Read(func(fd uintptr) bool {
		if err = arm(fd); err != nil {
			return true
		}
		reply, err = c.simple(q.as(unix.DM_DEV_STATUS, 0))
		return err != nil || reply.Info.EventNr != req.EventNr
	})
	switch {
	case errors.Is(polled, os.ErrDeadlineExceeded):
		return nil, context.Cause(ctx)
	case polled != nil:
		return nil, polled
	case err != nil:
		return nil, err
	}
	return c.describe(dmcore.TargetStatusOf, q, &dmcore.Request{NoFlush: true})
}

func arm(fd uintptr) error {
	b, err := (&call{num: unix.DM_DEV_ARM_POLL}).encode(0)
	if err != nil {
		return err
	}
	if errno := ioctl(fd, unix.DM_DEV_ARM_POLL, b); errno != 0 {
		return errno
	}
	return nil
}
