package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// errBelow is of a table that cannot be loaded.
var errBelow = fmt.Errorf("a device the table stands on: %w", dmcore.ErrNotFound)

// cause gives the meaning of an errno of the command. Other errors stay.
func cause(cmd dmcore.Command, err error) error {
	errno, ok := err.(unix.Errno)
	if !ok {
		return err
	}
	switch errno {
	case unix.ENXIO:
		return dmcore.ErrNotFound
	case unix.EBUSY:
		if cmd == dmcore.Create || cmd == dmcore.Rename {
			return dmcore.ErrExists
		}
		return dmcore.ErrBusy
	case unix.EINVAL:
		return fmt.Errorf("%w: the kernel's log (dmesg) says why", dmcore.ErrInvalid)
	case unix.ENOTTY:
		return fmt.Errorf("%w by this kernel", dmcore.ErrNotSupported)
	case unix.EIO:
		return dmcore.ErrIO
	case unix.EROFS:
		return dmcore.ErrReadOnly
	case unix.EEXIST: // a thin device of that id
		return dmcore.ErrExists
	case unix.ENODATA: // no thin device of that id
		return dmcore.ErrNotFound
	case unix.EOPNOTSUPP: // by a thin pool that is read-only or failed
		return dmcore.ErrNotSupported
	}
	if cmd == dmcore.Load {
		switch errno {
		case unix.ENODEV, unix.ENOENT, unix.ENOTBLK:
			return errBelow
		case unix.EACCES, unix.EPERM: // of whoever may not load at all, the first command fails
			return fmt.Errorf("a device the table stands on: %w", dmcore.ErrReadOnly)
		}
	}
	return err
}
