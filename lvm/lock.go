package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Locks takes lvm2's file locks, so that its tools and this program keep out of
// each other's way (lvm2 2.03.16, lib/misc/lvm-flock.c):
//
//	writer   V_vg:aux EX ─▶ V_vg EX (waits, aux held) ─▶ aux released
//	reader   V_vg:aux EX ─▶ aux released ─▶ V_vg SH (waits)
//
// A waiting writer thus keeps new readers out. Whoever releases a file last
// unlinks it; so who got a lock must look whether the file is still there.
//
// Order: the global lock first, then groups in the order of their names, and
// one group's lock for the whole of an operation.
type Locks struct {
	Dir string // "": /run/lock/lvm
	// NoWait refuses with ErrInUse where somebody else has the lock (lvm2's
	// global/wait_for_locks=0). The aux lock, which is held for a moment only, is
	// waited for all the same.
	NoWait bool
}

// DefaultLockDir is lvm2's global/locking_dir.
const DefaultLockDir = "/run/lock/lvm"

// Global locks the set of physical volumes and groups: exclusively to create,
// extend, rename or remove one, shared to look at all.
func (l Locks) Global(ctx context.Context, exclusive bool) (unlock func() error, err error) {
	return l.lock(ctx, "P_global", exclusive)
}

// VG locks one group: exclusively to change it, shared to read.
func (l Locks) VG(ctx context.Context, name string, exclusive bool) (unlock func() error, err error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return l.lock(ctx, "V_"+name, exclusive)
}

// VGs locks several groups in the one order that all must keep to.
func (l Locks) VGs(ctx context.Context, exclusive bool, names ...string) (unlock func() error, err error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	var held []func() error
	unlock = func() error {
		var errs []error
		for _, u := range slices.Backward(held) {
			errs = append(errs, u())
		}
		return errors.Join(errs...)
	}
	for _, name := range names {
		u, err := l.VG(ctx, name, exclusive)
		if err != nil {
			return nil, errors.Join(err, unlock())
		}
		held = append(held, u)
	}
	return unlock, nil
}

func (l Locks) lock(ctx context.Context, name string, exclusive bool) (func() error, error) {
	dir := l.Dir
	if dir == "" {
		dir = DefaultLockDir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	path := filepath.Join(dir, name)
	aux, err := takeFlock(ctx, path+":aux", unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	nonblock := 0
	if l.NoWait {
		nonblock = unix.LOCK_NB
	}
	if !exclusive {
		if err := aux.undo(); err != nil {
			return nil, err
		}
		f, err := takeFlock(ctx, path, unix.LOCK_SH|nonblock)
		if err != nil {
			return nil, err
		}
		return f.unlock(), nil
	}
	f, err := takeFlock(ctx, path, unix.LOCK_EX|nonblock)
	undone := aux.undo()
	switch {
	case err != nil:
		return nil, errors.Join(err, undone)
	case undone != nil:
		return nil, errors.Join(undone, f.undo())
	}
	return f.unlock(), nil
}

// flock is an open lock file with a lock on it.
type flock struct {
	path string
	fd   int
}

// takeFlock waits for a lock. flock(2) cannot be called off, so a goroutine
// waits in it; when ctx ends first, that goroutine is left to release the lock
// as soon as it gets it.
func takeFlock(ctx context.Context, path string, how int) (*flock, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	type result struct {
		f   *flock
		err error
	}
	got := make(chan result, 1)
	go func() {
		f, err := waitFlock(path, how)
		got <- result{f, err}
	}()
	select {
	case r := <-got:
		return r.f, r.err
	case <-ctx.Done():
		go func() {
			if r := <-got; r.err == nil {
				_ = r.f.undo() // nobody is left to tell; closing is all it needs
			}
		}()
		return nil, fmt.Errorf("lock %s: %w", path, context.Cause(ctx))
	}
}

// waitFlock opens the file and locks it, again if it was unlinked meanwhile.
func waitFlock(path string, how int) (*flock, error) {
	for {
		fd, err := openLock(path)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		f := &flock{path, fd}
		err = f.flock(how)
		if err == unix.EWOULDBLOCK {
			err = fmt.Errorf("another command is at work, and global/wait_for_locks is 0: %w", ErrInUse)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), unix.Close(fd))
		}
		if f.current() {
			return f, nil
		}
		if err := unix.Close(fd); err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

func openLock(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_CREAT|unix.O_APPEND|unix.O_RDWR|unix.O_CLOEXEC, 0o777)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (f *flock) flock(how int) error {
	for {
		if err := unix.Flock(f.fd, how); err != unix.EINTR {
			return err
		}
	}
}

// current reports whether the path still names the open file.
func (f *flock) current() bool {
	var named, opened unix.Stat_t
	return unix.Stat(f.path, &named) == nil && unix.Fstat(f.fd, &opened) == nil &&
		named.Dev == opened.Dev && named.Ino == opened.Ino
}

// undo releases the lock and removes the file if nobody else holds or waits
// for it.
func (f *flock) undo() error {
	var err error
	if f.flock(unix.LOCK_EX|unix.LOCK_NB) == nil && f.current() {
		if err = unix.Unlink(f.path); err == unix.ENOENT {
			err = nil
		}
	}
	return errors.Join(err, unix.Close(f.fd))
}

// unlock returns the function that releases the lock; only its first call does.
func (f *flock) unlock() func() error {
	return sync.OnceValue(func() error {
		if err := f.flock(unix.LOCK_UN); err != nil {
			return errors.Join(err, unix.Close(f.fd))
		}
		return f.undo()
	})
}
