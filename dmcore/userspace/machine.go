package userspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// version is what the Version command answers.
const version = "userspace 1.0"

// Opener opens a device from outside the machine: a path or "8:16". The
// machine opens each reference once, shares it between tables and closes it
// when no table uses it.
type Opener func(ref dmcore.Dev) (blockdev.Device, error)

// Machine is a device mapper in this process. It is a [dmcore.Control]; its
// devices are opened for I/O with [Machine.Open]. All methods are safe for
// concurrent use.
type Machine struct {
	open    Opener
	opening sync.Mutex // held while open or close of a backing runs
	closing atomic.Bool
	stopped chan struct{} // closed by Close
	origins origins
	pools   pools

	mergeBatch int64 // bytes a merge copies before it syncs

	mu        sync.Mutex
	byName    map[dmcore.Name]*device
	byUUID    map[dmcore.UUID]*device
	byMinor   map[uint32]*device
	nextMinor uint32
	backings  map[dmcore.Dev]*backing
}

// New returns a machine without devices.
func New(open Opener) *Machine {
	return &Machine{
		open:    open,
		stopped: make(chan struct{}),

		mergeBatch: defaultMergeBatch,

		byName:   map[dmcore.Name]*device{},
		byUUID:   map[dmcore.UUID]*device{},
		byMinor:  map[uint32]*device{},
		backings: map[dmcore.Dev]*backing{},
	}
}

// Do carries out a command; it is the method of [dmcore.Control].
func (m *Machine) Do(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
	reply, err := m.do(ctx, cmd, req)
	if err != nil {
		name := req.Name
		if req.UUID != "" {
			name = dmcore.Name(req.UUID)
		}
		return nil, &dmcore.Error{Cmd: cmd, Name: name, Err: err}
	}
	return reply, nil
}

func (m *Machine) do(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
	if m.closing.Load() {
		return nil, dmcore.ErrUnavailable
	}
	switch cmd {
	case dmcore.Version:
		return &dmcore.Reply{Version: version}, nil
	case dmcore.List:
		return m.list(), nil
	case dmcore.Create:
		return m.create(req)
	case dmcore.Settle: // devices are reached through Open and have no names elsewhere
		return &dmcore.Reply{}, nil
	}
	d, err := m.lookup(req)
	if err != nil {
		return nil, err
	}
	switch cmd {
	case dmcore.Remove:
		return m.remove(ctx, d, req)
	case dmcore.Rename:
		return m.rename(d, req)
	case dmcore.Load:
		return d.locked(ctx, func() (*dmcore.Reply, error) { return d.load(req) })
	case dmcore.Clear:
		return d.locked(ctx, d.clear)
	case dmcore.Suspend:
		return d.locked(ctx, func() (*dmcore.Reply, error) { return d.suspend(ctx, req.NoFlush) })
	case dmcore.Resume:
		return d.locked(ctx, func() (*dmcore.Reply, error) { return d.resume(ctx, req.NoFlush) })
	case dmcore.Status:
		return d.reply()
	case dmcore.Deps, dmcore.TableOf, dmcore.TargetStatusOf:
		return d.describe(cmd, req)
	case dmcore.Message:
		return d.locked(ctx, func() (*dmcore.Reply, error) { return d.message(req) })
	case dmcore.Wait:
		return d.wait(ctx, req)
	}
	return nil, fmt.Errorf("%s: %w", cmd, dmcore.ErrNotSupported)
}

// lookup finds the device a request names: by UUID if it has one.
func (m *Machine) lookup(req *dmcore.Request) (*device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var d *device
	switch {
	case req.UUID != "":
		d = m.byUUID[req.UUID]
	case req.Name != "":
		d = m.byName[req.Name]
	default:
		return nil, fmt.Errorf("neither name nor UUID: %w", dmcore.ErrInvalid)
	}
	if d == nil {
		return nil, dmcore.ErrNotFound
	}
	return d, nil
}

func (m *Machine) list() *dmcore.Reply {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &dmcore.Reply{}
	for _, d := range m.byMinor {
		r.Devices = append(r.Devices, d.info())
	}
	slices.SortFunc(r.Devices, func(a, b dmcore.Info) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// checkName applies the kernel's rules (drivers/md/dm-ioctl.c, check_name).
func checkName(n dmcore.Name) error {
	if n == "" || len(n) > dmcore.MaxName || strings.ContainsAny(string(n), "/\x00") {
		return fmt.Errorf("name %q: want 1 to %d bytes without a slash: %w", n, dmcore.MaxName, dmcore.ErrInvalid)
	}
	return nil
}

func checkUUID(u dmcore.UUID) error {
	if len(u) > dmcore.MaxUUID || strings.Contains(string(u), "\x00") {
		return fmt.Errorf("uuid has %d bytes, want at most %d without a NUL: %w", len(u), dmcore.MaxUUID, dmcore.ErrInvalid)
	}
	return nil
}

func (m *Machine) create(req *dmcore.Request) (*dmcore.Reply, error) {
	if err := checkName(req.Name); err != nil {
		return nil, err
	}
	if err := checkUUID(req.UUID); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing.Load() { // Close takes apart what it finds under mu
		return nil, dmcore.ErrUnavailable
	}
	if m.byName[req.Name] != nil || req.UUID != "" && m.byUUID[req.UUID] != nil {
		return nil, dmcore.ErrExists
	}
	d := &device{
		m: m, no: dmcore.DevNo{Minor: m.nextMinor},
		ctl:  make(chan struct{}, 1),
		name: req.Name, uuid: req.UUID,
		users: map[*device]int{}, event: make(chan struct{}),
	}
	m.nextMinor++
	m.byName[d.name] = d
	m.byMinor[d.no.Minor] = d
	if d.uuid != "" {
		m.byUUID[d.uuid] = d
	}
	return &dmcore.Reply{Info: d.info()}, nil
}

func (m *Machine) rename(d *device, req *dmcore.Request) (*dmcore.Reply, error) {
	if req.NewUUID != "" {
		return m.setUUID(d, req)
	}
	if err := checkName(req.NewName); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.removed {
		return nil, dmcore.ErrNotFound
	}
	if m.byName[req.NewName] != nil {
		return nil, fmt.Errorf("%s: %w", req.NewName, dmcore.ErrExists)
	}
	delete(m.byName, d.name)
	d.name = req.NewName
	m.byName[d.name] = d
	if d.live.Load() != nil {
		d.raiseLocked()
	}
	return &dmcore.Reply{Info: d.info()}, nil
}

// setUUID gives a UUID to a device that has none.
func (m *Machine) setUUID(d *device, req *dmcore.Request) (*dmcore.Reply, error) {
	if err := checkUUID(req.NewUUID); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case d.removed:
		return nil, dmcore.ErrNotFound
	case req.NewName != "":
		return nil, fmt.Errorf("a new name and a new uuid at once: %w", dmcore.ErrInvalid)
	case m.byUUID[req.NewUUID] != nil:
		return nil, fmt.Errorf("%s: %w", req.NewUUID, dmcore.ErrExists)
	case d.uuid != "":
		return nil, fmt.Errorf("has the uuid %s: %w", d.uuid, dmcore.ErrInvalid)
	}
	d.uuid = req.NewUUID
	m.byUUID[d.uuid] = d
	if d.live.Load() != nil {
		d.raiseLocked()
	}
	return &dmcore.Reply{Info: d.info()}, nil
}

func (m *Machine) remove(ctx context.Context, d *device, req *dmcore.Request) (*dmcore.Reply, error) {
	unlock, err := d.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	m.mu.Lock()
	if d.removed {
		m.mu.Unlock()
		return nil, dmcore.ErrNotFound
	}
	if n := d.openCount(); n > 0 {
		defer m.mu.Unlock()
		if !req.Deferred {
			return nil, fmt.Errorf("open count is %d: %w", n, dmcore.ErrBusy)
		}
		d.deferred = true
		return &dmcore.Reply{Info: d.info()}, nil
	}
	info := d.info()
	m.drop(d)
	m.mu.Unlock()
	return &dmcore.Reply{Info: info}, d.teardown()
}

// drop takes a device out of the registry. The caller holds mu and tears the
// device down afterwards.
func (m *Machine) drop(d *device) {
	delete(m.byName, d.name)
	delete(m.byMinor, d.no.Minor)
	if d.uuid != "" {
		delete(m.byUUID, d.uuid)
	}
	d.removed = true
	d.raiseLocked()
}

// dropIfDeferred drops a device whose removal was deferred until now; finish
// must follow if it did.
func (m *Machine) dropIfDeferred(d *device) bool {
	if !d.deferred || d.removed || d.openCount() > 0 {
		return false
	}
	m.drop(d)
	return true
}

// finish tears down a device that dropIfDeferred dropped.
func (m *Machine) finish(d *device) error {
	unlock, err := d.lock(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	return d.teardown()
}

// Close ends all I/O with an error, waits for what is in flight and takes all
// devices apart, whoever has them open. It leaves on disk what a removal of all
// devices would leave: merges go on when their tables are loaded again.
func (m *Machine) Close() error {
	if m.closing.Swap(true) {
		return nil
	}
	close(m.stopped)
	m.mu.Lock()
	var all []*device
	for _, d := range m.byMinor {
		all = append(all, d)
		m.drop(d)
	}
	m.mu.Unlock()
	for _, d := range all {
		d.gate.kill()
	}
	var errs []error
	for len(all) > 0 {
		all = slices.DeleteFunc(all, func(d *device) bool {
			m.mu.Lock()
			used := len(d.users) > 0
			m.mu.Unlock()
			if used {
				return false
			}
			errs = append(errs, m.finish(d))
			return true
		})
	}
	return errors.Join(errs...)
}

// Queued tells how much I/O waits for the named device to be resumed.
func (m *Machine) Queued(name dmcore.Name) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.byName[name]; d != nil {
		return int(d.gate.queued.Load())
	}
	return 0
}
