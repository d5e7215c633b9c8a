package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"cowhand/dmcore"
)

const (
	// maxRequests bounds the requests of a connection that are unanswered: a
	// wait on every device of a large host, and some.
	maxRequests = 16384
	// writeLimit is how long a client may leave its answers unread.
	writeLimit = 30 * time.Second
	// endLimit is how long the commands of an ended connection may take to
	// notice that they are cancelled.
	endLimit = 5 * time.Second
)

// session is one control connection.
type session struct {
	server *server
	conn   net.Conn
	own    owner
	limit  limitTimer

	writing sync.Mutex

	mu       sync.Mutex
	requests map[uint64]context.CancelFunc
	running  sync.WaitGroup
}

// Why a connection is ended by us.
var (
	errTooLong  = errors.New("a device was suspended for too long")
	errStopping = fmt.Errorf("the engine is stopping: %w", dmcore.ErrUnavailable)
)

// serve answers requests until the connection ends or ctx does, and then
// settles what was left suspended.
func (s *session) serve(ctx context.Context) error {
	stopping := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(stopping, func() { cancel(errStopping) })()
	h := s.server.host
	s.requests = map[uint64]context.CancelFunc{}
	s.limit = limitTimer{d: s.server.cfg.SuspendLimit, f: func() {
		h.mu.Lock()
		over := s.limit.over(&s.own)
		h.mu.Unlock()
		if over {
			cancel(fmt.Errorf("%w (limit %v): %w: %w", errTooLong, s.limit.d, context.DeadlineExceeded, dmcore.ErrUnavailable))
		}
	}}
	s.own.first, s.own.none = s.limit.first, s.limit.none

	// The end of ctx ends the reading.
	defer context.AfterFunc(ctx, func() {
		if err := context.Cause(ctx); errors.Is(err, errTooLong) || errors.Is(err, errStopping) {
			s.fatal(err)
		}
		s.conn.Close()
	})()
	cancel(s.read(ctx))
	s.conn.Close()
	s.wait()
	return h.end(ctx, &s.own)
}

// read starts each request that comes in. It returns why there are no more.
func (s *session) read(ctx context.Context) error {
	r := bufio.NewReaderSize(s.conn, 64<<10)
	for {
		line, err := readLine(r, maxLine)
		if errors.Is(err, errLineTooLong) {
			s.fatal(fmt.Errorf("%w: %w", err, dmcore.ErrInvalid))
		}
		if err != nil {
			return err
		}
		req, id, err := decodeRequest(line)
		if err != nil && id == 0 {
			s.fatal(err)
			return err
		}
		if err != nil {
			s.send(&response{ID: id, Error: toWire(err)})
			continue
		}
		if req.Cmd == verbCancel {
			s.cancel(req.ID)
			continue
		}
		if err := s.start(ctx, req); err != nil {
			s.fatal(err)
			return err
		}
	}
}

func (s *session) start(ctx context.Context, req *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests[req.ID] != nil {
		return fmt.Errorf("request %d: the id is in use: %w", req.ID, dmcore.ErrInvalid)
	}
	if len(s.requests) == maxRequests {
		return fmt.Errorf("request %d: %d requests are unanswered: %w", req.ID, maxRequests, dmcore.ErrInvalid)
	}
	ctx, cancel := context.WithCancel(ctx)
	s.requests[req.ID] = cancel
	s.running.Go(func() {
		defer cancel()
		resp, after := s.answer(ctx, req)
		resp.ID = req.ID
		s.mu.Lock()
		delete(s.requests, req.ID) // before the answer: the id is free then
		s.mu.Unlock()
		s.send(resp)
		after()
	})
	return nil
}

func (s *session) cancel(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.requests[id]; cancel != nil {
		cancel()
	}
}

// wait returns when the requests have ended, or endLimit has passed: what a
// command suspends after that, host.do resumes.
func (s *session) wait() {
	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
	t := time.NewTimer(endLimit)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// answer carries out a request. after is to be called when the answer is sent.
func (s *session) answer(ctx context.Context, req *request) (resp *response, after func()) {
	after = func() {}
	if cmd, ok := req.command(); ok {
		reply, err := s.server.host.do(ctx, &s.own, cmd, req.Req)
		if err != nil {
			return &response{Error: toWire(err)}, after
		}
		return &response{Reply: reply}, after
	}
	if req.Cmd == verbStop {
		if err := s.server.host.stop(req.Force); err != nil {
			return &response{Error: toWire(err)}, after
		}
		s.server.control.Close() // who hears of the stop and dials again must not reach us
		return &response{}, s.server.stop
	}
	info := s.server.info()
	return &response{Engine: &info}, after
}

// send writes one line. A client that does not read is cut off.
func (s *session) send(r *response) {
	line, err := encode(r)
	if err != nil {
		line, err = encode(&response{ID: r.ID, Error: toWire(err)})
		if err != nil {
			panic(fmt.Sprintf("engine: internal error: %v", err))
		}
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	if _, err := s.conn.Write(line); err != nil {
		s.conn.Close()
	}
}

// fatal tells the client why its connection ends. It does not wait for one that
// does not read.
func (s *session) fatal(err error) {
	s.conn.SetWriteDeadline(time.Now())
	s.writing.Lock() // soon: the deadline has ended a write that was stuck
	defer s.writing.Unlock()
	if line, e := encode(&response{Error: toWire(err)}); e == nil {
		s.conn.SetWriteDeadline(time.Now().Add(time.Second))
		s.conn.Write(line)
	}
}
