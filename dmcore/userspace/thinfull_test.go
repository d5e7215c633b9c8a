package userspace_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// Writes wait a minute for a full pool to grow, and then fail; until it has grown
// they fail at once.
func TestThinFullPoolTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newThinRig(t, 2, "0")
		r.thin("a", 1, 8)
		r.put("a", 0, 2*thinBlock, 1)
		began := time.Now()
		if err := r.tryPut("a", 4*thinBlock, 512, 2); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("a write to a full pool: %v, want ENOSPC", err)
		}
		if d := time.Since(began); d != time.Minute {
			t.Errorf("the write failed after %v", d)
		}
		if s := r.status(); !s.ErrorIfNoSpace || s.Mode != dmcore.ThinPoolOutOfDataSpace {
			t.Errorf("status %s", s)
		}
		if err := r.tryPut("a", 4*thinBlock, 512, 2); !errors.Is(err, syscall.ENOSPC) || time.Since(began) != time.Minute {
			t.Errorf("the next write: %v after %v", err, time.Since(began))
		}
		r.files["data"].(*blockdev.Mem).Resize(4 * thinBlock)
		r.load("pool", "0 512 thin-pool meta data 128 0")
		r.resume("pool")
		r.put("a", 4*thinBlock, 512, 2)
		if s := r.status(); s.ErrorIfNoSpace || s.Mode != dmcore.ThinPoolWritable {
			t.Errorf("status %s", s)
		}
	})
}

// A device that is suspended without a flush has writes that wait for room wait
// outside; one that is flushed waits for them.
func TestThinSuspendWithQueuedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newThinRig(t, 1, "0")
		r.thin("a", 1, 8)
		r.put("a", 0, 512, 1)
		done := make(chan error, 1)
		go func() { done <- r.tryPut("a", thinBlock-512, 1024, 2) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.c.Suspend(ctx, "a", dmcore.SuspendOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("suspend with a flush: %v", err)
		}
		if err := r.c.Suspend(t.Context(), "a", dmcore.SuspendOptions{NoFlush: true}); err != nil {
			t.Fatalf("suspend without: %v", err)
		}
		if n := r.m.Queued("a"); n != 1 {
			t.Errorf("%d requests wait, want 1", n)
		}
		r.resume("a")
		synctest.Wait()
		r.suspend("pool")
		r.files["data"].(*blockdev.Mem).Resize(2 * thinBlock)
		r.load("pool", "0 256 thin-pool meta data 128 0")
		r.resume("pool")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.holds("a", thinBlock-512, 1024, 2)
	})
}

// The machine closes although a write waits for room, below another device too.
func TestThinCloseWithQueuedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newThinRig(t, 1, "0")
		r.thin("a", 1, 8)
		r.put("a", 0, 512, 1)
		info, err := r.c.Info(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		r.device("on", fmt.Sprintf("0 1024 linear %s 0", info.Dev))
		done := make(chan error, 2)
		for _, name := range []string{"a", "on"} {
			go func() { done <- r.tryPut(name, 2*thinBlock, 512, 2) }()
		}
		synctest.Wait()
		if err := r.m.Close(); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-done; !errors.Is(err, dmcore.ErrNotFound) {
				t.Errorf("a write that waited: %v", err)
			}
		}
	})
}

// A pool that is read-only does not grow until it may be changed again.
func TestThinGrowsWhenWritable(t *testing.T) {
	data := blockdev.NewMem(4 * thinBlock)
	r := bootThin(t, blockdev.NewMem(thinMeta), data, "0")
	r.thin("a", 1, 16)
	data.Resize(8 * thinBlock)
	r.load("pool", "0 1024 thin-pool meta data 128 0 1 read_only")
	r.resume("pool")
	if s := r.status(); s.TotalData != 4 || s.Mode != dmcore.ThinPoolReadOnly {
		t.Errorf("status %s, want 4 blocks", s)
	}
	r.load("pool", "0 1024 thin-pool meta data 128 0")
	r.resume("pool")
	if s := r.status(); s.TotalData != 8 || s.Mode != dmcore.ThinPoolWritable {
		t.Errorf("status %s, want 8 blocks", s)
	}
	r.put("a", 0, 8*thinBlock, 1)
}
