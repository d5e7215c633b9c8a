package nbd

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"cowhand/dmcore"
)

// errno is an error as the protocol numbers them.
type errno uint32

const (
	errPerm     errno = 1
	errIO       errno = 5
	errInval    errno = 22
	errNoSpace  errno = 28
	errOverflow errno = 75
	errNotSup   errno = 95
	errShutdown errno = 108
)

func (e errno) Error() string {
	switch e {
	case errPerm:
		return "operation not permitted"
	case errInval:
		return "invalid argument"
	case errNoSpace:
		return "no space left on device"
	case errOverflow:
		return "value too large"
	case errNotSup:
		return "operation not supported"
	case errShutdown:
		return "server is shutting down"
	}
	return "input/output error"
}

// number is what the protocol calls err. ENOTSUP is not among the answers: the
// protocol keeps it for FAST_ZERO, which asks for itself.
func number(err error) errno {
	var e errno
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return errNoSpace
	case errors.Is(err, dmcore.ErrReadOnly), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return errPerm
	case errors.Is(err, dmcore.ErrInvalid), errors.Is(err, fs.ErrInvalid), errors.Is(err, syscall.EINVAL),
		errors.Is(err, errors.ErrUnsupported):
		return errInval
	case errors.Is(err, context.Canceled), errors.Is(err, syscall.ESHUTDOWN):
		return errShutdown
	}
	return errIO
}
