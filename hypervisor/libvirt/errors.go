//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cowhand/hypervisor"

	"libvirt.org/go/libvirt"
)

var errLost = fmt.Errorf("%w: the connection is closed", hypervisor.ErrUnavailable)

// cause is an error of libvirt as people read it: its message without codes.
// It is the sentinel and the library's error at once.
type cause struct {
	sentinel error // may be nil
	err      libvirt.Error
}

func (c cause) Error() string { return strings.TrimSuffix(c.err.Message, ".") }

func (c cause) Unwrap() []error {
	if c.sentinel == nil {
		return []error{c.err}
	}
	return []error{c.sentinel, c.err}
}

// sentinel is what an error code (enum virErrorNumber) means to a caller that
// has to decide; nil where the code does not tell.
func sentinel(op string, code libvirt.ErrorNumber) error {
	switch code {
	case libvirt.ERR_NO_DOMAIN:
		return hypervisor.ErrNotFound
	case libvirt.ERR_DOM_EXIST:
		return hypervisor.ErrExists
	case libvirt.ERR_AUTH_FAILED, libvirt.ERR_AUTH_CANCELLED, libvirt.ERR_AUTH_UNAVAILABLE,
		libvirt.ERR_ACCESS_DENIED, libvirt.ERR_OPERATION_DENIED:
		return hypervisor.ErrNotAllowed
	case libvirt.ERR_NO_CONNECT, libvirt.ERR_INVALID_CONN:
		return hypervisor.ErrUnavailable
	case libvirt.ERR_NO_SUPPORT, libvirt.ERR_CONFIG_UNSUPPORTED, libvirt.ERR_ARGUMENT_UNSUPPORTED, libvirt.ERR_OPERATION_UNSUPPORTED:
		return hypervisor.ErrUnsupported
	case libvirt.ERR_XML_ERROR, libvirt.ERR_XML_DETAIL, libvirt.ERR_XML_INVALID_SCHEMA:
		return hypervisor.ErrInvalid
	case libvirt.ERR_RESOURCE_BUSY: // the lock manager: another guest has the disk
		return hypervisor.ErrInUse
	case libvirt.ERR_OPERATION_INVALID:
		switch op {
		case "start":
			return hypervisor.ErrRunning
		case "shutdown", "destroy", "pause", "resume":
			return hypervisor.ErrNotRunning
		}
	}
	return nil
}

// denied tells that the caller may not do what it asked for, on a connection
// that lets it do less.
func denied(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) && errors.Is(sentinel("", e.Code), hypervisor.ErrNotAllowed)
}

// wrap makes an error of the library one of ours.
func (h *Conn) wrap(op, guest string, err error) error {
	var ours *hypervisor.Error
	if errors.As(err, &ours) {
		return err
	}
	var e libvirt.Error
	if errors.As(err, &e) {
		c := cause{sentinel(op, e.Code), e}
		if c.sentinel == nil && h.gone() {
			c.sentinel = hypervisor.ErrUnavailable
		}
		err = c
	}
	return &hypervisor.Error{Op: op, Guest: guest, Err: err}
}

// gone tells that the connection is no more, so that any error of a call on it
// means just that.
func (h *Conn) gone() bool {
	select {
	case <-h.lost:
		return true
	default:
	}
	alive, err := h.c.IsAlive()
	return err != nil || !alive
}

// openError is an error before there is a connection. libvirt tells by many
// codes that it cannot reach a daemon, so all but a refusal count as that.
func openError(uri string, err error) error {
	var e libvirt.Error
	switch {
	case errors.As(err, &e) && strings.Contains(e.Message, "libvirt.so.0"): // the binding's own, from dlopen
		err = fmt.Errorf("%w: libvirt.so.0 cannot be loaded", hypervisor.ErrUnavailable)
	case errors.As(err, &e):
		c := cause{sentinel("", e.Code), e}
		// The socket's permissions come as a system error without its number.
		if e.Code == libvirt.ERR_SYSTEM_ERROR && strings.HasSuffix(e.Message, ": Permission denied") {
			c.sentinel = hypervisor.ErrNotAllowed
		}
		if !errors.Is(c.sentinel, hypervisor.ErrNotAllowed) {
			c.sentinel = hypervisor.ErrUnavailable
		}
		err = c
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		err = fmt.Errorf("%w: %w", hypervisor.ErrUnavailable, err)
	}
	op := "connect"
	if uri != "" {
		op += " to " + uri
	}
	return &hypervisor.Error{Op: op, Err: err}
}
