package kernel

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

func (c *Control) version() (*dmcore.Reply, error) {
	a, err := c.ask(&call{num: unix.DM_VERSION})
	if err != nil {
		return nil, err
	}
	v := a.head.Version
	return &dmcore.Reply{Version: fmt.Sprintf("kernel %d.%d.%d", v[0], v[1], v[2])}, nil
}

// simple carries out a call whose answer is the state of the device.
func (c *Control) simple(q *call) (*dmcore.Reply, error) {
	a, err := c.ask(q)
	if err != nil {
		return nil, err
	}
	return &dmcore.Reply{Info: a.info()}, nil
}

// list asks each device for its state: a list says nothing of tables and open
// counts. That is one short ioctl a device, about a microsecond.
func (c *Control) list() (*dmcore.Reply, error) {
	a, err := c.ask(&call{num: unix.DM_LIST_DEVICES, answers: true})
	if err != nil {
		return nil, err
	}
	devs, err := a.devices()
	if err != nil {
		return nil, err
	}
	r := &dmcore.Reply{Devices: make([]dmcore.Info, 0, len(devs))}
	for _, dev := range devs {
		a, err := c.ask(&call{num: unix.DM_DEV_STATUS, dev: dev})
		switch {
		case err == unix.ENXIO: // removed meanwhile
		case err != nil:
			return nil, err
		default:
			r.Devices = append(r.Devices, a.info())
		}
	}
	slices.SortFunc(r.Devices, func(a, b dmcore.Info) int { return cmp.Compare(a.Name, b.Name) })
	return r, nil
}

func (c *Control) create(req *dmcore.Request) (*dmcore.Reply, error) {
	name, err := mangle(req.Name)
	if err != nil {
		return nil, err
	}
	q, err := about(&dmcore.Request{UUID: req.UUID, Name: req.Name})
	if err != nil {
		return nil, err
	}
	q.name = name
	create := q.as(unix.DM_DEV_CREATE, 0)
	if req.Minor == nil {
		return c.simple(create)
	}
	create.flags |= flagPersistentDev
	create.dev = unix.Mkdev(0, *req.Minor)
	r, err := c.simple(create)
	if err == unix.EBUSY { // drivers/md/dm.c, specific_minor
		return nil, fmt.Errorf("its name, or minor number %d: %w", *req.Minor, dmcore.ErrExists)
	}
	return r, err
}

// load tells the kernel to wipe its copies: tables of other programs carry keys.
func (c *Control) load(q call, req *dmcore.Request) (*dmcore.Reply, error) {
	if err := req.Table.Validate(); err != nil {
		return nil, err
	}
	for _, d := range req.Table.Devs() {
		if u, ok := d.UUID(); ok {
			return nil, fmt.Errorf("table: device %s: no number stands for it yet: %w", u, dmcore.ErrInvalid)
		}
	}
	if err := checkAreas(req.Table, deviceSize, c.comingSize); err != nil {
		return nil, err
	}
	load := q.as(unix.DM_TABLE_LOAD, flagSecureData)
	if req.ReadOnly {
		load.flags |= flagReadOnly
	}
	var err error
	if load.data, err = appendTable(nil, req.Table); err != nil {
		return nil, err
	}
	load.targets = len(req.Table)
	r, err := c.simple(load)
	switch err {
	case unix.ENXIO: // the device itself, or one below
		if _, err := c.simple(q.as(unix.DM_DEV_STATUS, 0)); err == nil {
			return nil, errBelow
		}
	case unix.EINVAL:
		if kind := c.unknownTarget(req.Table); kind != "" {
			return nil, fmt.Errorf("target %q: %w: the kernel has no module dm-%s", kind, dmcore.ErrNotSupported, kind)
		}
	}
	return r, err
}

// unknownTarget looks for the target that a load failed for. The load asked for
// its module already (drivers/md/dm-target.c, dm_get_target_type).
func (c *Control) unknownTarget(t dmcore.Table) string {
	a, err := c.ask(&call{num: unix.DM_LIST_VERSIONS, answers: true})
	if err != nil {
		return ""
	}
	known, err := a.targetNames()
	if err != nil {
		return ""
	}
	for _, s := range t {
		if !slices.Contains(known, s.Target.Type()) {
			return s.Target.Type()
		}
	}
	return ""
}

func (c *Control) suspend(ctx context.Context, q call, req *dmcore.Request) (*dmcore.Reply, error) {
	s := q.as(unix.DM_DEV_SUSPEND, flagSuspend)
	if req.NoFlush {
		s.flags |= flagNoFlush
	}
	if req.SkipLockFS {
		s.flags |= flagSkipLockFS
	}
	a, err := c.askPatiently(ctx, s)
	if err != nil {
		return nil, err
	}
	return &dmcore.Reply{Info: a.info()}, nil
}

func (c *Control) resume(ctx context.Context, q call) (*dmcore.Reply, error) {
	s, err := c.see(q, true)
	if err != nil {
		return nil, err
	}
	a, err := c.send(s.flags(), []touch{s.touch()}, func(event uint32) (*answer, error) {
		r := q.as(unix.DM_DEV_SUSPEND, 0)
		r.event = event
		return c.askPatiently(ctx, r)
	})
	if err != nil {
		return nil, err
	}
	return &dmcore.Reply{Info: a.info()}, nil
}

// rename gives the new name to the kernel's device of the old name: it finds
// that by no other (drivers/md/dm-ioctl.c, dm_hash_rename).
func (c *Control) rename(ctx context.Context, q call, req *dmcore.Request) (*dmcore.Reply, error) {
	to, flags := string(req.NewUUID), uint32(flagUUID)
	if req.NewUUID == "" {
		var err error
		if to, err = mangle(req.NewName); err != nil {
			return nil, err
		}
		flags = 0
	} else if req.NewName != "" {
		return nil, fmt.Errorf("a new name and a new uuid at once: %w", dmcore.ErrInvalid)
	}
	s, err := c.see(q, false)
	if err != nil {
		return nil, err
	}
	was, is := s.touch(), s.touch()
	if flags == 0 {
		is.name = to
	}
	_, err = c.send(s.flags(), []touch{was, is}, func(event uint32) (*answer, error) {
		return c.ask(&call{num: unix.DM_DEV_RENAME, name: was.name, flags: flags, event: event, data: append([]byte(to), 0)})
	})
	if err != nil {
		return nil, err
	}
	// The answer has the old name, and nothing of an inactive table.
	return c.simple(&call{num: unix.DM_DEV_STATUS, name: is.name})
}

// describe asks for what the tables of a device say.
func (c *Control) describe(cmd dmcore.Command, q call, req *dmcore.Request) (*dmcore.Reply, error) {
	d := q.as(unix.DM_TABLE_STATUS, 0)
	switch cmd {
	case dmcore.Deps:
		d.num = unix.DM_TABLE_DEPS
	case dmcore.TableOf:
		d.flags = flagStatusTable | flagNoFlush | flagSecureData
	case dmcore.TargetStatusOf:
		if req.NoFlush {
			d.flags = flagNoFlush
		}
	}
	if req.Inactive {
		d.flags |= flagQueryInactive
	}
	d.answers = true
	a, err := c.ask(d)
	if err != nil {
		return nil, err
	}
	r := &dmcore.Reply{Info: a.info()}
	if cmd == dmcore.Deps {
		r.Devs, err = a.deps()
		return r, err
	}
	r.Targets, err = a.segments()
	if err == nil && cmd == dmcore.TableOf {
		r.Table, r.Targets = table(r.Targets), nil
		clear(a.data)
		if isFailedThin(r.Table) {
			err = c.failedThin(d, r.Table)
		}
	}
	return r, err
}

func isFailedThin(t dmcore.Table) bool {
	return len(t) == 1 && t[0].Target == dmcore.Target(dmcore.Other{Kind: dmcore.FailedThin{}.Type(), Args: dmcore.FailedThin{}.Params()})
}

// failedThin asks what a thin device stands on whose table does not tell.
func (c *Control) failedThin(d *call, t dmcore.Table) error {
	deps := *d
	deps.num, deps.flags = unix.DM_TABLE_DEPS, d.flags&flagQueryInactive
	a, err := c.ask(&deps)
	if err != nil {
		return err
	}
	devs, err := a.deps()
	var failed dmcore.FailedThin
	copy(failed.On[:], devs)
	t[0].Target = failed
	return err
}

// table reads a table as the kernel prints it: devices by number, so that no
// argument is quoted.
func table(lines []dmcore.TargetStatus) dmcore.Table {
	var t dmcore.Table
	for _, l := range lines {
		target, err := dmcore.ParseTarget(l.Type, strings.Fields(l.Params))
		if err != nil {
			target = dmcore.Other{Kind: l.Type, Args: l.Params}
		}
		t = append(t, dmcore.Segment{Start: l.Start, Length: l.Length, Target: target})
	}
	return t
}

func (c *Control) message(q call, req *dmcore.Request) (*dmcore.Reply, error) {
	if strings.ContainsRune(req.Text, 0) {
		return nil, fmt.Errorf("message: has a NUL: %w", dmcore.ErrInvalid)
	}
	m := q.as(unix.DM_TARGET_MSG, flagSecureData)
	m.data = binary.NativeEndian.AppendUint64(nil, uint64(req.Sector))
	m.data = append(append(m.data, req.Text...), 0)
	m.answers = true
	a, err := c.ask(m)
	if err != nil {
		return nil, err
	}
	r := &dmcore.Reply{Info: a.info()}
	if a.head.Flags&flagDataOut != 0 {
		var ok bool
		if r.Text, ok = text(a.data); !ok {
			return nil, malformed("text", 0)
		}
	}
	return r, nil
}
