//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"

	"cowhand/hypervisor"

	"libvirt.org/go/libvirt"
)

// guest refers to a domain by its UUID. It holds no object of the library, so
// there is nothing to free.
type guest struct {
	h          *Conn
	name, uuid string
}

func (g *guest) Name() string { return g.name }
func (g *guest) UUID() string { return g.uuid }

// on looks the domain up and does one operation on it.
func (g *guest) on(ctx context.Context, op string, f func(*libvirt.Domain) error) error {
	err := g.h.usable(ctx)
	var d *libvirt.Domain
	if err == nil {
		d, err = g.h.c.LookupDomainByUUIDString(g.uuid)
	}
	if err == nil {
		err = errors.Join(f(d), d.Free())
	}
	if err != nil {
		return g.h.wrap(op, g.name, err)
	}
	return nil
}

func (g *guest) State(ctx context.Context) (s hypervisor.State, err error) {
	err = g.on(ctx, "ask state", func(d *libvirt.Domain) error { s, err = state(d); return err })
	return s, err
}

// state puts libvirt's states (enum virDomainState) into ours.
func state(d *libvirt.Domain) (hypervisor.State, error) {
	s, why, err := d.GetState()
	if err != nil {
		return hypervisor.Unknown, err
	}
	switch s {
	case libvirt.DOMAIN_RUNNING, libvirt.DOMAIN_BLOCKED:
		return hypervisor.Running, nil
	case libvirt.DOMAIN_PAUSED:
		if libvirt.DomainPausedReason(why) == libvirt.DOMAIN_PAUSED_IOERROR {
			return hypervisor.Stalled, nil
		}
		return hypervisor.Paused, nil
	case libvirt.DOMAIN_SHUTDOWN:
		return hypervisor.ShuttingDown, nil
	case libvirt.DOMAIN_PMSUSPENDED:
		return hypervisor.Suspended, nil
	case libvirt.DOMAIN_CRASHED:
		// With <on_crash>preserve</on_crash> the process is kept, and with it
		// the disks.
		if active, err := d.IsActive(); err != nil || active {
			return hypervisor.Paused, err
		}
		return hypervisor.Crashed, nil
	case libvirt.DOMAIN_SHUTOFF:
		saved, err := d.HasManagedSaveImage(0)
		if err != nil && !errors.Is(err, libvirt.ERR_NO_SUPPORT) {
			return hypervisor.Unknown, err
		}
		if saved {
			return hypervisor.Saved, nil
		}
		return hypervisor.ShutOff, nil
	}
	return hypervisor.Unknown, nil
}

func (g *guest) Persistent(ctx context.Context) (yes bool, err error) {
	err = g.on(ctx, "ask persistence", func(d *libvirt.Domain) error { yes, err = d.IsPersistent(); return err })
	return yes, err
}

// XML asks for the secrets too: a definition written back without them would
// lose the passwords of consoles. Who may not see them gets the rest.
func (g *guest) XML(ctx context.Context) (xml string, err error) {
	err = g.on(ctx, "read definition", func(d *libvirt.Domain) error {
		xml, err = d.GetXMLDesc(libvirt.DOMAIN_XML_INACTIVE | libvirt.DOMAIN_XML_SECURE)
		if denied(err) {
			xml, err = d.GetXMLDesc(libvirt.DOMAIN_XML_INACTIVE)
		}
		return err
	})
	return xml, err
}

// Live: the ID is another after each start, and libvirt counts the requests of
// all disks that the processors have sent.
func (g *guest) Live(ctx context.Context) (l hypervisor.Live, err error) {
	err = g.on(ctx, "look at", func(d *libvirt.Domain) error {
		if err := up(d); err != nil {
			return err
		}
		id, err := d.GetID()
		if err != nil {
			return err
		}
		did, err := d.BlockStats("") // of all disks
		if err != nil {
			return err
		}
		l.Activity = fmt.Sprintf("run %d: %d reads, %d writes", id, did.RdReq, did.WrReq)
		l.XML, err = d.GetXMLDesc(0)
		return err
	})
	return l, err
}

func (g *guest) Start(ctx context.Context) error {
	return g.on(ctx, "start", func(d *libvirt.Domain) error {
		if err := off(d); err != nil {
			return err
		}
		return d.Create()
	})
}

func (g *guest) Destroy(ctx context.Context) error {
	return g.on(ctx, "destroy", func(d *libvirt.Domain) error {
		if err := up(d); err != nil {
			return err
		}
		return d.Destroy()
	})
}

func (g *guest) Undefine(ctx context.Context) error {
	return g.on(ctx, "undefine", func(d *libvirt.Domain) error {
		// libvirt would make a guest that runs transient: gone when it is off.
		if err := off(d); err != nil {
			return err
		}
		err := d.UndefineFlags(libvirt.DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.DOMAIN_UNDEFINE_KEEP_NVRAM)
		if errors.Is(err, libvirt.ERR_INVALID_ARG) { // a driver that has no NVRAM
			err = d.UndefineFlags(libvirt.DOMAIN_UNDEFINE_MANAGED_SAVE)
		}
		return err
	})
}

func (g *guest) Pause(ctx context.Context) error {
	return g.on(ctx, "pause", func(d *libvirt.Domain) error {
		if err := up(d); err != nil {
			return err
		}
		return d.Suspend()
	})
}

func (g *guest) Resume(ctx context.Context) error {
	return g.on(ctx, "resume", func(d *libvirt.Domain) error {
		if err := up(d); err != nil {
			return err
		}
		return d.Resume()
	})
}

// up and off ask first what the drivers refuse by errors of many codes.
func up(d *libvirt.Domain) error {
	active, err := d.IsActive()
	if err == nil && !active {
		err = hypervisor.ErrNotRunning
	}
	return err
}

func off(d *libvirt.Domain) error {
	active, err := d.IsActive()
	if err == nil && active {
		err = hypervisor.ErrRunning
	}
	return err
}

// errNoLoop is a mistake of this program, not of its user.
var errNoLoop = fmt.Errorf("%w: nobody runs the event loop", hypervisor.ErrUnavailable)
