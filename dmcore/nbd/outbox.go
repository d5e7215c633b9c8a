package nbd

import "sync"

// outbox holds the requests of a connection from the time they are let in
// until their replies are written. Whoever finds nobody writing writes what
// has gathered, all in one system call.
//
//	begin ──▶ in flight ──push──▶ ready ──kick──▶ written: free for the next
type outbox struct {
	w           wire
	buffers     *buffers
	maxRequests int
	maxBytes    int

	mu       sync.Mutex
	room     sync.Cond
	requests int // in flight
	bytes    int
	free     []*request
	ready    []*request
	size     int // bytes of ready
	spare    []*request
	writing  bool
	broken   error // why the client cannot be reached any more

	iov [][]byte // of whoever writes
}

// Replies wait for one another up to these limits.
const (
	batchRequests = 16
	batchBytes    = 64 << 10
)

func (o *outbox) init(w wire, b *buffers, maxRequests, maxBytes int) {
	o.w, o.buffers, o.maxRequests, o.maxBytes = w, b, maxRequests, maxBytes
	o.room.L = &o.mu
}

// begin lets in a request with n bytes of payload, when the limits allow it.
// The first of all is always let in. Without wait it may return nil.
func (o *outbox) begin(n int, wait bool) *request {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.requests >= o.maxRequests || o.requests > 0 && o.bytes+n > o.maxBytes {
		if !wait {
			return nil
		}
		o.room.Wait()
	}
	o.requests++
	o.bytes += n
	var r *request
	if last := len(o.free) - 1; last >= 0 {
		r = o.free[last]
		o.free = o.free[:last]
	} else {
		r = new(request)
	}
	r.weight = n
	return r
}

// cancel takes back a request that will have no reply.
func (o *outbox) cancel(r *request) {
	o.mu.Lock()
	o.release(r)
	o.mu.Unlock()
}

func (o *outbox) release(r *request) {
	o.requests--
	o.bytes -= r.weight
	o.buffers.put(r.buf)
	r.buf, r.data, r.head, r.body = nil, nil, nil, nil
	o.free = append(o.free, r)
	o.room.Broadcast()
}

// push adds a reply to those that are ready and reports whether they are
// enough to be sent.
func (o *outbox) push(r *request) (enough bool) {
	o.mu.Lock()
	o.ready = append(o.ready, r)
	o.size += len(r.head) + len(r.body)
	enough = len(o.ready) >= batchRequests || o.size >= batchBytes
	o.mu.Unlock()
	return enough
}

func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.ready) == 0
}

// kick writes what is ready, unless another does.
func (o *outbox) kick() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.writing && len(o.ready) > 0 {
		batch, broken := o.ready, o.broken
		o.ready, o.size, o.spare = o.spare[:0], 0, nil
		o.writing = true
		o.mu.Unlock()
		if broken == nil {
			broken = o.write(batch)
		}
		o.mu.Lock()
		o.writing = false
		o.broken = broken
		for _, r := range batch {
			o.release(r)
		}
		clear(batch)
		o.spare = batch[:0]
	}
}

// write writes a batch. After an error the reader has nothing more to read.
func (o *outbox) write(batch []*request) error {
	iov := o.iov[:0]
	for _, r := range batch {
		iov = append(iov, r.head)
		if len(r.body) > 0 {
			iov = append(iov, r.body)
		}
	}
	o.iov = iov
	err := o.w.writev(iov)
	clear(iov)
	if err != nil {
		o.w.Close()
	}
	return err
}

// drain waits until nothing is in flight. An error of writing is returned.
func (o *outbox) drain() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.requests > 0 {
		o.room.Wait()
	}
	return o.broken
}
