package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// handle is an open device of the machine.
type handle interface {
	blockdev.Device
	blockdev.Discarder
	blockdev.Zeroer
	blockdev.Mapper
}

// machine is what the engine needs of a userspace.Machine.
type machine interface {
	dmcore.Control
	open(name dmcore.Name, readOnly bool) (handle, error)
	Sync() error
	Close() error
}

// host is the machine together with what the engine knows about its devices
// and the machine does not: who left one suspended, which clients have one
// open, and what of that is in the file.
//
// Locks, outer first: saving, mu. mu is held for questions to the machine that
// do not wait (status, table), never over file access or I/O. It is taken after
// a command took effect, and what is noted is what the machine then says, so
// that of two commands at once the last one noted is right.
type host struct {
	machine machine
	repair  func(context.Context, dmcore.Control, []dmcore.Info) error
	limit   time.Duration // for repair
	log     *slog.Logger

	mu       sync.Mutex
	devices  map[dmcore.Dev]*device
	suspends uint64       // counts suspends, for their order
	changes  uint64       // counts what the file must tell
	quiet    bool         // the file stays as it is: restoring, or stopped
	stopping bool         // nothing is opened any more
	missing  []remembered // were open and could not be restored: a client may still wait for them

	saving sync.Mutex
	memory *memory
	saved  uint64        // the file has this many of changes
	dirty  chan struct{} // holds one token when a change awaits saveLater
}

// device is what the engine knows about one device.
type device struct {
	info    dmcore.Info
	table   dmcore.Table // live
	opens   int          // by NBD clients
	waiting handle       // holds the device open for a client that may reconnect
	owner   *owner       // who left it suspended
	order   uint64       // which suspend that was
	torn    bool         // see Info.Torn
	line    json.RawMessage
}

func newHost(m machine, c Config, mem *memory) *host {
	return &host{
		machine: m, repair: c.Repair, limit: c.RepairLimit, log: c.Log, memory: mem,
		devices: map[dmcore.Dev]*device{}, quiet: true, dirty: make(chan struct{}, 1),
	}
}

// changed says that the file must tell something else about d.
func (h *host) changed(d *device) {
	d.line = nil
	h.changes++
}

// do carries out a command for own and notes what it changed, in the file too
// before it returns. While own has devices suspended the file waits, so that
// the window is not spent on it; what is on disk decides until then.
func (h *host) do(ctx context.Context, own *owner, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
	if err := checkText(req); err != nil {
		return nil, &dmcore.Error{Cmd: cmd, Name: req.Name, Err: err}
	}
	if ctx.Err() != nil { // the machine may begin all the same
		return nil, &dmcore.Error{Cmd: cmd, Name: req.Name, Err: context.Cause(ctx)}
	}
	reply, err := h.machine.Do(ctx, cmd, req)
	switch cmd {
	case dmcore.Suspend, dmcore.Resume, dmcore.Create, dmcore.Rename, dmcore.Remove:
	default:
		return reply, err
	}
	if req.UUID == "" && req.Name == "" {
		return reply, err // refused: it is about no device
	}
	// A command that failed may have come half-way.
	open, late, noteErr := h.note(ctx, own, cmd, req)
	if noteErr == nil && late {
		noteErr = h.settle(ctx, own)
	}
	if noteErr == nil && !open {
		noteErr = h.save()
	}
	switch {
	case noteErr == nil:
		return reply, err
	case err != nil:
		return nil, errors.Join(err, noteErr)
	default:
		return nil, &dmcore.Error{Cmd: cmd, Name: reply.Info.Name, Err: fmt.Errorf("done, but not noted: %w", noteErr)}
	}
}

// note asks the machine how the device of a request is after it and remembers
// it. open says that own has devices suspended, late that it has ended and must
// not have.
func (h *host) note(ctx context.Context, own *owner, cmd dmcore.Command, req *dmcore.Request) (open, late bool, err error) {
	// The command is done: its being cancelled must not hide that.
	ctx = context.WithoutCancel(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	info, table, err := h.ask(ctx, cmd, req)
	if errors.Is(err, dmcore.ErrNotFound) {
		h.forget(req)
		return own.suspended > 0, false, nil
	}
	if err != nil {
		return false, false, err
	}
	d := h.devices[info.Dev.Dev()]
	if d == nil {
		d = &device{}
		h.devices[info.Dev.Dev()] = d
	}
	mapped := !table.Equal(d.table)
	if mapped || info.Live != d.info.Live || info.Name != d.info.Name || info.UUID != d.info.UUID || info.ReadOnly != d.info.ReadOnly {
		h.changed(d)
	}
	if mapped {
		d.torn = false
	}
	d.info, d.table = info, table
	if info.Live && len(h.missing) > 0 {
		h.missing = slices.DeleteFunc(h.missing, func(w remembered) bool { return w.is(info) })
	}
	switch {
	case !info.Suspended:
		h.disown(d)
	case cmd == dmcore.Suspend:
		h.own(d, own)
	}
	return own.suspended > 0, own.ended && d.owner == own, nil
}

// ask returns the state and the live table of a request's device.
func (h *host) ask(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (dmcore.Info, dmcore.Table, error) {
	by := &dmcore.Request{UUID: req.UUID}
	if req.UUID == "" {
		by.Name = req.Name
	}
	r, err := h.machine.Do(ctx, dmcore.TableOf, by)
	if cmd == dmcore.Rename && by.UUID == "" && errors.Is(err, dmcore.ErrNotFound) {
		by.Name = req.NewName
		r, err = h.machine.Do(ctx, dmcore.TableOf, by)
	}
	if err != nil {
		return dmcore.Info{}, nil, err
	}
	return r.Info, r.Table, nil
}

// forget drops what is known about a device that is no more.
func (h *host) forget(req *dmcore.Request) {
	for key, d := range h.devices {
		if req.UUID != "" && d.info.UUID == req.UUID || req.UUID == "" && d.info.Name == req.Name {
			h.disown(d)
			delete(h.devices, key)
			h.changed(d)
		}
	}
}
