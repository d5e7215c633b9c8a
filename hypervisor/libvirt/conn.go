//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cowhand/hypervisor"

	"libvirt.org/go/libvirt"
)

// Conn is a connection to one hypervisor. Its methods may be called from
// several goroutines.
type Conn struct {
	uri      string
	c        *libvirt.Connect
	event    int // registration of the lifecycle event
	noEvents error
	runs     chan struct{} // closed when somebody runs the event loop
	started  func()
	lost     chan struct{} // closed when the daemon is gone
	lose     func()
	close    func() error

	mu      sync.Mutex
	waiting map[string]map[chan struct{}]bool // by UUID: who waits for a change of state
}

var _ hypervisor.Hypervisor = (*Conn)(nil)

// register gives libvirt its event loop. It has to precede the first
// connection of a process, and libvirt takes only one; so this one variable of
// the package mirrors a state of the library.
var register = sync.OnceValue(libvirt.EventRegisterDefaultImpl)

// Open connects to the hypervisor of that URI; the empty one lets libvirt
// choose (LIBVIRT_DEFAULT_URI, then what is installed). If libvirt or its
// daemon cannot be reached the error is [hypervisor.ErrUnavailable], if they
// refuse the caller [hypervisor.ErrNotAllowed]. When ctx ends first, the
// attempt is given up.
func Open(ctx context.Context, uri string) (*Conn, error) {
	if err := register(); err != nil {
		return nil, openError(uri, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, openError(uri, err)
	}
	type result struct {
		c   *libvirt.Connect
		err error
	}
	done := make(chan result, 1)
	go func() {
		// The library has no way to call this off.
		c, err := libvirt.NewConnect(uri)
		done <- result{c, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, openError(uri, r.err)
		}
		return newConn(uri, r.c)
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				r.c.Close()
			}
		}()
		return nil, openError(uri, ctx.Err())
	}
}

// keepalive is how a daemon that hangs is told from one that works: after five
// questions in as many times five seconds the connection is cut.
const keepaliveSeconds, keepaliveCount = 5, 5

func newConn(uri string, c *libvirt.Connect) (*Conn, error) {
	h := &Conn{uri: uri, c: c, runs: make(chan struct{}), lost: make(chan struct{}), waiting: map[string]map[chan struct{}]bool{}}
	h.started = sync.OnceFunc(func() { close(h.runs) })
	h.lose = sync.OnceFunc(func() { close(h.lost) })
	h.close = sync.OnceValue(h.disconnect)
	if u, err := c.GetURI(); err == nil {
		h.uri = u
	}
	h.event, h.noEvents = c.DomainEventLifecycleRegister(nil, h.lifecycle)
	// Drivers inside of the process (test:///) have no connection to lose.
	err := c.RegisterCloseCallback(func(*libvirt.Connect, libvirt.ConnectCloseReason) { h.lose() })
	if err == nil {
		err = c.SetKeepAlive(keepaliveSeconds, keepaliveCount)
	}
	if err != nil && !errors.Is(err, libvirt.ERR_NO_SUPPORT) {
		return nil, errors.Join(openError(uri, err), h.Close())
	}
	return h, nil
}

// Run runs libvirt's event loop until ctx ends, which is not an error. It may
// run for several connections of a process at once.
func (h *Conn) Run(ctx context.Context) error {
	h.started()
	// A timer that fires at once wakes the loop up to see that ctx ended.
	timer, err := libvirt.EventAddTimeout(-1, func(int) {})
	if err != nil {
		return h.wrap("run event loop", "", err)
	}
	stop := context.AfterFunc(ctx, func() { libvirt.EventUpdateTimeout(timer, 0) })
	defer stop()
	for err == nil && ctx.Err() == nil {
		err = libvirt.EventRunDefaultImpl()
	}
	err = errors.Join(err, libvirt.EventRemoveTimeout(timer))
	if err != nil {
		return h.wrap("run event loop", "", err)
	}
	return nil
}

// Close ends the connection.
func (h *Conn) Close() error { return h.close() }

func (h *Conn) disconnect() error {
	h.lose()
	var errs []error
	if h.noEvents == nil {
		errs = append(errs, h.c.DomainEventDeregister(h.event))
	}
	errs = append(errs, h.c.UnregisterCloseCallback())
	_, err := h.c.Close()
	errs = append(errs, err)
	for _, err := range errs {
		// A daemon that is gone has forgotten the registrations by itself.
		if err != nil && !errors.Is(err, libvirt.ERR_NO_SUPPORT) && !errors.Is(err, libvirt.ERR_INTERNAL_ERROR) && !errors.Is(err, libvirt.ERR_RPC) {
			return h.wrap("close", "", err)
		}
	}
	return nil
}

// URI is the URI as the hypervisor tells it.
func (h *Conn) URI() string { return h.uri }

// Version is that of libvirt on the side of the hypervisor.
func (h *Conn) Version(ctx context.Context) (hypervisor.Version, error) {
	if err := h.usable(ctx); err != nil {
		return 0, h.wrap("ask version", "", err)
	}
	v, err := h.c.GetLibVersion()
	if err != nil {
		return 0, h.wrap("ask version", "", err)
	}
	return hypervisor.Version(v), nil
}

// Guests returns all guests by name.
func (h *Conn) Guests(ctx context.Context) ([]hypervisor.Guest, error) {
	if err := h.usable(ctx); err != nil {
		return nil, h.wrap("list guests", "", err)
	}
	domains, err := h.c.ListAllDomains(0)
	if err != nil {
		return nil, h.wrap("list guests", "", err)
	}
	var all []hypervisor.Guest
	var errs []error
	for i := range domains {
		g, err := h.guest(&domains[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, g)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, h.wrap("list guests", "", err)
	}
	slices.SortFunc(all, func(a, b hypervisor.Guest) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// Guest returns one guest.
func (h *Conn) Guest(ctx context.Context, name string) (hypervisor.Guest, error) {
	if err := h.usable(ctx); err != nil {
		return nil, h.wrap("look up", name, err)
	}
	d, err := h.c.LookupDomainByName(name)
	if err != nil {
		return nil, h.wrap("look up", name, err)
	}
	g, err := h.guest(d)
	if err != nil {
		return nil, h.wrap("look up", name, err)
	}
	return g, nil
}

// usable is asked before each call: the library has no way to call one off, and
// must not be called on a connection that was closed.
func (h *Conn) usable(ctx context.Context) error {
	select {
	case <-h.lost:
		return errLost
	default:
		return ctx.Err()
	}
}

// guest takes what it needs of a domain and lets it go.
func (h *Conn) guest(d *libvirt.Domain) (*guest, error) {
	name, err := d.GetName()
	if err != nil {
		return nil, errors.Join(err, d.Free())
	}
	uuid, err := d.GetUUIDString()
	if err := errors.Join(err, d.Free()); err != nil {
		return nil, err
	}
	return &guest{h, name, strings.ToLower(uuid)}, nil
}

// Define makes a guest known.
func (h *Conn) Define(ctx context.Context, xml string) (hypervisor.Guest, error) {
	name, uuid, err := hypervisor.Identify(xml)
	if err == nil {
		err = h.usable(ctx)
	}
	if err != nil {
		return nil, h.wrap("define", name, err)
	}
	// libvirt refuses by an error that can mean many things, so ask before.
	if err := h.free(name, uuid); err != nil {
		return nil, h.wrap("define", name, err)
	}
	d, err := h.c.DomainDefineXMLFlags(xml, 0)
	if errors.Is(err, libvirt.ERR_NO_SUPPORT) {
		d, err = h.c.DomainDefineXML(xml)
	}
	if err != nil {
		return nil, h.wrap("define", name, err)
	}
	g, err := h.guest(d)
	if err != nil {
		return nil, h.wrap("define", name, err)
	}
	return g, nil
}

// free tells that name and UUID belong to no guest, or both to the same one.
func (h *Conn) free(name, uuid string) error {
	byName, err := h.find(h.c.LookupDomainByName(name))
	if err != nil || byName == nil && uuid == "" {
		return err
	}
	if uuid == "" {
		return fmt.Errorf("it has UUID %s: %w", byName.uuid, hypervisor.ErrExists)
	}
	byUUID, err := h.find(h.c.LookupDomainByUUIDString(uuid))
	switch {
	case err != nil:
		return err
	case byName != nil && byName.uuid != uuid:
		return fmt.Errorf("it has UUID %s: %w", byName.uuid, hypervisor.ErrExists)
	case byUUID != nil && byUUID.name != name:
		return fmt.Errorf("UUID %s is that of guest %s: %w", uuid, byUUID.name, hypervisor.ErrExists)
	}
	return nil
}

// find is the guest that a look-up gave, nil if it gave none.
func (h *Conn) find(d *libvirt.Domain, err error) (*guest, error) {
	if errors.Is(err, libvirt.ERR_NO_DOMAIN) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return h.guest(d)
}
