package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cowhand/dmcore"
)

// owner is on whose behalf commands are carried out: a connection, or a call of
// Restore or Repair. Its fields are under host.mu.
type owner struct {
	suspended int
	ended     bool
	// first and none are called when the owner suspends a device and had none
	// suspended, and when the last one is suspended no more. They may be nil.
	first, none func()
}

// own notes that own suspended d, last of all who did.
func (h *host) own(d *device, own *owner) {
	if d.owner == own {
		return
	}
	h.disown(d)
	h.suspends++
	d.owner, d.order = own, h.suspends
	if own.suspended++; own.suspended == 1 && own.first != nil {
		own.first()
	}
}

func (h *host) disown(d *device) {
	own := d.owner
	if own == nil {
		return
	}
	d.owner = nil
	if own.suspended--; own.suspended == 0 && own.none != nil {
		own.none()
	}
}

// left returns the devices that own left suspended, the last suspended first.
func (h *host) left(own *owner) []dmcore.Info {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ds []*device
	for _, d := range h.devices {
		if d.owner == own {
			ds = append(ds, d)
		}
	}
	slices.SortFunc(ds, func(a, b *device) int { return int(int64(b.order) - int64(a.order)) })
	infos := make([]dmcore.Info, len(ds))
	for i, d := range ds {
		infos[i] = d.info
	}
	return infos
}

// end says that own does nothing more, and leaves nothing suspended that it
// suspended: see the package comment.
func (h *host) end(ctx context.Context, own *owner) error {
	var err error
	if infos := h.left(own); len(infos) > 0 && h.repair != nil {
		err = h.tryRepair(ctx, own, infos)
	}
	h.mu.Lock()
	own.ended = true
	h.mu.Unlock()
	return errors.Join(err, h.settle(ctx, own))
}

// tryRepair gives Repair its time and no more.
func (h *host) tryRepair(ctx context.Context, own *owner, infos []dmcore.Info) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), h.limit,
		fmt.Errorf("repair takes longer than %v: %w", h.limit, context.DeadlineExceeded))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- h.repair(ctx, &bound{h, own, ctx}, infos) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settle resumes what own left suspended with the tables that were live, after
// dropping those that were not.
func (h *host) settle(ctx context.Context, own *owner) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.limit)
	defer cancel()
	infos := h.left(own)
	var errs []error
	for _, info := range infos {
		if err := h.drop(ctx, info); err != nil {
			errs = append(errs, err)
		}
	}
	for _, info := range infos {
		if _, err := h.machine.Do(ctx, dmcore.Resume, address(info)); err != nil && !errors.Is(err, dmcore.ErrNotFound) {
			errs = append(errs, err)
		}
		if _, _, err := h.note(ctx, own, dmcore.Resume, address(info)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, h.save())...)
}

// drop empties the inactive slot of a device and notes what that may have torn.
func (h *host) drop(ctx context.Context, info dmcore.Info) error {
	r, err := h.machine.Do(ctx, dmcore.Status, address(info))
	switch {
	case errors.Is(err, dmcore.ErrNotFound):
		return nil
	case err != nil:
		return err
	case !r.Info.Inactive:
		return nil
	}
	h.mu.Lock()
	if d := h.devices[info.Dev.Dev()]; d != nil {
		d.torn = true
		h.changed(d)
	}
	h.mu.Unlock()
	h.log.Error("a client left this device suspended; its new table is dropped", "device", string(info.Name))
	_, err = h.machine.Do(ctx, dmcore.Clear, address(info))
	return err
}

// address names a device by what does not change.
func address(info dmcore.Info) *dmcore.Request {
	if info.UUID != "" {
		return &dmcore.Request{UUID: info.UUID}
	}
	return &dmcore.Request{Name: info.Name}
}

// bound is the host as a Control, for own and until ctx ends.
type bound struct {
	host *host
	own  *owner
	ctx  context.Context
}

// Do carries out a command.
func (b *bound) Do(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
	if b.ctx.Err() != nil {
		return nil, &dmcore.Error{Cmd: cmd, Name: req.Name, Err: fmt.Errorf("%w: %w", dmcore.ErrUnavailable, context.Cause(b.ctx))}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(b.ctx, func() { cancel(context.Cause(b.ctx)) })()
	return b.host.do(ctx, b.own, cmd, req)
}

// limitTimer calls f when an owner has had devices suspended for d without a
// pause. Its methods are called under host.mu.
type limitTimer struct {
	d     time.Duration
	f     func()
	timer *time.Timer
	since time.Time
}

// first starts the time; it is the first of an owner.
func (l *limitTimer) first() {
	l.since = time.Now()
	l.timer = time.AfterFunc(l.d, l.f)
}

// none stops it; it is the none of an owner.
func (l *limitTimer) none() { l.timer.Stop() }

// over reports whether f was not called for a time that has just ended.
func (l *limitTimer) over(own *owner) bool {
	return own.suspended > 0 && time.Since(l.since) >= l.d
}
