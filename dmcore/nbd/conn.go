package nbd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// conn is one connection in the transmission phase.
type conn struct {
	srv  *Server
	x    *export
	ctx  context.Context // done: the connection was given up
	sync *syncer
	born time.Time

	in      *input // of whoever reads
	duty    duty
	workers int           // of whoever reads: how many were started
	jobs    chan *request // to an idle worker; closed when nothing is in flight any more
	done    chan error    // how reading ended
	slow    atomic.Int32  // how many quick requests are missing until the device counts as quick

	outbox outbox
}

const (
	inlineMax = 64 << 10               // payload of what the reader does itself
	quickOp   = 100 * time.Microsecond // what a quick device needs at most for that
	probation = 64                     // quick requests in a row after which a slow device is quick again
)

func newConn(s *Server, ctx context.Context, w wire, in *input, x *export) *conn {
	c := &conn{srv: s, x: x, ctx: ctx, in: in, born: time.Now(),
		sync: newSyncer(x.dev.Sync),
		jobs: make(chan *request),
		done: make(chan error, 1),
	}
	c.duty.init(c.relieve)
	c.outbox.init(w, &s.buffers, orDefault(s.MaxRequests, 64), orDefault(s.MaxBytes, 64<<20))
	return c
}

// serve carries out requests until the client leaves, misbehaves or is hung up
// on. The device is closed when the last of them is done.
func (c *conn) serve() error {
	c.read()
	err := <-c.done
	if broken := c.outbox.drain(); broken != nil {
		err = broken // reading only failed after it
	}
	close(c.jobs)
	c.duty.timer.Stop()
	return errors.Join(err, c.x.dev.Close())
}

// relieve replaces a reader that is held up.
func (c *conn) relieve() {
	c.slow.Store(probation)
	c.in = c.in.split()
	go c.read()
}

// errRelieved ends a reader that is not the reader any more.
var errRelieved = errors.New("relieved")

func (c *conn) read() {
	err := c.requests()
	c.outbox.kick()
	if err != errRelieved {
		c.done <- err
	}
}

// requests reads requests and has them carried out.
func (c *conn) requests() error {
	for {
		if err := c.await(requestSize); err != nil {
			return err
		}
		if err := c.in.fill(requestSize); err != nil {
			return err
		}
		var h header
		if !h.decode(c.in.peek(requestSize)) {
			return fmt.Errorf("request magic: %w", errProtocol)
		}
		if h.cmd == cmdDisc {
			return nil
		}
		if err := c.request(&h); err != nil {
			return err
		}
	}
}

// await sends the replies that are ready if n bytes are not at hand: the
// reader is going to wait for the client, who may be waiting for them.
func (c *conn) await(n int) error {
	if c.in.buffered() >= n {
		return nil
	}
	return c.settle()
}

// settle sends the replies that are ready. As the reader may be relieved
// meanwhile, nothing of the next request may be taken before.
func (c *conn) settle() error {
	if c.outbox.empty() {
		return nil
	}
	turn := c.duty.begin()
	c.outbox.kick()
	return c.duty.end(turn)
}

// request takes in one request and has it carried out.
func (c *conn) request(h *header) error {
	wrong := c.x.check(h)
	weight, payload := 0, 0
	if wrong == 0 {
		weight = h.weight()
	}
	if h.cmd == cmdWrite {
		payload = int(h.length)
	}
	if err := c.await(requestSize + payload); err != nil {
		return err
	}
	r := c.outbox.begin(weight, false)
	if r == nil {
		if err := c.settle(); err != nil {
			return err
		}
		r = c.outbox.begin(weight, true)
	}
	c.in.take(requestSize)
	r.header = *h
	inline := r.small() && c.slow.Load() <= 0

	var err error
	c.in.narrow = payload > inlineMax // the next is probably like this one
	switch {
	case wrong != 0:
		c.in.narrow = false
		err = c.in.discard(payload)
	case payload == 0:
	case inline:
		if err = c.in.fill(payload); err == nil {
			r.data = c.in.take(payload)
		}
	default:
		r.buf = c.srv.buffers.get(payload)
		r.data = r.buf.b
		err = c.in.readFull(r.data)
	}
	switch {
	case err != nil:
		c.outbox.cancel(r)
		return err
	case wrong != 0:
		r.fail(c.x, wrong)
		c.outbox.push(r)
	case inline:
		turn := c.duty.begin()
		c.timed(r)
		if c.outbox.push(r) {
			c.outbox.kick()
		}
		return c.duty.end(turn)
	default:
		c.dispatch(r)
	}
	return nil
}

// dispatch hands r to a worker. There is one more of them than there may be
// requests, so that one that is busy sending is not missed.
func (c *conn) dispatch(r *request) {
	select {
	case c.jobs <- r:
		return
	default:
	}
	if c.workers <= c.outbox.maxRequests {
		c.workers++
		go c.work(r)
		return
	}
	c.jobs <- r
}

func (c *conn) work(r *request) {
	for ; r != nil; r = <-c.jobs {
		c.timed(r)
		c.outbox.push(r)
		c.outbox.kick()
	}
}

// timed carries out r and judges by it whether the device is quick.
func (c *conn) timed(r *request) {
	if !r.small() {
		r.do(c)
		return
	}
	start := time.Since(c.born)
	r.do(c)
	if time.Since(c.born)-start > quickOp {
		c.slow.Store(probation)
	} else if c.slow.Load() > 0 {
		c.slow.Add(-1)
	}
}
