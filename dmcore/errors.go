package dmcore

import (
	"errors"
	"fmt"
)

// What a Control refuses with. They stand for the errno the kernel gives.
var (
	ErrNotFound     = errors.New("no such device")                  // ENXIO
	ErrExists       = errors.New("device exists")                   // EBUSY of create and rename
	ErrBusy         = errors.New("device is in use")                // EBUSY of remove
	ErrInvalid      = errors.New("invalid argument")                // EINVAL
	ErrNotSupported = errors.New("not supported")                   // ENOTTY, unknown target
	ErrIO           = errors.New("i/o error")                       // EIO of a target
	ErrReadOnly     = errors.New("device is read-only")             // EROFS
	ErrUnavailable  = errors.New("no device mapper can be reached") // ENODEV, ENOENT, ECONNREFUSED
)

// Error is a command that failed on a device. Unwrap gives the cause, which
// matches one of the sentinels of this package.
type Error struct {
	Cmd  Command
	Name Name // or the UUID, where the device was asked for by it
	Err  error
}

func (e *Error) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("device mapper: %s: %v", e.Cmd, e.Err)
	}
	return fmt.Sprintf("device %s: %s: %v", e.Name, e.Cmd, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
