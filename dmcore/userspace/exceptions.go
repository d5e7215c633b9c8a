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
// New exceptions are made by one goroutine at a time, which exists while there
// are requests. It takes all that wait as one batch: allocate, copy, commit,
// answer. What arrives meanwhile is the next batch, so that many writers share
// the two syncs of a commit.
//
//	write ──missing──▶ queue ──▶ batch: allocate ─ copy ─ commit ──▶ answers
//	write ──missing──▶   │                                    ▲
//	write ──missing──▶ queue ──▶ next batch …                 └ seq odd
type exceptions struct {
	m     *Machine
	store *cowstore.Store
	shift uint                     // log2 of the chunk size in bytes
	valid atomic.Bool              // cleared before anything unsaved is overwritten
	seq   atomic.Uint64            // odd while a commit makes exceptions visible
	host  atomic.Pointer[snapshot] // the target that uses the store now

	mu      sync.Mutex
	queue   []*request
	running bool
	idle    sync.Cond // broadcast when running ends

	buffers [][]byte // of the goroutine that runs the batches, for each worker
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
		end := min(sp.end, length)
		for c := sp.off >> e.shift; c<<e.shift < end; c++ {
			if _, ok := e.store.Lookup(uint64(c)); ok {
				continue
			}
			if r == nil {
				r = &request{done: make(chan error, 1)}
			}
			r.add(c<<e.shift, (c+1)<<e.shift)
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
	if !e.running {
		e.running = true
		go e.work()
	}
}

func (e *exceptions) work() {
	for {
		e.mu.Lock()
		requests := e.queue
		e.queue = nil
		if len(requests) == 0 {
			e.running = false
			e.idle.Broadcast()
			e.mu.Unlock()
			return
		}
		e.mu.Unlock()
		e.serve(requests)
	}
}

// rest waits until no batch runs.
func (e *exceptions) rest() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.running {
		e.idle.Wait()
	}
}

// serve makes one batch of the requests and answers them.
func (e *exceptions) serve(requests []*request) {
	err := dmcore.ErrIO
	if e.valid.Load() {
		err = e.batch(requests)
		if err != nil && e.m.closing.Load() {
			// The devices below went away because the machine closes. That
			// says nothing against the snapshot; but then the origin must not
			// be overwritten either.
			for _, r := range requests {
				r.done <- err
			}
			return
		}
		if err != nil {
			e.invalidate()
		}
	}
	for _, r := range requests {
		if r.data != nil {
			r.done <- err
		} else {
			r.done <- nil // the origin goes on, whatever becomes of the snapshot
		}
	}
}

// invalidate gives the snapshot up, for ever. That it cannot be written to a
// broken COW device is no reason to fail the origin
// (drivers/md/dm-snap.c, __invalidate_snapshot).
func (e *exceptions) invalidate() {
	e.valid.Store(false)
	e.store.Invalidate()
	e.host.Load().owner.raise()
}

func (e *exceptions) batch(requests []*request) error {
	s := e.host.Load()
	plan := planner{e: e, length: s.length, new: map[uint64]uint64{}}
	for _, r := range requests {
		if err := plan.add(r); err != nil {
			return err
		}
	}
	if err := e.copy(s, &plan); err != nil {
		return err
	}
	if len(plan.list) == 0 {
		return nil
	}
	e.seq.Add(1)
	defer e.seq.Add(1)
	return e.store.Commit(plan.list)
}
