package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cowhand/dmcore"
)

// openDevice is a device opened for a client.
type openDevice struct {
	handle
	host  *host
	key   dmcore.Dev
	info  dmcore.Info
	table dmcore.Table
	once  sync.Once
	err   error
}

// open opens the device for a client, once that is in the file.
func (h *host) open(ctx context.Context, name dmcore.Name, readOnly bool) (*openDevice, error) {
	hd, err := h.machine.open(name, readOnly)
	if err != nil {
		return nil, err
	}
	o := &openDevice{handle: hd, host: h}
	waiting, err := h.opened(ctx, o, name)
	if err != nil {
		return nil, errors.Join(err, hd.Close())
	}
	if waiting != nil {
		err = waiting.Close()
	}
	if err = errors.Join(err, h.save()); err != nil {
		return nil, errors.Join(fmt.Errorf("device %s: open: %w", name, err), o.Close())
	}
	return o, nil
}

// opened counts the client and returns what held the device open for it.
func (h *host) opened(ctx context.Context, o *openDevice, name dmcore.Name) (waiting handle, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return nil, fmt.Errorf("device %s: the engine is stopping: %w", name, dmcore.ErrUnavailable)
	}
	r, err := h.machine.Do(ctx, dmcore.Status, &dmcore.Request{Name: name})
	if err != nil {
		return nil, err
	}
	d := h.devices[r.Info.Dev.Dev()]
	if d == nil {
		return nil, fmt.Errorf("device %s: %w", name, dmcore.ErrNotFound)
	}
	o.info, o.table, o.key = r.Info, d.table, r.Info.Dev.Dev()
	d.opens++
	waiting, d.waiting = d.waiting, nil
	h.changed(d)
	return waiting, nil
}

// Close closes the device and has the file say so, soon: one that still calls
// it open delays a merge, and harms nothing.
func (o *openDevice) Close() error {
	o.once.Do(func() {
		o.err = o.handle.Close()
		o.host.closed(o)
	})
	return o.err
}

func (h *host) closed(o *openDevice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.devices[o.key]
	if d == nil {
		return
	}
	d.opens--
	h.changed(d)
	// The last close carries out a removal that was deferred.
	if _, err := h.machine.Do(context.Background(), dmcore.Status, address(d.info)); errors.Is(err, dmcore.ErrNotFound) {
		h.forget(address(d.info))
	}
	h.later()
}

// later has saveLater save.
func (h *host) later() {
	select {
	case h.dirty <- struct{}{}:
	default:
	}
}

// saveLater saves what closes changed until ctx is done.
func (h *host) saveLater(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.dirty:
			if err := h.save(); err != nil {
				h.log.Error("the closing of a device is not noted", "error", err)
			}
		}
	}
}

// awaitClients holds restored devices open whose clients may reconnect, and
// notes what was torn. Devices that were not restored are returned; those of
// them that were open stay in the file, for an engine that can restore them.
func (h *host) awaitClients(was []remembered) (missing []remembered, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range was {
		d := h.find(w)
		if d == nil {
			missing = append(missing, w)
			if w.Open {
				h.missing = append(h.missing, w)
			}
			continue
		}
		d.torn = d.torn || w.Torn
		if w.Open && d.waiting == nil {
			if d.waiting, err = h.machine.open(d.info.Name, true); err != nil {
				return nil, err
			}
		}
		h.changed(d)
	}
	return missing, nil
}

// find returns the live device that w remembers.
func (h *host) find(w remembered) *device {
	for _, d := range h.devices {
		if d.info.Live && w.is(d.info) {
			return d
		}
	}
	return nil
}

// is reports whether w remembers that device.
func (w remembered) is(info dmcore.Info) bool {
	return w.UUID == info.UUID && (w.UUID != "" || w.Name == info.Name)
}

// giveUpWaiting lets go of the devices whose clients have not come back, and
// names them.
func (h *host) giveUpWaiting() (names []dmcore.Name, err error) {
	h.mu.Lock()
	var waiting []handle
	for _, d := range h.devices {
		if d.waiting != nil {
			names = append(names, d.info.Name)
			waiting = append(waiting, d.waiting)
			d.waiting = nil
			h.changed(d)
		}
	}
	h.later()
	h.mu.Unlock()
	var errs []error
	for _, w := range waiting {
		errs = append(errs, w.Close())
	}
	return names, errors.Join(errs...)
}

// freeze has the file stay as it is from now on.
func (h *host) freeze() error {
	err := h.save()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.quiet = true
	return err
}

// stop has nothing opened any more, or, unless forced, refuses because
// something is open.
func (h *host) stop(force bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	open := h.openDevices()
	if len(open) == 0 || force {
		h.stopping = true
		return nil
	}
	var names []string
	for _, o := range open {
		s := string(o.Name)
		if o.Waiting {
			s += " (its client may reconnect)"
		}
		names = append(names, s)
	}
	const most = 5
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return fmt.Errorf("engine: open: %s: %w", strings.Join(names, ", "), dmcore.ErrBusy)
}

// openDevices lists the devices in use, by name. The caller holds mu.
func (h *host) openDevices() []OpenDevice {
	var open []OpenDevice
	for _, d := range h.devices {
		if d.opens > 0 || d.waiting != nil {
			open = append(open, OpenDevice{d.info.Name, d.opens, d.waiting != nil})
		}
	}
	slices.SortFunc(open, func(a, b OpenDevice) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return open
}

// info tells about the devices.
func (h *host) info() Info {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := Info{Devices: len(h.devices), Open: h.openDevices()}
	for _, d := range h.devices {
		if d.torn {
			i.Torn = append(i.Torn, d.info)
		}
	}
	slices.SortFunc(i.Torn, func(a, b dmcore.Info) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return i
}
