package userspace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/userspace"
)

// rig is a machine over devices in memory.
type rig struct {
	t     testing.TB
	m     *userspace.Machine
	c     *dmcore.Client
	files map[dmcore.Dev]blockdev.Device
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, files: map[dmcore.Dev]blockdev.Device{}}
	r.m = userspace.New(r.open)
	r.c = dmcore.NewClient(r.m)
	return r
}

func (r *rig) open(ref dmcore.Dev) (blockdev.Device, error) {
	if d, ok := r.files[ref]; ok {
		return d, nil
	}
	return nil, fmt.Errorf("%s: %w", ref, fs.ErrNotExist)
}

// device makes a device with a live table.
func (r *rig) device(name, table string) dmcore.Dev {
	r.t.Helper()
	info, err := r.c.Create(context.Background(), dmcore.Name(name), dmcore.UUID(name))
	if err != nil {
		r.t.Fatal(err)
	}
	r.load(name, table)
	r.resume(name)
	return info.Dev.Dev()
}

func (r *rig) load(name, table string) {
	r.t.Helper()
	parsed, err := dmcore.ParseTable(table)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.c.Load(context.Background(), dmcore.UUID(name), parsed, false); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) suspend(name string) {
	r.t.Helper()
	if err := r.c.Suspend(context.Background(), dmcore.UUID(name), dmcore.SuspendOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) resume(name string) {
	r.t.Helper()
	if _, err := r.c.Resume(context.Background(), dmcore.UUID(name)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) handle(name string) *userspace.Handle {
	r.t.Helper()
	h, err := r.m.Open(dmcore.Name(name), false)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func TestSuspendQueuesAndResumeSwaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := blockdev.NewMem(1<<20), blockdev.NewMem(1<<20)
		r.files["a"], r.files["b"] = a, b
		r.device("x", "0 2048 linear a 0")
		h := r.handle("x")
		r.load("x", "0 2048 linear b 0")
		r.suspend("x")
		data := bytes.Repeat([]byte{7}, 512)
		done := make(chan error)
		go func() {
			_, err := h.WriteAt(data, 512)
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("a write to a suspended device ended: %v", err)
		default:
		}
		if n := h.Queued(); n != 1 {
			t.Fatalf("queued %d, want 1", n)
		}
		r.resume("x")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 512)
		b.ReadAt(got, 512)
		if !bytes.Equal(got, data) {
			t.Error("the queued write did not go to the new table")
		}
		h.Close()
		if err := r.m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSuspendEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.files["a"] = blockdev.NewMem(1 << 20)
		below := r.device("below", "0 2048 linear a 0")
		r.device("above", "0 2048 linear "+string(below)+" 0")
		h := r.handle("above")
		r.suspend("below")
		done := make(chan error)
		go func() {
			_, err := h.ReadAt(make([]byte, 512), 0)
			done <- err
		}()
		synctest.Wait() // the read is inside above and waits at below
		ctx, cancel := context.WithCancel(t.Context())
		suspended := make(chan error)
		go func() { suspended <- r.c.Suspend(ctx, "above", dmcore.SuspendOptions{}) }()
		synctest.Wait()
		cancel()
		if err := <-suspended; !errors.Is(err, context.Canceled) {
			t.Fatalf("suspend: %v, want %v", err, context.Canceled)
		}
		if info, err := r.c.Info(t.Context(), "above"); err != nil || info.Suspended {
			t.Errorf("info %+v, %v: want a device that is not suspended", info, err)
		}
		r.resume("below")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := r.m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCloseEndsQueuedIO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.files["a"] = blockdev.NewMem(1 << 20)
		r.device("x", "0 2048 linear a 0")
		h := r.handle("x")
		r.suspend("x")
		done := make(chan error)
		go func() {
			_, err := h.ReadAt(make([]byte, 512), 0)
			done <- err
		}()
		synctest.Wait()
		if err := r.m.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, dmcore.ErrNotFound) {
			t.Fatalf("queued read: %v, want %v", err, dmcore.ErrNotFound)
		}
		if err := r.m.Close(); err != nil {
			t.Fatalf("second close: %v", err)
		}
	})
}
