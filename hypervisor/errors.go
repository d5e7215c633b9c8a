package hypervisor

import (
	"errors"
	"fmt"
)

// What an operation on a guest, or on its XML, is refused with.
var (
	ErrNotFound    = errors.New("no such guest")
	ErrExists      = errors.New("guest exists")
	ErrTimeout     = errors.New("guest did not power off in time")
	ErrUnavailable = errors.New("hypervisor cannot be reached")
	ErrRunning     = errors.New("guest is running")
	ErrNotRunning  = errors.New("guest is not running")
	ErrNotAllowed  = errors.New("not allowed")
	ErrUnsupported = errors.New("not supported")
	ErrInUse       = errors.New("in use by another guest")
	ErrInvalid     = errors.New("invalid guest definition")
)

// Error is an operation that failed on a guest.
type Error struct {
	Op    string // "start", "define", …
	Guest string // empty: the hypervisor as a whole
	Err   error
}

func (e *Error) Error() string {
	if e.Guest == "" {
		return fmt.Sprintf("hypervisor: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("guest %s: %s: %v", e.Guest, e.Op, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
