package userspace

import (
	"slices"
	"sync"
)

// blockLock orders the I/O of a thin device by its blocks. Who reads blocks or
// overwrites them where they are shares them with others who do; who changes where
// they are has them alone. Nobody overtakes whom he would have to wait for, so that
// everybody's turn comes. One request holds one run of blocks at a time.
type blockLock struct {
	mu    sync.Mutex
	queue []*blockHold // who holds blocks or waits for them, in the order of arrival
}

// blockHold is the blocks from begin up to end, held or waited for.
type blockHold struct {
	begin, end uint64
	alone      bool
	before     int           // how many have to go first
	turn       chan struct{} // closed when none has to; nil if none had
}

func (h *blockHold) against(o *blockHold) bool {
	return (h.alone || o.alone) && h.begin < o.end && o.begin < h.end
}

// lock waits for blocks; unlock must follow.
func (l *blockLock) lock(begin, end uint64, alone bool) *blockHold {
	h := &blockHold{begin: begin, end: end, alone: alone}
	l.mu.Lock()
	for _, o := range l.queue {
		if h.against(o) {
			h.before++
		}
	}
	if h.before > 0 {
		h.turn = make(chan struct{})
	}
	l.queue = append(l.queue, h)
	l.mu.Unlock()
	if h.turn != nil {
		<-h.turn
	}
	return h
}

func (l *blockLock) unlock(h *blockHold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.queue, h)
	l.queue = slices.Delete(l.queue, i, i+1)
	for _, o := range l.queue[i:] {
		if !o.against(h) {
			continue
		}
		if o.before--; o.before == 0 {
			close(o.turn)
		}
	}
}
