package lvm

import (
	"context"
	"errors"
	"sync"

	"cowhand/dmcore"
)

// Events waits for the events of devices. Its methods are for one goroutine.
type Events struct {
	// C has something in it when a device had an event, or is gone, since it was
	// last read.
	C  chan struct{}
	dm *dmcore.Client

	waits map[dmcore.UUID]*deviceWait
	all   sync.WaitGroup
}

type deviceWait struct {
	stop  context.CancelFunc
	ended chan struct{} // closed when nobody waits any more
}

// mostFollowed bounds the waits: on the kernel each has a file open, and all wake
// up at the event of any device. The devices beyond it are looked at by the clock.
const mostFollowed = 256

// Events returns one that follows no device yet. [Events.Close] ends it.
func (e *Engine) Events() *Events {
	return &Events{C: make(chan struct{}, 1), dm: e.DM, waits: map[dmcore.UUID]*deviceWait{}}
}

// Follow waits for the next events of these devices, and of no others. The numbers
// are of events that are known: one between the look that told them and now is not
// missed. A device that is followed already goes on from the event it had last.
func (v *Events) Follow(ctx context.Context, known map[dmcore.UUID]uint32) {
	for u, w := range v.waits {
		_, wanted := known[u]
		select {
		case <-w.ended:
		default:
			if wanted {
				continue
			}
			w.stop()
		}
		delete(v.waits, u)
	}
	for u, nr := range known {
		if v.waits[u] != nil || len(v.waits) >= mostFollowed {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		w := &deviceWait{stop: stop, ended: make(chan struct{})}
		v.waits[u] = w
		v.all.Go(func() {
			defer stop()
			defer close(w.ended)
			v.wait(ctx, u, nr)
		})
	}
}

// wait tells of each event of a device, until it is gone. A device mapper that
// cannot wait is no error: there is the clock.
func (v *Events) wait(ctx context.Context, u dmcore.UUID, nr uint32) {
	for {
		info, err := v.dm.Wait(ctx, u, nr)
		if ctx.Err() != nil || err != nil && !errors.Is(err, dmcore.ErrNotFound) {
			return
		}
		select {
		case v.C <- struct{}{}:
		default: // nobody has looked since the last one
		}
		if err != nil {
			return
		}
		nr = info.EventNr
	}
}

// Close ends all waits.
func (v *Events) Close() {
	for _, w := range v.waits {
		w.stop()
	}
	v.all.Wait()
}
