package nbd

import (
	"sync/atomic"
	"time"
)

// patience is how long, and at most twice as long, a reader may be held up.
const patience = time.Millisecond

// duty is the right and obligation to read a connection. The reader marks the
// turns in which it does something else; in a turn that takes too long another
// reader takes its place:
//
//	state  even: reading ──begin──▶ odd: in a turn ──end──▶ even
//	                                      └── relieved ──▶ even, for another reader
//
// A timer looks after it, which runs only while there are turns.
type duty struct {
	state   atomic.Uint64
	armed   atomic.Bool // the timer is running
	seen    uint64      // the timer's: state when it last looked
	timer   *time.Timer
	relieve func()
}

func (d *duty) init(relieve func()) {
	d.relieve = relieve
	d.timer = time.AfterFunc(time.Hour, d.look)
	d.timer.Stop()
}

// begin begins a turn, in which nothing but what is safe for concurrent use
// may be touched.
func (d *duty) begin() (turn uint64) {
	turn = d.state.Add(1)
	if !d.armed.Load() {
		d.arm()
	}
	return turn
}

// end ends a turn. After errRelieved the caller is not the reader any more.
func (d *duty) end(turn uint64) error {
	if !d.state.CompareAndSwap(turn, turn+1) {
		return errRelieved
	}
	return nil
}

func (d *duty) arm() {
	if d.armed.CompareAndSwap(false, true) {
		d.timer.Reset(patience)
	}
}

// look relieves the reader if it is in the same turn as last time.
func (d *duty) look() {
	now := d.state.Load()
	held := now == d.seen && now%2 == 1
	idle := now == d.seen && now%2 == 0
	d.seen = now
	if held && d.state.CompareAndSwap(now, now+1) {
		d.relieve()
	}
	if !idle {
		d.timer.Reset(patience)
		return
	}
	d.armed.Store(false)
	if d.state.Load() != now { // a turn began that found it armed
		d.arm()
	}
}
