package userspace

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"cowhand/dmcore"
	"cowhand/dmcore/cowstore"
)

// exceptions is an exception store in use: what is handed over when one target
// takes the place of another on the same COW device.
//
// New exceptions are made in batches, each by a goroutine. A batch takes all that
// waits, so that many writers share the two syncs of a commit, and the next one
// copies and settles its data while this one's list is committed:
//
//	write ──missing──▶ queue ──▶ batch: allocate ─ copy ─ settle ──▶ commit ──▶ answers
//	write ──missing──▶   │                                             ▲
//	write ──missing──▶ queue ──▶ next batch: allocate ─ copy ─ settle ─┴▶ commit …
//
// Commits are in the order of allocation; seq is odd during one.
type exceptions struct {
	m     *Machine
	store *cowstore.Store
	shift uint                     // log2 of the chunk size in bytes
	valid atomic.Bool              // cleared before anything unsaved is overwritten
	seq   atomic.Uint64            // odd while a commit makes exceptions visible
	host  atomic.Pointer[snapshot] // the target that uses the store now

	mu      sync.Mutex
	queue   []*request
	copying bool      // a batch is not yet about to be committed; it takes the queue next
	batches int       // not answered yet
	last    *batch    // the last that is or was about to be committed; nil: all are
	idle    sync.Cond // broadcast when batches becomes 0

	buffers [][]byte // of the batch that copies, for each worker
}

// batch is requests that are served together.
type batch struct {
	requests []*request
	plan     planner
	err      error         // why it cannot be committed, or was not
	done     chan struct{} // closed when it was answered
}

func newExceptions(s *snapshot, store *cowstore.Store) *exceptions {
	e := &exceptions{
		m:     s.owner.m,
		store: store,
		shift: uint(bits.TrailingZeros64(uint64(store.ChunkSize().Bytes()))),
	}
	e.idle.L = &e.mu
	e.valid.Store(store.Valid())
	e.host.Store(s)
	return e
}

func (e *exceptions) chunk() int64 { return 1 << e.shift }

// request asks that the chunks of its spans get exceptions. With data it is a
// write to the snapshot, and has happened when wait returns nil; without, the
// origin is about to be overwritten.
type request struct {
	spans []span
	data  []byte // begins at byte base of the snapshot
	base  int64
	done  chan error
}

func (r *request) wait() error { return <-r.done }

// missing queues a request for those chunks of the spans that have no exception
// yet. It returns nil if there are none, or if the snapshot is past saving.
// What lies beyond length is no part of the snapshot.
func (e *exceptions) missing(length int64, spans []span) *request {
	if !e.valid.Load() {
		return nil
	}
	var r *request
	for _, sp := range spans {
		end := (min(sp.end, length) + e.chunk() - 1) >> e.shift
		for c := sp.off >> e.shift; c < end; {
			_, n, there := e.store.Run(uint64(c), uint64(end-c))
			next := c + int64(n)
			if !there {
				if r == nil {
					r = &request{done: make(chan error, 1)}
				}
				r.add(c<<e.shift, next<<e.shift)
			}
			c = next
		}
	}
	if r != nil {
		e.submit(r)
	}
	return r
}

// add adds a span, joining it to the last one if they touch.
func (r *request) add(off, end int64) {
	if n := len(r.spans); n > 0 && r.spans[n-1].end == off {
		r.spans[n-1].end = end
		return
	}
	r.spans = append(r.spans, span{off, end})
}

func (e *exceptions) submit(r *request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, r)
	if !e.copying {
		e.startLocked()
	}
}

func (e *exceptions) startLocked() {
	e.copying = true
	e.batches++
	go e.serve()
}

// rest waits until no batch runs.
func (e *exceptions) rest() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.batches > 0 {
		e.idle.Wait()
	}
}

// serve makes one batch of what waits and answers it.
func (e *exceptions) serve() {
	e.mu.Lock()
	before := e.last
	b := &batch{requests: e.queue, done: make(chan struct{})}
	e.queue = nil
	e.mu.Unlock()

	b.err = e.prepare(b, before)
	if before != nil {
		<-before.done
		if b.err == nil {
			b.err = before.err // it may rely on the chunks of that one
		}
	}
	e.mu.Lock()
	e.last = b
	if e.copying = false; len(e.queue) > 0 {
		e.startLocked()
	}
	e.mu.Unlock()

	e.commit(b)
	close(b.done)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.batches--; e.batches == 0 {
		e.last = nil
		e.idle.Broadcast()
	}
}

// prepare makes the data of a batch, durable.
func (e *exceptions) prepare(b, before *batch) error {
	if !e.valid.Load() {
		return dmcore.ErrIO
	}
	s := e.host.Load()
	b.plan = planner{e: e, length: s.length, new: planned{}}
	if before != nil {
		b.plan.before = before.plan.new
	}
	for _, r := range b.requests {
		if err := b.plan.add(r); err != nil {
			return err
		}
	}
	if err := e.copy(s, &b.plan); err != nil {
		return err
	}
	return e.store.Settle(b.plan.list)
}

// commit makes the exceptions of a batch, if nothing went wrong before, and
// answers its requests.
func (e *exceptions) commit(b *batch) {
	err := error(dmcore.ErrIO)
	if e.valid.Load() {
		if b.err == nil {
			b.err = e.commitList(b.plan.list)
		}
		err = b.err
		if err != nil && e.m.closing.Load() {
			// The devices below went away because the machine closes. That
			// says nothing against the snapshot; but then the origin must not
			// be overwritten either.
			for _, r := range b.requests {
				r.done <- err
			}
			return
		}
		if err != nil {
			e.invalidate()
		}
	}
	for _, r := range b.requests {
		if r.data != nil {
			r.done <- err
		} else {
			r.done <- nil // the origin goes on, whatever becomes of the snapshot
		}
	}
}

func (e *exceptions) commitList(list []cowstore.Exception) error {
	if len(list) == 0 {
		return nil
	}
	e.seq.Add(1)
	defer e.seq.Add(1)
	return e.store.Commit(list)
}

// invalidate gives the snapshot up, for ever. That it cannot be written to a
// broken COW device is no reason to fail the origin
// (drivers/md/dm-snap.c, __invalidate_snapshot).
func (e *exceptions) invalidate() {
	e.valid.Store(false)
	e.store.Invalidate()
	e.host.Load().owner.raise()
}
