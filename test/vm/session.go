package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"cowhand/test/vm/wire"
)

// ErrGone says that the machine went off, or its agent died.
var ErrGone = errors.New("the VM is gone")

// ExitError is a command's that ended with another status than 0.
type ExitError struct {
	Argv   []string
	Status int    // as a shell tells it: 128 + n for one that signal n ended
	Output string // all that it said
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("vm: %s: exit status %d: %s", strings.Join(e.Argv, " "), e.Status, strings.TrimSpace(e.Output))
}

// session is a connection to the agent of a machine that runs.
type session struct {
	conn net.Conn
	port *wire.Port

	mu      sync.Mutex
	last    int
	running map[int]*Process
	down    error // why nothing can be started any more
}

// greet waits for the agent's first word.
func greet(ctx context.Context, conn net.Conn) (*session, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	s := &session{conn: conn, port: wire.NewPort(conn), running: map[int]*Process{}}
	if _, err := s.port.Receive(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go s.receive()
	return s, nil
}

func (s *session) close() { s.conn.Close() }

func (s *session) receive() {
	for {
		m, err := s.port.Receive()
		if err != nil {
			s.end(err)
			return
		}
		s.mu.Lock()
		p := s.running[m.ID]
		if m.Exit != nil {
			delete(s.running, m.ID)
		}
		s.mu.Unlock()
		if p != nil {
			p.hear(m)
		}
	}
}

func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = fmt.Errorf("%w (%w)", ErrGone, err)
	for id, p := range s.running {
		p.finish(fmt.Errorf("vm: %s: %w", strings.Join(p.argv, " "), s.down))
		delete(s.running, id)
	}
}

// Process is a command that was started in the machine.
type Process struct {
	argv []string
	id   int
	s    *session
	tee  io.Writer

	mu   sync.Mutex
	out  bytes.Buffer
	err  error
	done chan struct{}
}

func (s *session) start(c wire.Command, tee io.Writer) (*Process, error) {
	s.mu.Lock()
	if s.down != nil {
		defer s.mu.Unlock()
		return nil, fmt.Errorf("vm: %s: %w", strings.Join(c.Argv, " "), s.down)
	}
	s.last++
	p := &Process{argv: c.Argv, id: s.last, s: s, tee: tee, done: make(chan struct{})}
	s.running[p.id] = p
	s.mu.Unlock()
	return p, s.port.Send(wire.Message{ID: p.id, Start: &c})
}

func (p *Process) hear(m wire.Message) {
	if m.Exit != nil {
		var err error
		switch out := p.Output(); {
		case m.Exit.Error != "":
			err = fmt.Errorf("vm: %s: %s", strings.Join(p.argv, " "), m.Exit.Error)
		case m.Exit.Status != 0:
			err = &ExitError{Argv: p.argv, Status: m.Exit.Status, Output: out}
		}
		p.finish(err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Write(m.Out)
	if p.tee != nil {
		p.tee.Write(m.Out) // a test's output: it does not fail
	}
}

func (p *Process) finish(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	close(p.done)
}

// Output is what it said so far, on standard output and error.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// Signal sends a signal to it and all in its process group.
func (p *Process) Signal(sig syscall.Signal) error {
	return p.s.port.Send(wire.Message{ID: p.id, Signal: int(sig)})
}

// Wait waits for its end and returns its output. When ctx ends first it is killed.
func (p *Process) Wait(ctx context.Context) (string, error) {
	select {
	case <-p.done:
		return p.Output(), p.err
	case <-ctx.Done():
	}
	err := p.Signal(syscall.SIGKILL)
	select {
	case <-p.done:
	case <-time.After(endDeadline):
		err = errors.Join(err, errors.New("and it does not die"))
	}
	return p.Output(), errors.Join(fmt.Errorf("vm: %s: %w; it said: %s", strings.Join(p.argv, " "), context.Cause(ctx), p.Output()), err)
}
