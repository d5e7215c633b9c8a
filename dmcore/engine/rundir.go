package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"cowhand/dmcore"
)

// What is in a run directory.
const (
	controlName = "control.sock"
	nbdName     = "nbd.sock"
	stateName   = "devices.json"
	logName     = "engine.log"
	engineLock  = "engine.lock" // held by the engine while it lives
	changeLock  = "change.lock" // held by an engine while it starts or stops
	startLock   = "start.lock"  // held by a client that starts or stops one
)

// maxSocketPath is the longest path a unix socket can be reached by: sun_path
// of sockaddr_un less its NUL (include/uapi/linux/un.h).
const maxSocketPath = 107

// runDirPath makes the path absolute, as a URI needs it, and refuses one that
// is too long for its sockets.
func runDirPath(dir string) (string, error) {
	if dir == "" {
		return "", fmt.Errorf("run directory: no path: %w", dmcore.ErrInvalid)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if p := filepath.Join(dir, controlName); len(p) > maxSocketPath {
		return "", fmt.Errorf("run directory %s: the path of its socket has %d bytes, a socket's may have %d: %w",
			dir, len(p), maxSocketPath, dmcore.ErrInvalid)
	}
	return dir, nil
}

// makeRunDir creates the run directory, 0711 for root, whose NBD socket others
// must reach, and 0700 for everyone else. One that exists must belong to us.
func makeRunDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := checkOwner(f); err != nil {
		return fmt.Errorf("run directory %s: %w", dir, err)
	}
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	return f.Chmod(mode)
}

func checkOwner(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if uid := int(st.Sys().(*syscall.Stat_t).Uid); uid != os.Geteuid() {
		return fmt.Errorf("owned by user %d, we are user %d: %w", uid, os.Geteuid(), fs.ErrPermission)
	}
	return nil
}

// lockFile takes the flock of a file in a run directory, waiting for it until
// ctx ends, and returns what gives it up. Only the process's death or unlock
// does: the file is not inherited.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	if flock(f, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return func() { f.Close() }, nil
	}
	// flock cannot be interrupted from here, so its thread is left waiting when
	// ctx ends first, and gives the lock up as soon as it gets it.
	got := make(chan error, 1)
	go func() { got <- flock(f, syscall.LOCK_EX) }()
	select {
	case err := <-got:
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: lock: %w", path, err)
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		go func() { <-got; f.Close() }()
		return nil, fmt.Errorf("%s: lock: %w", path, context.Cause(ctx))
	}
}

// tryLockFile is lockFile for a lock that nobody may hold: then ErrRunning.
func tryLockFile(path string) (unlock func(), err error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	switch err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err {
	case nil:
		return func() { f.Close() }, nil
	case syscall.EWOULDBLOCK:
		f.Close()
		return nil, fmt.Errorf("%s: %w", filepath.Dir(path), ErrRunning)
	default:
		f.Close()
		return nil, fmt.Errorf("%s: lock: %w", path, err)
	}
}

func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}
