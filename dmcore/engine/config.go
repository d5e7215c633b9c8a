package engine

import (
	"context"
	"log/slog"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/userspace"
)

// Config says how an engine serves. RunDir and Open must be set.
type Config struct {
	RunDir   string // sockets, locks and memory of the engine
	NBDOwner int    // as root: the user that nbd.sock is given to, libvirt's QEMU user
	NBDUsers []int  // users admitted to nbd.sock beside root and our own
	Open     userspace.Opener

	// Restore makes the devices of the engine before this one, which died
	// or was stopped, before the sockets are there. was is nil for the first
	// engine since the machine booted, and empty but not nil after one that
	// had no devices. ctl ends when Restore returns. An error ends Serve and
	// leaves the memory as it was; what Restore leaves out without one is
	// remembered only if it was open. Nil makes the very same tables again
	// ([Rebuild]).
	Restore func(ctx context.Context, ctl dmcore.Control, was []Was) error

	// Repair brings devices back into order that a client left suspended:
	// it knows from the metadata which of their two tables is the right one.
	// ctl ends with ctx. See the package comment for what follows when it is
	// nil, fails, or leaves a device suspended.
	Repair func(ctx context.Context, ctl dmcore.Control, suspended []dmcore.Info) error

	SuspendLimit time.Duration // how long a connection may keep devices suspended; 0: 30 s
	RepairLimit  time.Duration // how long Repair may take; 0: 15 s
	OpenGrace    time.Duration // how long a restored device waits for the client that had it open; 0: 1 min

	Version string // told by [Client.Engine]
	Log     *slog.Logger
	Ready   func() // called once the sockets are there
}

// Was is a device of an engine that is no more. Table names other
// device-mapper devices by UUID where they have one (see [dmcore.UUID.Dev]),
// because their numbers died with the engine. Open says that a client had it
// open over NBD, and may be about to reconnect: a merge that had to wait for
// the close must wait on.
type Was struct {
	Info  dmcore.Info
	Table dmcore.Table
	Open  bool
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.SuspendLimit, 30*time.Second)
	set(&c.RepairLimit, 15*time.Second)
	set(&c.OpenGrace, time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Ready == nil {
		c.Ready = func() {}
	}
	return c
}

// Info is what an engine tells about itself.
type Info struct {
	PID     int           `json:"pid"`
	Version string        `json:"version"`
	Uptime  time.Duration `json:"uptime"`
	Devices int           `json:"devices"`
	Open    []OpenDevice  `json:"open,omitempty"`
	// Torn lists devices whose new table was dropped when a client left them
	// suspended and Repair could not settle them. A snapshot that the table
	// was to feed misses writes since.
	Torn []dmcore.Info `json:"torn,omitempty"`
}

// OpenDevice is a device in use over NBD. Waiting says that its client was cut
// off by the death of the engine before and has not come back yet.
type OpenDevice struct {
	Name    dmcore.Name `json:"name"`
	Clients int         `json:"clients"`
	Waiting bool        `json:"waiting,omitempty"`
}
