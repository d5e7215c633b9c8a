package dmcore

import (
	"context"
	"errors"
)

// Client gives each command of a [Control] a typed method. It has no state.
type Client struct{ ctl Control }

// NewClient returns a client of ctl.
func NewClient(ctl Control) *Client { return &Client{ctl} }

// Control returns what the client speaks to.
func (c *Client) Control() Control { return c.ctl }

func (c *Client) info(ctx context.Context, cmd Command, req *Request) (Info, error) {
	r, err := c.ctl.Do(ctx, cmd, req)
	if err != nil {
		return Info{}, err
	}
	return r.Info, nil
}

// Version tells which device mapper answers.
func (c *Client) Version(ctx context.Context) (string, error) {
	r, err := c.ctl.Do(ctx, Version, &Request{})
	if err != nil {
		return "", err
	}
	return r.Version, nil
}

// List returns all devices.
func (c *Client) List(ctx context.Context) ([]Info, error) {
	r, err := c.ctl.Do(ctx, List, &Request{})
	if err != nil {
		return nil, err
	}
	return r.Devices, nil
}

// Create makes a device without a table. A name or UUID in use gives
// [ErrExists].
func (c *Client) Create(ctx context.Context, name Name, uuid UUID) (Info, error) {
	return c.info(ctx, Create, &Request{Name: name, UUID: uuid})
}

// CreateNumbered is Create of a device that is to have that minor number; one in
// use gives [ErrExists].
func (c *Client) CreateNumbered(ctx context.Context, name Name, uuid UUID, minor uint32) (Info, error) {
	return c.info(ctx, Create, &Request{Name: name, UUID: uuid, Minor: &minor})
}

// Find returns the device of that UUID; ok is false when there is none.
func (c *Client) Find(ctx context.Context, uuid UUID) (info Info, ok bool, err error) {
	info, err = c.info(ctx, Status, &Request{UUID: uuid})
	if errors.Is(err, ErrNotFound) {
		return Info{}, false, nil
	}
	return info, err == nil, err
}

// Info returns the state of the device of that name.
func (c *Client) Info(ctx context.Context, name Name) (Info, error) {
	return c.info(ctx, Status, &Request{Name: name})
}

// Load puts a table into the inactive slot.
func (c *Client) Load(ctx context.Context, uuid UUID, t Table, readOnly bool) error {
	_, err := c.info(ctx, Load, &Request{UUID: uuid, Table: t, ReadOnly: readOnly})
	return err
}

// Clear empties the inactive slot.
func (c *Client) Clear(ctx context.Context, uuid UUID) error {
	_, err := c.info(ctx, Clear, &Request{UUID: uuid})
	return err
}

// SuspendOptions say how much a suspend does beside queueing I/O. The zero
// value flushes and, where a file system is mounted, freezes it.
type SuspendOptions struct{ NoFlush, SkipLockFS bool }

// Suspend waits for I/O in flight and queues what follows.
func (c *Client) Suspend(ctx context.Context, uuid UUID, o SuspendOptions) error {
	_, err := c.info(ctx, Suspend, &Request{UUID: uuid, NoFlush: o.NoFlush, SkipLockFS: o.SkipLockFS})
	return err
}

// Resume makes the inactive table live, if there is one, and lets I/O flow.
func (c *Client) Resume(ctx context.Context, uuid UUID) (Info, error) {
	return c.info(ctx, Resume, &Request{UUID: uuid})
}

// Rename changes a device's name; its UUID stays.
func (c *Client) Rename(ctx context.Context, uuid UUID, to Name) error {
	_, err := c.info(ctx, Rename, &Request{UUID: uuid, NewName: to})
	return err
}

// SetUUID gives a UUID to a device that has none. It cannot be changed again.
func (c *Client) SetUUID(ctx context.Context, name Name, uuid UUID) error {
	_, err := c.info(ctx, Rename, &Request{Name: name, NewUUID: uuid})
	return err
}

// Remove removes a device that nothing uses; [ErrBusy] otherwise.
func (c *Client) Remove(ctx context.Context, uuid UUID) error {
	_, err := c.info(ctx, Remove, &Request{UUID: uuid})
	return err
}

// Table returns the live table, nil if there is none.
func (c *Client) Table(ctx context.Context, uuid UUID) (Table, error) {
	r, err := c.ctl.Do(ctx, TableOf, &Request{UUID: uuid})
	if err != nil {
		return nil, err
	}
	return r.Table, nil
}

// InactiveTable returns the table in the inactive slot, nil if there is none.
func (c *Client) InactiveTable(ctx context.Context, uuid UUID) (Table, error) {
	r, err := c.ctl.Do(ctx, TableOf, &Request{UUID: uuid, Inactive: true})
	if err != nil {
		return nil, err
	}
	return r.Table, nil
}

// Deps returns the devices the live table stands on.
func (c *Client) Deps(ctx context.Context, uuid UUID) ([]Dev, error) {
	r, err := c.ctl.Do(ctx, Deps, &Request{UUID: uuid})
	if err != nil {
		return nil, err
	}
	return r.Devs, nil
}

// Status returns the status of each target of the live table.
func (c *Client) Status(ctx context.Context, uuid UUID) ([]TargetStatus, error) {
	r, err := c.ctl.Do(ctx, TargetStatusOf, &Request{UUID: uuid, NoFlush: true})
	if err != nil {
		return nil, err
	}
	return r.Targets, nil
}

// SnapshotStatus returns the status of a device whose live table is one
// snapshot or snapshot-merge target; [ErrInvalid] for any other.
func (c *Client) SnapshotStatus(ctx context.Context, uuid UUID) (SnapshotStatus, error) {
	targets, err := c.Status(ctx, uuid)
	if err != nil {
		return SnapshotStatus{}, err
	}
	if len(targets) == 1 && (targets[0].Type == "snapshot" || targets[0].Type == "snapshot-merge") {
		return ParseSnapshotStatus(targets[0].Params)
	}
	return SnapshotStatus{}, &Error{TargetStatusOf, Name(uuid), ErrInvalid}
}

// Wait blocks until the device's event number differs from since.
func (c *Client) Wait(ctx context.Context, uuid UUID, since uint32) (Info, error) {
	return c.info(ctx, Wait, &Request{UUID: uuid, EventNr: since})
}

// Settle waits until /dev/mapper/NAME and /dev/VG/LV are there for every device
// that was resumed or renamed by this Control, and gone for what was removed.
// It is not for the time in which devices are suspended: who makes the names may
// read them. Where devices have no such names it does nothing.
func (c *Client) Settle(ctx context.Context) error {
	_, err := c.ctl.Do(ctx, Settle, &Request{})
	if errors.Is(err, ErrNotSupported) { // an engine from before there was such a command
		return nil
	}
	return err
}
