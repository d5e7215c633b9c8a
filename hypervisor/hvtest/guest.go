package hvtest

import (
	"context"
	"fmt"

	"cowhand/hypervisor"
)

// guest refers to a record by name and UUID, so that it does not become
// another guest that got the name later.
type guest struct {
	h          *Host
	name, uuid string
}

func (g *guest) Name() string { return g.name }
func (g *guest) UUID() string { return g.uuid }

// on runs an operation on the guest's record and keeps what it did.
func (g *guest) on(ctx context.Context, op string, trace bool, f func(*record) error) error {
	return g.h.do(op, g.name, trace, func() error {
		r := g.h.guests[g.name]
		if r == nil || r.uuid != g.uuid {
			return hypervisor.ErrNotFound
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(r); err != nil || !trace {
			return err
		}
		return g.h.save(r)
	})
}

func (g *guest) State(ctx context.Context) (s hypervisor.State, err error) {
	err = g.on(ctx, "state", quiet, func(r *record) error { s = r.state; return nil })
	return s, err
}

// Persistent: a guest that is gone when it is off would need a hypervisor that
// runs it.
func (g *guest) Persistent(ctx context.Context) (bool, error) {
	return true, g.on(ctx, "read", quiet, func(*record) error { return nil })
}

func (g *guest) XML(ctx context.Context) (xml string, err error) {
	err = g.on(ctx, "read", quiet, func(r *record) error { xml = r.xml; return nil })
	return xml, err
}

func (g *guest) Live(ctx context.Context) (l hypervisor.Live, err error) {
	err = g.on(ctx, "look at", quiet, func(r *record) error {
		if !r.state.Up() {
			return hypervisor.ErrNotRunning
		}
		l = hypervisor.Live{XML: r.live, Activity: fmt.Sprintf("went on %d times", r.ran)}
		return nil
	})
	return l, err
}

func (g *guest) Start(ctx context.Context) error {
	return g.on(ctx, "start", traced, func(r *record) error {
		if r.state.Up() {
			return hypervisor.ErrRunning
		}
		if err := g.h.openDisks(r); err != nil {
			return err
		}
		r.state, r.live, r.ran = hypervisor.Running, r.xml, r.ran+1
		return nil
	})
}

// openDisks asks the hook about the guest's disks, and keeps what libvirt's
// lock manager does: one writer, or several guests that all say shareable.
func (h *Host) openDisks(r *record) error {
	mine, err := hypervisor.Disks(r.xml)
	if err != nil {
		return err
	}
	for _, d := range mine {
		if h.CheckDisk != nil {
			if err := h.CheckDisk(d); err != nil {
				return fmt.Errorf("disk %s: %w", d.Target, err)
			}
		}
		for _, other := range h.guests {
			if other == r || other.live == "" {
				continue
			}
			theirs, err := hypervisor.Disks(other.live)
			if err != nil {
				return err
			}
			for _, o := range theirs {
				same := o.Source != "" && o.Source == d.Source && o.Socket == d.Socket && o.Host == d.Host
				if same && (!o.ReadOnly || !d.ReadOnly) && !(o.Shareable && d.Shareable) {
					return fmt.Errorf("disk %s: %s is open by guest %s: %w", d.Target, d.Source, other.name, hypervisor.ErrInUse)
				}
			}
		}
	}
	return nil
}

func (g *guest) Shutdown(ctx context.Context) error {
	var was hypervisor.State
	err := g.on(ctx, "shutdown", traced, func(r *record) error {
		if was = r.state; !was.Up() {
			return hypervisor.ErrNotRunning
		}
		return nil
	})
	if err != nil {
		return err
	}
	ask := g.h.OnShutdown
	switch {
	case was != hypervisor.Running: // its processors stand still: it hears nothing
		err = Hang(ctx, g.name)
	case ask != nil:
		err = ask(ctx, g.name)
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", hypervisor.ErrTimeout, context.Cause(ctx))
	}
	if err != nil {
		return &hypervisor.Error{Op: "shutdown", Guest: g.name, Err: err}
	}
	return g.on(ctx, "off", traced, powerOff)
}

func powerOff(r *record) error {
	if r.state.Up() {
		r.state, r.live = hypervisor.ShutOff, ""
	}
	return nil
}

func (g *guest) Destroy(ctx context.Context) error {
	return g.on(ctx, "destroy", traced, func(r *record) error {
		if !r.state.Up() {
			return hypervisor.ErrNotRunning
		}
		return powerOff(r)
	})
}

func (g *guest) Undefine(ctx context.Context) error {
	return g.h.do("undefine", g.name, traced, func() error {
		r := g.h.guests[g.name]
		switch {
		case r == nil || r.uuid != g.uuid:
			return hypervisor.ErrNotFound
		case r.state.Up():
			return hypervisor.ErrRunning
		}
		delete(g.h.guests, g.name)
		return g.h.forget(g.name)
	})
}

func (g *guest) Pause(ctx context.Context) error {
	return g.on(ctx, "pause", traced, func(r *record) error {
		if r.state != hypervisor.Running && r.state != hypervisor.Paused {
			return hypervisor.ErrNotRunning
		}
		r.state = hypervisor.Paused
		return nil
	})
}

func (g *guest) Resume(ctx context.Context) error {
	return g.on(ctx, "resume", traced, func(r *record) error {
		if r.state != hypervisor.Running && r.state != hypervisor.Paused {
			return hypervisor.ErrNotRunning
		}
		if r.state == hypervisor.Paused {
			r.ran++
		}
		r.state = hypervisor.Running
		return nil
	})
}
