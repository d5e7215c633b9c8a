package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// controlFile returns the control node, opened and spoken to once.
func (c *Control) controlFile() (*os.File, error) {
	c.opening.Lock()
	defer c.opening.Unlock()
	if c.closed {
		return nil, fmt.Errorf("%w: %w", dmcore.ErrUnavailable, os.ErrClosed)
	}
	if c.file != nil {
		return c.file, nil
	}
	f, err := openControl(c.cfg.Dir, 0)
	if err != nil {
		return nil, err
	}
	if _, err := roundTrip(f, &call{num: unix.DM_VERSION}); err != nil {
		f.Close()
		return nil, unavailable(f.Name(), err)
	}
	c.file = f
	return f, nil
}

// openControl opens the control node of dir, or the one of /dev, where devtmpfs
// makes it. To open it loads the module where it can be loaded.
func openControl(dir string, flag int) (*os.File, error) {
	path := filepath.Join(dir, "mapper/control")
	f, err := openDevice(path, flag)
	if errors.Is(err, fs.ErrNotExist) && dir != "/dev" {
		path = "/dev/mapper/control"
		f, err = openDevice(path, flag)
	}
	if err != nil {
		return nil, unavailable(path, err)
	}
	return f, nil
}

// openDevice opens without the poller's help unless flag has O_NONBLOCK.
func openDevice(path string, flag int) (*os.File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|flag, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// unavailable says why there is no device mapper to speak to, and what would
// make one.
func unavailable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOTTY):
		return fmt.Errorf("%s: %w: the kernel has none; as root, `modprobe dm_mod` loads it", path, dmcore.ErrUnavailable)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: only root may: %w", path, dmcore.ErrUnavailable, fs.ErrPermission)
	}
	return fmt.Errorf("%s: %w: %w", path, dmcore.ErrUnavailable, err)
}
