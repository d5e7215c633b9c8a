package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"cowhand/dmcore/blockdev"
	"cowhand/lvm"
)

// disks opens physical volumes for an engine, and keeps other engines of this
// host, those of other run directories, from them: two that map one group know
// nothing of each other's writers. The lock of an image file is a flock on it;
// that of a block device a flock on a file in lvm2's directory of locks, because
// udev stops looking at a device that somebody has locked.
type disks struct {
	lockDir string

	mu   sync.Mutex
	held map[string]*heldDisk // by what the disk is, however it is called
}

type heldDisk struct {
	lock  *os.File
	opens int
}

func newDisks(lockDir string) *disks {
	return &disks{lockDir: lockDir, held: map[string]*heldDisk{}}
}

// open opens a disk for writing.
func (d *disks) open(path string) (blockdev.Device, error) {
	f, err := blockdev.OpenFile(path, false)
	if err != nil {
		return nil, err
	}
	release, err := d.hold(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return &openDisk{f, sync.OnceValue(func() error { return errors.Join(f.Close(), release()) })}, nil
}

// openDisk is a file that holds its lock until it is closed.
type openDisk struct {
	*blockdev.File
	close func() error
}

// Close may be called again.
func (o *openDisk) Close() error { return o.close() }

func (d *disks) hold(path string) (release func() error, err error) {
	lockFile, key, err := d.lockOf(path)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.held[key]
	if h == nil {
		f, err := os.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			if errors.Is(err, syscall.EWOULDBLOCK) {
				err = fmt.Errorf("another engine of this host has it: %w", lvm.ErrInUse)
			}
			return nil, errors.Join(err, f.Close())
		}
		h = &heldDisk{lock: f}
		d.held[key] = h
	}
	h.opens++
	return func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if h.opens--; h.opens > 0 {
			return nil
		}
		delete(d.held, key)
		return h.lock.Close()
	}, nil
}

// lockOf names the file to lock, and the disk.
func (d *disks) lockOf(path string) (lockFile, key string, err error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return "", "", err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFBLK {
		return path, fmt.Sprintf("file %d:%d", st.Dev, st.Ino), nil
	}
	key = fmt.Sprintf("cowhand_engine_%d", st.Rdev)
	return filepath.Join(d.lockDir, key), key, os.MkdirAll(d.lockDir, 0o755)
}
