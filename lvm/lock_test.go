package lvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLocksExclude(t *testing.T) {
	l := Locks{Dir: filepath.Join(t.TempDir(), "lvm")}
	var inside, most, writers atomic.Int32
	var wg sync.WaitGroup
	for i := range 40 {
		exclusive := i%4 == 0
		wg.Go(func() {
			unlock, err := l.VG(t.Context(), "vg0", exclusive)
			if err != nil {
				t.Error(err)
				return
			}
			n := inside.Add(1)
			if exclusive {
				writers.Add(1)
			}
			if w := writers.Load(); w > 1 || w == 1 && (n > 1 || !exclusive) {
				t.Errorf("%d holders, %d of them writers", n, w)
			}
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if exclusive {
				writers.Add(-1)
			}
			inside.Add(-1)
			if err := unlock(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(l.Dir)
	if err != nil || len(left) != 0 {
		t.Errorf("lock files left: %v, %v", left, err)
	}
}

func TestLocksReadersShare(t *testing.T) {
	l := Locks{Dir: t.TempDir()}
	one, err := l.VG(t.Context(), "vg0", false)
	if err != nil {
		t.Fatal(err)
	}
	two, err := l.VG(t.Context(), "vg0", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(one(), two(), one()); err != nil {
		t.Error(err)
	}
}

// A writer that waits keeps new readers out; one that gives up lets them in.
func TestLocksWaitingWriter(t *testing.T) {
	dir, err := os.MkdirTemp("", "locks")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for os.RemoveAll(dir) != nil { // who gave up waiting may still make and remove a file
		}
	})
	l := Locks{Dir: dir}
	reader, err := l.VG(t.Context(), "vg0", false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	writer := make(chan error, 1)
	go func() {
		_, err := l.VG(ctx, "vg0", true)
		writer <- err
	}()
	aux := filepath.Join(l.Dir, "V_vg0:aux")
	for held := false; !held; { // until the writer has the aux lock
		f, err := os.Open(aux)
		if err != nil {
			continue
		}
		held = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
		f.Close()
	}
	late, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := l.VG(late, "vg0", false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a reader behind a waiting writer: %v, want a deadline exceeded", err)
	}
	cancel()
	if err := <-writer; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled writer: %v", err)
	}
	again, err := l.VG(t.Context(), "vg0", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again(), reader()); err != nil {
		t.Error(err)
	}
	writeAgain, err := l.VG(t.Context(), "vg0", true) // the goroutine left behind lets go
	if err != nil {
		t.Fatal(err)
	}
	if err := writeAgain(); err != nil {
		t.Error(err)
	}
}

func TestLocksRefuseBadNames(t *testing.T) {
	l := Locks{Dir: t.TempDir()}
	for _, name := range []string{"", "../x", "a/b"} {
		if _, err := l.VG(t.Context(), name, true); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", name, err)
		}
	}
	unlock, err := l.VGs(t.Context(), true, "b", "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}

// lvm2 waits for our lock, in its own way of taking it.
func TestLocksHoldLVM2(t *testing.T) {
	o := oracle(t, 1)
	o.lvm("pvcreate", o.paths[0])
	o.lvm("vgcreate", "locked", o.paths[0])
	unlock, err := o.locks.VG(t.Context(), "locked", true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := o.command(ctx, "vgs", "locked").Run(); ctx.Err() == nil {
		t.Errorf("vgs went past an exclusive lock: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	o.lvm("vgs", "locked")
	var exit *exec.ExitError
	if err := o.command(t.Context(), "vgs", "nosuchvg").Run(); !errors.As(err, &exit) {
		t.Errorf("vgs of an unknown group: %v", err)
	}
}

// We wait for lvm2's lock, while it asks the user a question; and take the lock
// although lvm2 unlinks the file that we wait on.
func TestLocksWaitForLVM2(t *testing.T) {
	o := oracle(t, 1)
	o.lvm("pvcreate", o.paths[0])
	o.lvm("vgcreate", "locked", o.paths[0])
	o.lvm("lvcreate", "-y", "-an", "-Zn", "-Wn", "-l1", "-n", "lv", "locked")
	asks := o.command(t.Context(), "vgremove", "locked")
	answer, err := asks.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	asks.Stdout, asks.Stderr = &said, &said
	if err := asks.Start(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.locks.Dir, "V_locked")
	var held unix.Stat_t
	for { // until lvm2 has it
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		err = errors.Join(unix.Fstat(fd, &held), unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB))
		unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
	}
	for _, exclusive := range []bool{true, false} {
		if _, err := (Locks{Dir: o.locks.Dir, NoWait: true}).VG(t.Context(), "locked", exclusive); !errors.Is(err, ErrInUse) {
			t.Errorf("exclusive %t, without waiting: %v, want ErrInUse", exclusive, err)
		}
	}
	got := make(chan error, 1)
	var unlock func() error
	go func() {
		var err error
		unlock, err = o.locks.VG(t.Context(), "locked", true)
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("locked beside lvm2: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := io.WriteString(answer, "n\n"); err != nil {
		t.Fatal(err)
	}
	if err := asks.Wait(); err == nil {
		t.Errorf("vgremove went on: %s", &said)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	var now unix.Stat_t
	if err := unix.Stat(path, &now); err != nil {
		t.Errorf("the lock that we have has no file: %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	o.lvm("vgs", "locked")
}

// Many of both at work on one group: every change is a commit of its own, and none
// is lost, although each unlinks the file that the others wait on.
func TestLocksBesideLVM2(t *testing.T) {
	o := oracle(t, 1)
	o.lvm("pvcreate", o.paths[0])
	o.lvm("vgcreate", "busy", o.paths[0])
	before, err := o.store.Load(t.Context(), "busy")
	if err != nil {
		t.Fatal(err)
	}
	const each = 12
	tag := func(name string) (err error) {
		unlock, err := o.locks.VG(t.Context(), "busy", true)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unlock()) }()
		vg, err := o.store.Load(t.Context(), "busy")
		if err == nil {
			err = vg.AddTags("", name)
		}
		if err != nil {
			return err
		}
		p, err := o.store.Prepare(t.Context(), vg)
		if err != nil {
			return err
		}
		return errors.Join(p.Commit(), o.store.Backup(p.VG))
	}
	var wg sync.WaitGroup
	for i := range each {
		wg.Go(func() {
			if out, err := o.command(t.Context(), "vgchange", "--addtag", fmt.Sprintf("theirs%d", i), "busy").CombinedOutput(); err != nil {
				t.Errorf("vgchange: %v: %s", err, out)
			}
		})
		wg.Go(func() {
			if err := tag(fmt.Sprintf("ours%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after, err := o.store.Load(t.Context(), "busy")
	if err != nil {
		t.Fatal(err)
	}
	if len(after.Tags) != 2*each || after.Seqno != before.Seqno+2*each {
		t.Errorf("%d tags, %d commits, want %d", len(after.Tags), after.Seqno-before.Seqno, 2*each)
	}
	o.agree()
}

// Nobody waits who was told not to, and a free lock is had.
func TestLocksNoWait(t *testing.T) {
	l := Locks{Dir: t.TempDir(), NoWait: true}
	reader, err := l.VG(t.Context(), "vg0", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.VG(t.Context(), "vg0", true); !errors.Is(err, ErrInUse) {
		t.Errorf("a writer beside a reader: %v, want ErrInUse", err)
	}
	again, err := l.VG(t.Context(), "vg0", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again(), reader()); err != nil {
		t.Error(err)
	}
	writer, err := l.VG(t.Context(), "vg0", true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.VG(t.Context(), "vg0", false); !errors.Is(err, ErrInUse) {
		t.Errorf("a reader beside a writer: %v, want ErrInUse", err)
	}
	if err := writer(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(l.Dir); err != nil || len(left) != 0 {
		t.Errorf("lock files left: %v, %v", left, err)
	}
}
