package userspace

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cowhand/dmcore"
)

// lock takes the device for a command that changes it.
func (d *device) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case d.ctl <- struct{}{}:
		return func() { <-d.ctl }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (d *device) locked(ctx context.Context, f func() (*dmcore.Reply, error)) (*dmcore.Reply, error) {
	unlock, err := d.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return f()
}

func (d *device) reply() (*dmcore.Reply, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.removed {
		return nil, dmcore.ErrNotFound
	}
	return &dmcore.Reply{Info: d.info()}, nil
}

// setInactive puts t into the inactive slot and returns what was there.
func (d *device) setInactive(t *table) (old *table, err error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.removed {
		return nil, dmcore.ErrNotFound
	}
	old, d.inactive = d.inactive, t
	return old, nil
}

func (d *device) load(req *dmcore.Request) (*dmcore.Reply, error) {
	if err := d.mayReplace(req.Table); err != nil {
		return nil, err
	}
	t, err := d.m.construct(d, req.Table, req.ReadOnly)
	if err != nil {
		return nil, err
	}
	old, err := d.setInactive(t)
	if err != nil {
		return nil, errors.Join(err, t.destroy())
	}
	if old != nil {
		if err := old.destroy(); err != nil {
			return nil, err
		}
	}
	return d.reply()
}

// mayReplace refuses tables without a pool for a device that is one
// (drivers/md/dm-ioctl.c, table_load: the error target may take any place).
func (d *device) mayReplace(spec dmcore.Table) error {
	live := d.live.Load()
	if live == nil || !holdsPool(live.spec()) || holdsPool(spec) {
		return nil
	}
	if len(spec) == 1 {
		if _, ok := spec[0].Target.(dmcore.Failing); ok {
			return nil
		}
	}
	return fmt.Errorf("a thin pool is replaced by a thin pool only: %w", dmcore.ErrInvalid)
}

func (d *device) clear() (*dmcore.Reply, error) {
	old, err := d.setInactive(nil)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := old.destroy(); err != nil {
			return nil, err
		}
	}
	return d.reply()
}

func (d *device) suspend(ctx context.Context, noflush bool) (*dmcore.Reply, error) {
	if !d.isSuspended() {
		if err := d.quiesce(ctx, noflush); err != nil {
			return nil, err
		}
	}
	return d.reply()
}

// quiesce is the way into suspension: the targets stop their own work, I/O in
// flight ends, what follows queues.
func (d *device) quiesce(ctx context.Context, noflush bool) error {
	t := d.live.Load()
	if t != nil {
		if err := t.presuspend(ctx, noflush); err != nil {
			return err
		}
	}
	if err := d.gate.close(ctx); err != nil {
		if t != nil {
			t.presuspendUndo(len(t.segs))
		}
		return err
	}
	if t != nil {
		t.postsuspend()
	}
	d.setSuspended(true)
	return nil
}

func (d *device) setSuspended(v bool) {
	d.m.mu.Lock()
	d.suspended = v
	d.m.mu.Unlock()
}

// resume follows do_resume of drivers/md/dm-ioctl.c: the inactive table, if
// there is one, becomes live while the device is suspended; then the targets
// resume, and may refuse; then I/O flows. A refusal leaves the device suspended
// with the new table.
func (d *device) resume(ctx context.Context, noflush bool) (*dmcore.Reply, error) {
	d.m.mu.Lock()
	next, suspended := d.inactive, d.suspended
	d.m.mu.Unlock()
	if next == nil && d.live.Load() == nil {
		return nil, fmt.Errorf("no table: %w", dmcore.ErrInvalid)
	}
	if next == nil && !suspended {
		return d.reply()
	}
	if !suspended {
		if err := d.quiesce(ctx, noflush); err != nil {
			return nil, err
		}
	}
	var old *table
	if next != nil {
		d.m.mu.Lock()
		old = d.live.Swap(next)
		d.inactive = nil
		d.m.mu.Unlock()
	}
	err := d.live.Load().resume()
	if err == nil {
		d.setSuspended(false)
		d.gate.reopen()
	}
	if old != nil {
		err = errors.Join(err, old.destroy())
	}
	if err != nil {
		return nil, err
	}
	return d.reply()
}

// teardown takes a device apart that is out of the registry and that nothing
// uses. The caller holds ctl.
func (d *device) teardown() error {
	var errs []error
	live := d.live.Load()
	if live != nil {
		errs = append(errs, live.presuspend(context.Background(), true))
	}
	d.gate.kill()
	d.gate.drain()
	if live != nil {
		live.postsuspend()
	}
	d.m.mu.Lock()
	inactive := d.inactive
	d.inactive = nil
	d.m.mu.Unlock()
	if inactive != nil {
		errs = append(errs, inactive.destroy())
	}
	if live != nil {
		errs = append(errs, live.destroy())
	}
	return errors.Join(errs...)
}

// slot returns the state of the device and the table that a request asks for,
// nil if that slot is empty.
func (d *device) slot(req *dmcore.Request) (*dmcore.Reply, *table, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.removed {
		return nil, nil, dmcore.ErrNotFound
	}
	t := d.live.Load()
	if req.Inactive {
		t = d.inactive
	}
	return &dmcore.Reply{Info: d.info()}, t, nil
}

func (d *device) describe(cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
	r, t, err := d.slot(req)
	if err != nil || t == nil {
		return r, err
	}
	switch cmd {
	case dmcore.Deps:
		r.Devs = t.devs()
	case dmcore.TableOf:
		r.Table = t.spec()
	default:
		r.Targets = t.status()
	}
	return r, nil
}

// message knows the one message of the core that concerns us. Others are a
// target's.
func (d *device) message(req *dmcore.Request) (*dmcore.Reply, error) {
	if _, err := d.reply(); err != nil {
		return nil, err
	}
	if strings.EqualFold(strings.TrimSpace(req.Text), "@cancel_deferred_remove") {
		d.m.mu.Lock()
		d.deferred = false
		d.m.mu.Unlock()
		return d.reply()
	}
	t := d.live.Load()
	switch {
	case strings.TrimSpace(req.Text) == "":
		return nil, fmt.Errorf("empty message: %w", dmcore.ErrInvalid)
	case t == nil:
		return nil, fmt.Errorf("no live table: %w", dmcore.ErrInvalid)
	case req.Sector.Bytes() >= t.size:
		return nil, fmt.Errorf("sector %d is outside the device: %w", req.Sector, dmcore.ErrInvalid)
	}
	target := t.find(req.Sector.Bytes()).target
	if m, ok := target.(messenger); ok {
		if err := m.message(strings.Fields(req.Text)); err != nil {
			return nil, err
		}
		return d.reply()
	}
	kind := target.spec().Type()
	return nil, fmt.Errorf("target %s takes no messages: %w", kind, dmcore.ErrInvalid)
}

func (d *device) wait(ctx context.Context, req *dmcore.Request) (*dmcore.Reply, error) {
	for {
		d.m.mu.Lock()
		nr, event, removed := d.eventNr, d.event, d.removed
		d.m.mu.Unlock()
		if removed {
			return nil, dmcore.ErrNotFound
		}
		if nr != req.EventNr {
			return d.describe(dmcore.TargetStatusOf, req)
		}
		select {
		case <-event:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
