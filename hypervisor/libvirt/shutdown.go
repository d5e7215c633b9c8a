//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cowhand/hypervisor"

	"libvirt.org/go/libvirt"
)

// askAgain is the time between two requests to power off. One may be lost: a
// guest that boots does not hear the power button yet, and an agent may take
// the request and then hang.
const askAgain = 15 * time.Second

// Shutdown asks by the guest agent if there is one, else by the power button
// (libvirt decides), and from the second time on by the button.
func (g *guest) Shutdown(ctx context.Context) error {
	if g.h.noEvents != nil {
		return g.h.wrap("shutdown", g.name, g.h.noEvents)
	}
	select {
	case <-g.h.runs: // it may have been started a moment ago
	case <-ctx.Done():
		return g.h.wrap("shutdown", g.name, errNoLoop)
	}
	changed, unsubscribe := g.h.subscribe(g.uuid)
	defer unsubscribe()
	if err := g.ask(ctx, libvirt.DOMAIN_SHUTDOWN_DEFAULT); errors.Is(err, hypervisor.ErrNotRunning) {
		return err
	} else if err != nil {
		// Somebody else may have taken its power away between.
		if off, e := g.off(ctx); e != nil || !off {
			return err
		}
		return nil
	}
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		off, err := g.off(ctx)
		if off || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-changed:
		case <-again.C:
			// Best effort: what counts is whether the guest goes off.
			if err := g.ask(ctx, libvirt.DOMAIN_SHUTDOWN_ACPI_POWER_BTN); errors.Is(err, hypervisor.ErrUnavailable) {
				return err
			}
		case <-g.h.lost:
			return g.h.wrap("shutdown", g.name, errLost)
		case <-ctx.Done():
			return &hypervisor.Error{Op: "shutdown", Guest: g.name, Err: fmt.Errorf("%w (%w)", hypervisor.ErrTimeout, context.Cause(ctx))}
		}
	}
}

func (g *guest) ask(ctx context.Context, how libvirt.DomainShutdownFlags) error {
	return g.on(ctx, "shutdown", func(d *libvirt.Domain) error {
		if err := up(d); err != nil {
			return err
		}
		if how == libvirt.DOMAIN_SHUTDOWN_DEFAULT {
			return d.Shutdown()
		}
		return d.ShutdownFlags(how)
	})
}

// off tells that the guest lets its disks go, or, being transient, is no more.
func (g *guest) off(ctx context.Context) (bool, error) {
	var active bool
	err := g.on(ctx, "shutdown", func(d *libvirt.Domain) (err error) {
		active, err = d.IsActive()
		return err
	})
	if errors.Is(err, hypervisor.ErrNotFound) {
		return true, nil
	}
	return err == nil && !active, err
}

// lifecycle is called in the event loop for each change of any guest. It must
// not call libvirt, which may wait for this very loop.
func (h *Conn) lifecycle(_ *libvirt.Connect, d *libvirt.Domain, _ *libvirt.DomainEventLifecycle) {
	uuid, err := d.GetUUIDString() // local: the domain carries it
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, chans := range h.waiting {
		if err != nil || id == uuid { // in doubt all look
			for c := range chans {
				select {
				case c <- struct{}{}:
				default: // it has not looked since the last one
				}
			}
		}
	}
}

// subscribe returns a channel that has something in it after each change of
// the guest's state.
func (h *Conn) subscribe(uuid string) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[uuid] == nil {
		h.waiting[uuid] = map[chan struct{}]bool{}
	}
	h.waiting[uuid][c] = true
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiting[uuid], c)
		if len(h.waiting[uuid]) == 0 {
			delete(h.waiting, uuid)
		}
	}
}
