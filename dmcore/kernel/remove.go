package kernel

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// When a program closes a device it could write to, udev opens it to see what it
// has become (udev/13-dm-disk.rules.in of lvm2, "watch"). A removal that meets
// udev there tries again for as long as lvm2 does (libdm/ioctl/libdm-iface.c,
// DM_IOCTL_RETRIES), but no longer than udev has work to do.
const (
	retryEvery = 50 * time.Millisecond
	retryFor   = 5 * time.Second
	idleFor    = 500 * time.Millisecond
)

// udevQueue is there while udev has events to work on (systemd 252,
// src/udev/udevd.c, event_queue_insert and event_free).
var udevQueue = "/run/udev/queue"

func (c *Control) remove(ctx context.Context, q call, req *dmcore.Request) (*dmcore.Reply, error) {
	s, err := c.see(q, false)
	if err != nil {
		return nil, err
	}
	r := q.as(unix.DM_DEV_REMOVE, 0)
	if req.Deferred {
		r.flags = flagDeferredRemove
	}
	try := func() (*answer, error) {
		return c.send(s.flags(), []touch{s.touch()}, func(event uint32) (*answer, error) {
			r.event = event
			return c.ask(r)
		})
	}
	a, err := try()
	for idle, all := time.Duration(0), time.Duration(0); err == unix.EBUSY && idle < idleFor && all < retryFor; all += retryEvery {
		if !exists(udevSocket) || held(s.info.Dev) {
			break
		}
		if idle += retryEvery; exists(udevQueue) {
			idle = 0
		}
		if err := sleep(ctx, retryEvery); err != nil {
			return nil, err
		}
		a, err = try()
	}
	if err != nil {
		return nil, err
	}
	s.info.DeferredRemove = a.head.Flags&flagDeferredRemove != 0
	return &dmcore.Reply{Info: s.info}, nil
}

// held reports a device that another one stands on: udev has no part in that.
func held(d dmcore.DevNo) bool {
	holders, err := os.ReadDir(fmt.Sprintf("/sys/dev/block/%s/holders", d))
	return err == nil && len(holders) > 0
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
