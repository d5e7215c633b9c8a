package nbd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections do not leave the process, so that a
// test may stand still until all of them wait.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

// world is a server in a bubble and one device.
type world struct {
	*testing.T
	*pipes
	dev    *device
	cancel context.CancelFunc
	served chan error
}

// inWorld runs a test in a world that must end well.
func inWorld(t *testing.T, s *Server, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{T: t, pipes: newPipes(), dev: newDevice(1 << 20), cancel: cancel, served: make(chan error, 1)}
		s.Exports = exports{"x": {dev: w.dev}}
		go func() { w.served <- s.Serve(ctx, w.pipes) }()
		test(w)
		cancel()
		if err := <-w.served; err != nil {
			t.Error(err)
		}
	})
}

func (w *world) open() *client {
	w.Helper()
	c, err := open(w.dial(), "x", clientOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// answers returns the cookies of the replies that arrive from the time ask is
// called until nothing moves. They are for reads of n bytes, if for reads.
func (c *client) answers(n uint32, ask func()) (cookies []uint64) {
	var mu sync.Mutex
	go func() {
		for {
			r, err := c.receive(make([]byte, n), 0)
			if err != nil {
				return
			}
			mu.Lock()
			cookies = append(cookies, r.cookie)
			mu.Unlock()
		}
	}()
	ask()
	time.Sleep(time.Second) // of the bubble
	c.SetReadDeadline(time.Unix(1, 0))
	synctest.Wait()
	c.SetReadDeadline(time.Time{})
	return cookies
}

// blockAt makes what the device does at off wait for release.
func (d *device) blockAt(off int64) (release func()) {
	gate := make(chan struct{})
	d.setHook(func(_ uint16, at int64) error {
		if at == off {
			<-gate
		}
		return nil
	})
	return sync.OnceFunc(func() { close(gate) })
}

// A request that takes long holds up neither those that came with it nor those
// that come later, wherever it is carried out.
func TestSlowRequestHoldsUpNobody(t *testing.T) {
	inWorld(t, &Server{}, func(w *world) {
		c := w.open()
		release := w.dev.blockAt(0)
		defer release()

		want := bytes.Repeat([]byte{7}, 4096)
		var slow uint64
		got := c.answers(0, func() {
			slow = c.send(cmdWrite, 0, 0, 4096, want) // carried out from the input's bytes
			for i := range 100 {                      // overwrite them
				c.send(cmdWrite, 0, uint64(4096+i*512), 4096, bytes.Repeat([]byte{9}, 4096))
			}
		})
		if len(got) != 100 || slices.Contains(got, slow) {
			t.Errorf("%d answers, want 100: %d", len(got), got)
		}
		if got := c.answers(0, release); len(got) != 1 || got[0] != slow {
			t.Errorf("answers %d after the release, want %d", got, slow)
		}
		p := make([]byte, 4096)
		if r, err := c.do(cmdRead, 0, 0, p); err != nil || r.err != 0 || !bytes.Equal(p, want) {
			t.Errorf("read %x…, %v, %v", p[:4], r.err, err)
		}
	})
}

// While a device blocks all it has, the client can still leave, and the device
// is closed when it is done, not before.
func TestHangUpWhileBlocked(t *testing.T) {
	for _, disc := range []bool{false, true} {
		inWorld(t, &Server{MaxRequests: 4}, func(w *world) {
			c := w.open()
			gate := make(chan struct{})
			w.dev.setHook(func(uint16, int64) error { <-gate; return nil })
			for range 3 {
				c.send(cmdRead, 0, 0, 4096, nil)
			}
			time.Sleep(time.Second)
			if disc {
				c.send(cmdDisc, 0, 0, 0, nil)
			} else {
				c.Close()
			}
			synctest.Wait()
			if w.dev.closed.Load() != 0 {
				t.Error("closed while it is busy")
			}
			got := c.answers(4096, func() { close(gate) })
			if disc && len(got) != 3 {
				t.Errorf("%d answers after DISC, want 3", len(got))
			}
			if n := w.dev.closed.Load(); n != 1 {
				t.Errorf("closed %d times", n)
			}
		})
	}
}

// At the end requests in flight are answered within the grace.
func TestShutdownDrains(t *testing.T) {
	inWorld(t, &Server{}, func(w *world) {
		idle, haggling, busy := w.open(), w.dial(), w.open()
		w.dev.setHook(func(uint16, int64) error { time.Sleep(4 * time.Second); return nil })
		cookie := busy.send(cmdFlush, 0, 0, 0, nil)
		synctest.Wait()
		w.cancel()
		if r, err := busy.receive(nil, 0); err != nil || r.err != 0 || r.cookie != cookie {
			t.Errorf("reply %+v, %v", r, err)
		}
		for _, nc := range []net.Conn{idle, busy} {
			if n, err := nc.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("read %d, %v, want EOF", n, err)
			}
		}
		io.Copy(io.Discard, haggling) // ends
	})
}

// A device that does not come back keeps nobody from leaving.
func TestShutdownAbandons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, pipes: newPipes(), dev: newDevice(1 << 20)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		s := &Server{Exports: exports{"x": {dev: w.dev}}, Grace: 3 * time.Second}
		go func() { done <- s.Serve(ctx, w.pipes) }()
		c := w.open()
		release := w.dev.blockAt(0)
		c.send(cmdRead, 0, 0, 512, nil)
		c.send(cmdFlush, 0, 0, 0, nil)
		synctest.Wait()
		start := time.Now()
		cancel()
		if err := <-done; !errors.Is(err, ErrAbandoned) {
			t.Errorf("%v, want ErrAbandoned", err)
		}
		if d := time.Since(start); d < s.Grace || d > s.Grace+2*time.Second {
			t.Errorf("it took %v", d)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Errorf("the client is not hung up on: %v", err)
		}
		release()
		synctest.Wait()
		if w.dev.closed.Load() != 1 {
			t.Error("the device was not closed")
		}
	})
}

// A client that takes no replies stops only itself, and is hung up on in the end.
func TestClientTakesNoReplies(t *testing.T) {
	inWorld(t, &Server{MaxRequests: 8}, func(w *world) {
		var reads atomic.Int32
		w.dev.setHook(func(cmd uint16, _ int64) error {
			if cmd == cmdRead {
				reads.Add(1)
			}
			return nil
		})
		deaf := w.open()
		go func() {
			for range 10000 {
				deaf.send(cmdRead, 0, 0, 4096, nil)
			}
		}()
		time.Sleep(time.Second)
		if n := reads.Load(); n != 8 {
			t.Errorf("%d reads for a client that takes no replies, want 8", n)
		}
		w.dev.setHook(nil)
		if r, err := w.open().do(cmdRead, 0, 0, make([]byte, 4096)); err != nil || r.err != 0 {
			t.Errorf("another client: %v, %v", r.err, err)
		}
	})
}

func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    *Server
		n    uint32
		want int32
	}{
		{"requests", &Server{MaxRequests: 5}, 4096, 5},
		{"bytes", &Server{MaxBytes: 1 << 20}, 256 << 10, 4},
		{"one larger than the limit", &Server{MaxBytes: 1 << 10}, 64 << 10, 1},
		{"default", &Server{}, 512, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.s, func(w *world) {
				c := w.open()
				var now, most atomic.Int32
				w.dev.setHook(func(uint16, int64) error {
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(time.Minute)
					now.Add(-1)
					return nil
				})
				start := time.Now()
				go func() {
					for range 100 {
						c.send(cmdRead, 0, 0, tt.n, nil)
					}
				}()
				for range 100 {
					if r, err := c.receive(make([]byte, tt.n), 0); err != nil || r.err != 0 {
						t.Fatal(r.err, err)
					}
				}
				if most.Load() != tt.want {
					t.Errorf("%d requests at a time, want %d", most.Load(), tt.want)
				}
				if waves := (100 + tt.want - 1) / tt.want; time.Since(start).Round(time.Minute) != time.Duration(waves)*time.Minute {
					t.Errorf("it took %v, not as many minutes as %d at a time need", time.Since(start), tt.want)
				}
			})
		})
	}
}

func TestConnectionLimit(t *testing.T) {
	inWorld(t, &Server{MaxConns: 2}, func(w *world) {
		first, _ := w.open(), w.open()
		opened := make(chan *client)
		go func() { opened <- w.open() }()
		synctest.Wait()
		select {
		case <-opened:
			t.Fatal("three connections at a time")
		default:
		}
		first.Close()
		<-opened
	})
}

func TestHandshakeTimeout(t *testing.T) {
	inWorld(t, &Server{Handshake: time.Minute}, func(w *world) {
		lazy, quick := w.dial(), w.open()
		start := time.Now()
		io.Copy(io.Discard, lazy)
		if d := time.Since(start); d != time.Minute {
			t.Errorf("hung up after %v", d)
		}
		if r, err := quick.do(cmdRead, 0, 0, make([]byte, 512)); err != nil || r.err != 0 {
			t.Errorf("after the handshake: %v, %v", r.err, err)
		}
	})
}

func TestAdmit(t *testing.T) {
	refuse := errors.New("not you")
	s := &Server{Admit: func(net.Conn) error { return refuse }}
	inWorld(t, s, func(w *world) {
		if b, err := io.ReadAll(w.dial()); len(b) != 0 || err != nil {
			t.Errorf("refused client got %q, %v", b, err)
		}
	})
}

// What follows a broken header is not taken for requests.
func TestBadRequestMagic(t *testing.T) {
	inWorld(t, &Server{}, func(w *world) {
		c := w.open()
		c.Write(make([]byte, requestSize))
		if b, err := io.ReadAll(c); len(b) != 0 || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
	})
}

func TestReadOnlyServer(t *testing.T) {
	inWorld(t, &Server{ReadOnly: true}, func(w *world) {
		c := w.open()
		if c.flags&flagReadOnly == 0 {
			t.Errorf("flags %#x", c.flags)
		}
		if r, err := c.do(cmdWrite, 0, 0, make([]byte, 512)); err != nil || r.err != errPerm {
			t.Errorf("%v, %v", r.err, err)
		}
	})
}
