package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"cowhand/dmcore/blockdev"
)

// ErrAbandoned says that Serve returned while devices were still busy with
// requests, longer than the grace allows.
var ErrAbandoned = errors.New("requests abandoned")

// Exports is what a Server serves.
type Exports interface {
	// List tells which exports there are.
	List(ctx context.Context) ([]Export, error)
	// Open opens an export for one connection, which closes it; a client that
	// only asks about an export has it opened and closed. An unknown name is
	// fs.ErrNotExist; the empty one asks for the default export. What
	// is opened with readOnly is not written to; without it an export may
	// still be one that cannot be written, and says so in Export.ReadOnly.
	//
	// A Sync of one opened device must cover what was written through every
	// other of the same export. Requests still run when a client has hung up,
	// so Close is called only after them, however long they take.
	Open(ctx context.Context, name string, readOnly bool) (blockdev.Device, Export, error)
}

// Export describes one export. Blocks are powers of two in bytes; zero means
// 512 for MinBlock and 4096 for PreferredBlock. An open export is as long as
// its device is, rounded down to MinBlock.
type Export struct {
	Name, Description        string
	Size                     int64
	ReadOnly                 bool
	MinBlock, PreferredBlock uint32
}

// Server serves Exports. Its fields must not change while it serves; of those
// that are limits, zero is the default.
type Server struct {
	Exports  Exports
	Log      *slog.Logger // nil: silent
	ReadOnly bool         // refuse all writing

	// Admit is asked before a connection is greeted; its error, which the
	// client does not see, hangs up. Nil admits everyone.
	Admit func(net.Conn) error

	MaxConns    int           // connections; others wait to be accepted (128)
	MaxRequests int           // requests in flight per connection (64)
	MaxBytes    int           // their payload, at least one request is let in (64 MiB)
	Handshake   time.Duration // from accept to the export being open (30 s)
	Grace       time.Duration // from the end of the context to hanging up (5 s)

	buffers buffers
}

func orDefault[T int | time.Duration](v, d T) T {
	if v > 0 {
		return v
	}
	return d
}

// Serve accepts and serves connections until ctx is done. Then it closes l,
// reads no more requests, waits for those in flight and hangs up. If some are
// still not done after the grace it returns an error that is ErrAbandoned; their
// devices are closed when they are.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stopListening := context.AfterFunc(ctx, func() { l.Close() })
	defer stopListening()
	defer l.Close()

	// After ctx connections end by themselves, after kill by force.
	killed, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	var conns sync.WaitGroup
	err := s.accept(ctx, l, func(nc net.Conn, free func()) {
		conns.Go(func() {
			defer free()
			s.serveConn(ctx, killed, nc)
		})
	})

	idle := make(chan struct{})
	go func() { conns.Wait(); close(idle) }()
	if err != nil { // nobody told the connections to end: do not wait for them
		kill()
	}
	if within(orDefault(s.Grace, 5*time.Second), idle) {
		return err
	}
	kill()
	if within(time.Second, idle) { // what only the client held up ends now
		return err
	}
	return errors.Join(err, fmt.Errorf("nbd server: a device does not answer: %w", ErrAbandoned))
}

// within reports whether idle is closed before d has passed.
func within(d time.Duration, idle <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-idle:
		return true
	case <-t.C:
		return false
	}
}

// accept calls serve for each connection, as many at a time as the limit says,
// until ctx is done or l fails for good.
func (s *Server) accept(ctx context.Context, l net.Listener, serve func(nc net.Conn, free func())) error {
	slots := make(chan struct{}, orDefault(s.MaxConns, 128))
	free := func() { <-slots }
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		nc, err := l.Accept()
		if err == nil {
			serve(nc, free)
			continue
		}
		free()
		switch {
		case ctx.Err() != nil:
			return nil
		case !passing(err):
			return fmt.Errorf("nbd server: %w", err)
		}
		// Out of descriptors or memory: nothing tells when that is over.
		s.log().Warn("nbd: cannot accept", "err", err)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// passing tells that a later accept may succeed (accept(2)).
func passing(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *Server) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.New(slog.DiscardHandler)
}

// serveConn serves one connection from greeting to hanging up.
func (s *Server) serveConn(ctx, killed context.Context, nc net.Conn) {
	defer nc.Close()
	stopKill := context.AfterFunc(killed, func() { nc.Close() })
	defer stopKill()
	if s.Admit != nil {
		if err := s.Admit(nc); err != nil {
			s.log().Warn("nbd: client refused", "err", err)
			return
		}
	}
	name, err := s.session(ctx, killed, nc)
	switch {
	case err == nil, errors.Is(err, errAborted), errors.Is(err, io.EOF), ctx.Err() != nil:
		s.log().Debug("nbd: connection ended", "export", name)
	default:
		s.log().Warn("nbd: connection broken off", "export", name, "err", err)
	}
}

func (s *Server) session(ctx, killed context.Context, nc net.Conn) (name string, err error) {
	enlargeSendBuffer(nc)
	in := newInput(nc)
	nc.SetDeadline(time.Now().Add(orDefault(s.Handshake, 30*time.Second)))
	stopHaggling := context.AfterFunc(ctx, func() { nc.SetReadDeadline(time.Unix(1, 0)) })
	defer stopHaggling()

	n := &negotiator{srv: s, ctx: ctx, in: in, out: nc}
	x, err := n.negotiate()
	if err != nil {
		return "", err
	}
	nc.SetDeadline(time.Time{})
	w := newWire(nc)
	defer w.Close()
	in.r = w
	// Asked for after the last deadline that is not in the past.
	stopReading := context.AfterFunc(ctx, w.deafen)
	defer stopReading()
	stopKill := context.AfterFunc(killed, func() { w.Close() })
	defer stopKill()
	s.log().Debug("nbd: export opened", "export", x.Name, "size", x.size, "read-only", x.ReadOnly)
	return x.Name, newConn(s, killed, w, in, x).serve()
}
