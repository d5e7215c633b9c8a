package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair is a wire on a unix socket, and its other end.
func pair(t *testing.T) (wire, *net.UnixConn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(near)
	t.Cleanup(func() { w.Close(); far.Close() })
	far.SetDeadline(time.Now().Add(10 * time.Second))
	return w, far.(*net.UnixConn)
}

// A unix socket is in the poller no more, and its first descriptor is closed.
func TestSocketIsTakenFromThePoller(t *testing.T) {
	w, _ := pair(t)
	s, ok := w.(*socket)
	if !ok {
		t.Fatalf("%T, want a socket", w)
	}
	if err := s.f.SetReadDeadline(time.Now()); !errors.Is(err, os.ErrNoDeadline) {
		t.Errorf("a deadline can be set: %v", err)
	}
}

func TestOtherConnectionsStayPolled(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	if w, ok := newWire(near).(*polled); !ok {
		t.Errorf("%T, want polled", w)
	}
}

// Whatever ends a connection wakes who reads it.
func TestSocketReaderWakes(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(w wire, far *net.UnixConn)
		want error
	}{
		{"deafened", func(w wire, _ *net.UnixConn) { w.deafen() }, os.ErrDeadlineExceeded},
		{"closed", func(w wire, _ *net.UnixConn) { w.Close() }, io.EOF},
		{"closed twice", func(w wire, _ *net.UnixConn) { w.Close(); w.Close() }, io.EOF},
		{"the client leaves", func(_ wire, far *net.UnixConn) { far.Close() }, io.EOF},
		{"the client will write no more", func(_ wire, far *net.UnixConn) { far.CloseWrite() }, io.EOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, far := pair(t)
			got := make(chan error, 1)
			go func() {
				_, err := w.Read(make([]byte, 1))
				got <- err
			}()
			asleepInRead(t)
			tt.end(w, far)
			if err := <-got; !errors.Is(err, tt.want) && !errors.Is(err, os.ErrClosed) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// asleepInRead waits until a thread of this process sleeps in read(2), where the
// kernel shows that (proc(5), /proc/pid/syscall).
func asleepInRead(t *testing.T) {
	t.Helper()
	reading := fmt.Sprint(syscall.SYS_READ, " ")
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		tasks, _ := filepath.Glob("/proc/self/task/*/syscall")
		for _, task := range tasks {
			b, err := os.ReadFile(task)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return // not for us to see
			}
			if strings.HasPrefix(string(b), reading) {
				return
			}
		}
	}
	t.Fatal("nobody reads")
}

// What arrived before a connection was deafened is not read any more, and what
// is written after that arrives.
func TestSocketDeafened(t *testing.T) {
	w, far := pair(t)
	far.Write([]byte("before"))
	w.deafen()
	for range 2 {
		if n, err := w.Read(make([]byte, 16)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d, %v", n, err)
		}
	}
	if err := w.writev(net.Buffers{[]byte("aft"), nil, []byte("er")}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if b, err := io.ReadAll(far); string(b) != "after" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

// Who writes to a client that takes nothing is woken too.
func TestSocketWriterWakes(t *testing.T) {
	for name, end := range map[string]func(w wire, far *net.UnixConn){
		"closed":            func(w wire, _ *net.UnixConn) { w.Close() },
		"the client leaves": func(_ wire, far *net.UnixConn) { far.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			w, far := pair(t)
			got := make(chan error, 1)
			go func() {
				many := make([]byte, 1<<20)
				for {
					if err := w.writev(net.Buffers{many, many}); err != nil {
						got <- err
						return
					}
				}
			}()
			if _, err := io.ReadFull(far, make([]byte, 4096)); err != nil { // it has begun
				t.Fatal(err)
			}
			end(w, far)
			if err := <-got; err == nil {
				t.Error("written to nobody")
			}
		})
	}
}

// A write that a signal ended half-way goes on where it ended.
func TestSent(t *testing.T) {
	text := []byte("abcdefghij")
	for n := range uint64(len(text) + 1) {
		var iov []syscall.Iovec
		for _, cut := range [][2]int{{0, 3}, {3, 3}, {3, 4}, {4, 10}} {
			v := syscall.Iovec{}
			if b := text[cut[0]:cut[1]]; len(b) > 0 {
				v.Base = &b[0]
			}
			v.SetLen(cut[1] - cut[0])
			iov = append(iov, v)
		}
		var left uint64
		rest := sent(iov, n)
		for _, v := range rest {
			left += uint64(v.Len)
		}
		if left != uint64(len(text))-n {
			t.Fatalf("%d bytes left after %d of %d", left, n, len(text))
		}
		if left > 0 && *rest[0].Base != text[n] {
			t.Errorf("after %d bytes it goes on with %q", n, *rest[0].Base)
		}
	}
}

// onSocket is a server on a socket, to be ended by the test.
func onSocket(t *testing.T, s *Server) (socket string, end func() <-chan error) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(cancel)
	return socket, func() <-chan error { cancel(); return served }
}

// At the end clients who ask nothing are hung up on at once, those who wait for
// an answer get it.
func TestSocketShutdown(t *testing.T) {
	dev := newDevice(1 << 20)
	socket, end := onSocket(t, &Server{Exports: exports{"x": {dev: dev}}, Grace: time.Hour})
	idle, busy := dial(t, socket, "x", clientOptions{}), dial(t, socket, "x", clientOptions{})
	entered, gate := make(chan struct{}), make(chan struct{})
	dev.setHook(func(uint16, int64) error { close(entered); <-gate; return nil })
	cookie := busy.send(cmdFlush, 0, 0, 0, nil)
	<-entered
	served := end()
	if n, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("an idle client read %d, %v", n, err)
	}
	close(gate)
	if r, err := busy.receive(nil, 0); err != nil || r.err != 0 || r.cookie != cookie {
		t.Errorf("reply %+v, %v", r, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if n := dev.closed.Load(); n != 2 {
		t.Errorf("closed %d times, want 2", n)
	}
}

// After the grace a client that takes no replies is hung up on.
func TestSocketKill(t *testing.T) {
	dev := newDevice(32 << 20)
	socket, end := onSocket(t, &Server{Exports: exports{"x": {dev: dev}}, Grace: time.Millisecond})
	c := dial(t, socket, "x", clientOptions{simple: true})
	c.send(cmdRead, 0, 0, 32<<20, nil)
	if _, err := c.peek(4); err != nil { // it is being answered
		t.Fatal(err)
	}
	if err := <-end(); err != nil {
		t.Error(err)
	}
	if n := dev.closed.Load(); n != 1 {
		t.Errorf("closed %d times, want 1", n)
	}
}

// What is no socket is deafened by a deadline.
func TestPolledDeafened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		w := &polled{Conn: near}
		defer w.Close()
		got := make(chan error, 1)
		go func() {
			_, err := w.Read(make([]byte, 1))
			got <- err
		}()
		synctest.Wait()
		w.deafen()
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}
