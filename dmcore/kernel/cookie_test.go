package kernel

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCookie(t *testing.T) {
	c := newCookie()
	if c == nil {
		t.Skip("no semaphores here")
	}
	defer c.remove()
	if c.key>>16 != cookieMagic || c.base() == 0 || c.base()>>16 != 0 {
		t.Errorf("key %#x, base %#x", c.key, c.base())
	}
	if ok := c.up(); !ok || !c.up() {
		t.Fatal("cannot count")
	}
	c.down()
	done := make(chan error, 1)
	go func() { done <- c.wait(t.Context(), time.Minute) }()
	c.down() // as udev does
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c.up() {
		t.Error("the semaphore is still there")
	}

	late := newCookie()
	late.up()
	if err := late.wait(t.Context(), time.Millisecond); err != unix.EAGAIN {
		t.Errorf("nobody counts down: %v", err)
	}
	asked := newCookie()
	asked.up()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := asked.wait(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ctx ended: %v", err)
	}
	var none *cookie
	none.down()
	none.remove()
	if none.up() || none.base() != 0 || none.wait(t.Context(), time.Minute) != nil {
		t.Error("no cookie counts")
	}
}
