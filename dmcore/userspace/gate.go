package userspace

import (
	"context"
	"sync"
	"sync/atomic"

	"cowhand/dmcore"
)

// gateClosed is added to a gate's count while it is closed.
const gateClosed = 1 << 62

// gate is what I/O passes on its way into a device. Closing it waits until
// nothing is inside and makes what comes next wait outside:
//
//	open ──shut──▶ closing ──last one leaves──▶ closed ──reopen──▶ open
//	                                              │
//	                                              └──kill──▶ dead: enter fails
//
// Passing an open gate costs two atomic additions.
type gate struct {
	state  atomic.Int64 // how many are inside, plus gateClosed
	queued atomic.Int64 // how many wait outside

	mu      sync.Mutex
	shut    chan struct{} // closed when the gate opens; nil while open
	drained chan struct{} // closed when the last one left; nil when none waits
	dead    bool
}

// enter waits while the gate is closed. It reports false when the gate is dead;
// otherwise leave must follow.
func (g *gate) enter() bool {
	for g.state.Add(1) >= gateClosed {
		g.leave()
		g.mu.Lock()
		shut, dead := g.shut, g.dead
		g.mu.Unlock()
		if dead {
			return false
		}
		if shut != nil {
			g.queued.Add(1)
			<-shut
			g.queued.Add(-1)
		}
	}
	return true
}

func (g *gate) leave() {
	if g.state.Add(-1) == gateClosed {
		g.emptied()
	}
}

// emptied tells who waits for it that nothing is inside, unless that is no
// longer so: the gate may have been opened and closed again in between.
func (g *gate) emptied() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.drained != nil && g.state.Load() == gateClosed {
		close(g.drained)
		g.drained = nil
	}
}

// close shuts an open gate and waits until nothing is inside. If ctx ends
// first, the gate is open again and the error is ctx's.
func (g *gate) close(ctx context.Context) error {
	drained := make(chan struct{})
	g.mu.Lock()
	if g.dead {
		g.mu.Unlock()
		return dmcore.ErrNotFound
	}
	g.shut, g.drained = make(chan struct{}), drained
	inside := g.state.Add(gateClosed)
	g.mu.Unlock()
	if inside == gateClosed {
		return nil
	}
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		g.reopen()
		return context.Cause(ctx)
	}
}

// reopen lets in what waits.
func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return
	}
	g.state.Add(-gateClosed)
	close(g.shut)
	g.shut, g.drained = nil, nil
}

// kill makes enter fail for ever, also for those who wait. It waits for nobody;
// see drain.
func (g *gate) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return
	}
	g.dead = true
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
		return
	}
	g.state.Add(gateClosed)
}

// drain waits until nothing is inside a dead gate.
func (g *gate) drain() {
	drained := make(chan struct{})
	g.mu.Lock()
	g.drained = drained
	g.mu.Unlock()
	if g.state.Load() == gateClosed {
		return
	}
	<-drained
}
