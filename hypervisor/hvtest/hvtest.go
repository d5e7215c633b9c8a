// Package hvtest is a hypervisor without guests in it, for tests: a host that
// keeps definitions and states, obeys libvirt's rules about them, and runs
// nothing.
//
//	Define   refuses a name or a UUID that belongs to another guest
//	Start    refuses a guest that is up, a disk that CheckDisk does not like,
//	         and a disk another guest that is up has open for writing
//	Shutdown does what OnShutdown says, for ever if that is what it says
//	Undefine refuses a guest that is up
//
// The host is in memory, or in a folder that outlives the process.
package hvtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"cowhand/hypervisor"
)

// Host is a fake [hypervisor.Hypervisor]. Its fields are set before it is
// used; its methods may be called from several goroutines.
type Host struct {
	// CheckDisk is asked about each disk of a guest that starts. Its error is
	// the start's.
	CheckDisk func(hypervisor.Disk) error

	// OnShutdown is what a running guest does when it is asked to power off:
	// it is off when the function returns nil. Nil means at once; [Hang] means
	// never.
	OnShutdown func(ctx context.Context, guest string) error

	// Fail is asked before each operation that changes something; its error
	// is the operation's.
	Fail func(op, guest string) error

	// OnTrace is told each line of the trace when it is written, so that a
	// test can put it beside the effects of others.
	OnTrace func(line string)

	// Libvirt is the version the host claims to be; zero means 11.3.0.
	Libvirt hypervisor.Version

	mu     sync.Mutex
	dir    string
	guests map[string]*record // by name
	trace  []string
}

var _ hypervisor.Hypervisor = (*Host)(nil)

// record is a guest as the host remembers it.
type record struct {
	name, uuid string
	xml        string // the persistent definition
	live       string // the one it runs on; empty if it is not up
	state      hypervisor.State
	ran        int // how often it was started or went on
}

// New returns a host without guests, in memory.
func New() *Host { return &Host{guests: map[string]*record{}} }

// Hang is an OnShutdown of a guest that does not listen.
func Hang(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// Trace returns what was done so far, a line each: "start web1". What was
// refused is not in it.
func (h *Host) Trace() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.trace)
}

// SetState puts a guest into a state as an accident would: a crash, a power
// cut, a pause after an I/O error, a managed save.
func (h *Host) SetState(name string, s hypervisor.State) error {
	return h.do("set state of", name, quiet, func() error {
		r := h.guests[name]
		if r == nil {
			return hypervisor.ErrNotFound
		}
		if s == hypervisor.Running && r.state != s {
			r.ran++
		}
		r.state = s
		if !s.Up() {
			r.live = ""
		} else if r.live == "" {
			r.live = r.xml
		}
		return h.save(r)
	})
}

// Operations that change something are traced and may be made to fail.
const quiet, traced = false, true

// do runs one operation on the loaded host, under its lock.
func (h *Host) do(op, guest string, trace bool, f func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.load()
	if err == nil && trace && h.Fail != nil {
		err = h.Fail(op, guest)
	}
	if err == nil {
		err = f()
	}
	if err != nil {
		return &hypervisor.Error{Op: op, Guest: guest, Err: err}
	}
	if trace {
		line := op + " " + guest
		h.trace = append(h.trace, line)
		if h.OnTrace != nil {
			h.OnTrace(line)
		}
	}
	return nil
}

// URI names the host by its folder, "cowhand-test:///" in memory.
func (h *Host) URI() string {
	if h.dir == "" {
		return "cowhand-test:///"
	}
	return "cowhand-test://" + h.dir
}

// Version returns the version the host claims to be.
func (h *Host) Version(context.Context) (hypervisor.Version, error) {
	if h.Libvirt == 0 {
		return 11_003_000, nil
	}
	return h.Libvirt, nil
}

// Close does nothing: the guests are none of this process.
func (h *Host) Close() error { return nil }

// Guests returns all guests by name.
func (h *Host) Guests(ctx context.Context) ([]hypervisor.Guest, error) {
	var all []hypervisor.Guest
	err := h.do("list", "", quiet, func() error {
		for _, name := range slices.Sorted(maps.Keys(h.guests)) {
			all = append(all, &guest{h, name, h.guests[name].uuid})
		}
		return ctx.Err()
	})
	return all, err
}

// Guest returns one guest.
func (h *Host) Guest(ctx context.Context, name string) (hypervisor.Guest, error) {
	var g hypervisor.Guest
	err := h.do("look up", name, quiet, func() error {
		r := h.guests[name]
		if r == nil {
			return hypervisor.ErrNotFound
		}
		g = &guest{h, name, r.uuid}
		return ctx.Err()
	})
	return g, err
}

// Define remembers a definition.
func (h *Host) Define(ctx context.Context, xml string) (hypervisor.Guest, error) {
	name, uuid, err := hypervisor.Identify(xml)
	if err == nil {
		_, err = hypervisor.Disks(xml)
	}
	if err == nil && uuid == "" {
		uuid = hypervisor.NewUUID(rand.Uint64)
		xml, err = hypervisor.RewriteXML(xml, hypervisor.Rewrite{UUID: uuid})
	}
	if err != nil {
		return nil, &hypervisor.Error{Op: "define", Guest: name, Err: err}
	}
	err = h.do("define", name, traced, func() error {
		for _, r := range h.guests {
			if (r.name == name) != (r.uuid == uuid) {
				return fmt.Errorf("guest %s has UUID %s: %w", r.name, r.uuid, hypervisor.ErrExists)
			}
		}
		r := h.guests[name]
		if r == nil {
			r = &record{name: name, uuid: uuid, state: hypervisor.ShutOff}
		}
		r.xml = xml
		h.guests[name] = r
		return h.save(r)
	})
	if err != nil {
		return nil, err
	}
	return &guest{h, name, uuid}, nil
}
