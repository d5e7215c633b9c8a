package userspace

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"cowhand/dmcore/cowstore"
)

// defaultMergeBatch is how many bytes a merge copies before it syncs. Writes to
// these chunks wait that long.
const defaultMergeBatch = 8 << 20

// merge is what snapshot-merge does beyond a snapshot: it copies the chunks of
// the COW device into the origin, last exception first, in batches:
//
//	take ─▶ writers of the batch leave ─▶ other snapshots copy out ─▶
//	copy ─▶ sync origin ─▶ drop exceptions, durably ─▶ waiting writers go on
//
// A chunk is read from the COW device until its exception is dropped, and then
// from the origin, where it is durable. A crash anywhere leaves exceptions that
// are merged again.
type merge struct {
	s *snapshot

	mu      sync.Mutex
	changed sync.Cond           // batch or writers changed
	batch   map[uint64]struct{} // chunks being merged: writes to them wait
	writers map[uint64]int      // writes under way to chunks in the COW device
	broken  bool                // "Merge failed"

	data, piece []byte // of the goroutine that merges

	stop context.CancelFunc // ends the work that is under way; nil when none is
	done chan struct{}
}

func newMerge(s *snapshot) *merge {
	m := &merge{s: s, writers: map[uint64]int{}}
	m.changed.L = &m.mu
	return m
}

func (m *merge) failed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.broken
}

// start begins or goes on merging; a merge that failed begins anew from what is
// on disk. The device is suspended.
func (m *merge) start() {
	e, err := m.s.usable()
	if err != nil {
		return // an invalid snapshot cannot be merged: I/O goes to the origin
	}
	if m.failed() {
		if m.s.reopen() != nil {
			return
		}
		e = m.s.ex.Load()
		m.mu.Lock()
		m.broken, m.batch = false, nil
		m.mu.Unlock()
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop, m.done = stop, make(chan struct{})
	go m.run(ctx, e, m.done)
}

// presuspend ends the work after the batch in hand. If ctx ends first, it goes
// on.
func (s *snapshot) presuspend(ctx context.Context, _ bool) error {
	m := s.merge
	if m == nil || m.stop == nil {
		return nil
	}
	m.stop()
	select {
	case <-m.done:
		m.stop = nil
		return nil
	case <-ctx.Done():
		s.presuspendUndo()
		return context.Cause(ctx)
	}
}

// presuspendUndo starts the work again, after what is left of the old.
func (s *snapshot) presuspendUndo() {
	m := s.merge
	e, err := s.usable()
	if m == nil || err != nil {
		return
	}
	before := m.done
	ctx, stop := context.WithCancel(context.Background())
	m.stop, m.done = stop, make(chan struct{})
	go func(done chan struct{}) {
		if before != nil {
			<-before
		}
		m.run(ctx, e, done)
	}(m.done)
}

func (m *merge) run(ctx context.Context, e *exceptions, done chan struct{}) {
	defer close(done)
	for ctx.Err() == nil && !m.failed() {
		tail := e.store.Tail(max(1, int(e.m.mergeBatch>>e.shift)))
		if len(tail) == 0 {
			m.s.owner.raise()
			return
		}
		m.take(tail)
		dropping, err := m.mergeTail(e, tail)
		m.give(err, dropping)
		if err != nil {
			m.s.owner.raise()
		}
	}
}

// take makes new writes to the chunks wait and waits for those under way.
func (m *merge) take(tail []cowstore.Exception) {
	batch := make(map[uint64]struct{}, len(tail))
	for _, e := range tail {
		batch[e.Old] = struct{}{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batch = batch
	for m.busy() {
		m.changed.Wait()
	}
}

// busy reports whether a write to the batch is under way. mu is held.
func (m *merge) busy() bool {
	for c := range m.writers {
		if _, ok := m.batch[c]; ok {
			return true
		}
	}
	return false
}

// give ends a batch. If it is not known whether its exceptions are still on
// disk, writes to its chunks have to fail from now on: one that went to the COW
// device might be lost.
func (m *merge) give(err error, dropping bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err != nil
	if !m.broken || !dropping {
		m.batch = nil
	}
	m.changed.Broadcast()
}

// mergeTail merges the last exceptions of the store. dropping tells that an
// error came after the store began to change.
func (m *merge) mergeTail(e *exceptions, tail []cowstore.Exception) (dropping bool, err error) {
	n := len(tail)
	slices.SortFunc(tail, func(a, b cowstore.Exception) int { return cmp.Compare(a.Old, b.Old) })
	if err := m.copyBack(e, tail); err != nil {
		return false, err
	}
	if err := m.s.origin.Sync(); err != nil {
		return false, err
	}
	return true, e.store.DropTail(n)
}

// copyBack copies chunks, sorted by their place in the origin, from the COW
// device into the origin, after the other snapshots got what they need.
func (m *merge) copyBack(e *exceptions, list []cowstore.Exception) error {
	s := m.s
	var r request
	for _, x := range list {
		off := int64(x.Old) << e.shift
		r.add(off, min(off+e.chunk(), s.length))
	}
	s.o.io.RLock()
	defer s.o.io.RUnlock()
	if err := s.o.preserve(s, r.spans...); err != nil {
		return err
	}
	data, err := m.fetch(e, list)
	if err != nil {
		return err
	}
	for _, sp := range r.spans {
		n := sp.end - sp.off
		if err := s.origin.write(data[:n], sp.off); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// fetch reads chunks from the COW device into memory, in the order of the list.
// It reads them in the order they have there, which is nearly that in which
// they were made, since the page cache reads ahead.
func (m *merge) fetch(e *exceptions, list []cowstore.Exception) ([]byte, error) {
	if need := len(list) << e.shift; cap(m.data) < need {
		m.data = make([]byte, need)
	}
	if need := max(copyBuffer, e.chunk()); int64(len(m.piece)) < need {
		m.piece = make([]byte, need)
	}
	places := make([]int, len(list))
	for i := range places {
		places[i] = i
	}
	slices.SortFunc(places, func(a, b int) int { return cmp.Compare(list[a].New, list[b].New) })
	most := len(m.piece) >> e.shift
	for len(places) > 0 {
		n := 1
		for first := list[places[0]].New; n < min(most, len(places)) && list[places[n]].New == first+uint64(n); {
			n++
		}
		if err := m.s.cow.read(m.piece[:n<<e.shift], int64(list[places[0]].New)<<e.shift); err != nil {
			return nil, err
		}
		for i, p := range places[:n] {
			copy(m.data[p<<e.shift:(p+1)<<e.shift], m.piece[i<<e.shift:])
		}
		places = places[n:]
	}
	return m.data[:len(list)<<e.shift], nil
}

// write sends each piece to where its chunk is. What is not in the COW device
// goes to the origin, for good: a merge makes no exceptions.
func (m *merge) write(p []byte, off int64) error {
	s := m.s
	e, err := s.usable()
	if err != nil {
		return s.o.write(s.origin, s, p, off)
	}
	for len(p) > 0 {
		_, n, found := e.run(off, int64(len(p)))
		if found {
			n = min(n, (off>>e.shift+1)<<e.shift-off)
			err = m.writeChunk(e, p[:n], off)
		} else {
			err = s.o.write(s.origin, s, p[:n], off)
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// writeChunk writes inside one chunk that had an exception a moment ago.
func (m *merge) writeChunk(e *exceptions, p []byte, off int64) error {
	s, c := m.s, uint64(off>>e.shift)
	m.mu.Lock()
	for {
		_, waits := m.batch[c]
		if !waits {
			break
		}
		if m.broken {
			m.mu.Unlock()
			return ioError(s.origin.name, "write", len(p), off, errMergeFailed)
		}
		m.changed.Wait()
	}
	new, found := e.store.Lookup(c)
	if !found {
		m.mu.Unlock()
		return s.o.write(s.origin, s, p, off)
	}
	m.writers[c]++
	m.mu.Unlock()
	err := s.cow.write(p, int64(new)<<e.shift+off&(e.chunk()-1))
	m.mu.Lock()
	if m.writers[c]--; m.writers[c] == 0 {
		delete(m.writers, c)
		if m.batch != nil {
			m.changed.Broadcast()
		}
	}
	m.mu.Unlock()
	return err
}
