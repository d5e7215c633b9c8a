package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"cowhand/test/vm/wire"
)

// serve runs what the host sends, until the host is gone, and returns how that showed.
func serve() error {
	f, err := openPort()
	if err != nil {
		return err
	}
	s := server{port: wire.NewPort(f), running: map[int]int{}}
	if err := s.port.Send(wire.Message{}); err != nil {
		return err
	}
	for {
		m, err := s.port.Receive()
		if err != nil {
			return err
		}
		switch {
		case m.Start != nil:
			s.start(m.ID, *m.Start)
		case m.Signal != 0:
			s.signal(m.ID, syscall.Signal(m.Signal))
		}
	}
}

// openPort finds the serial port by its name. Its node is the kernel's, with udev or without.
func openPort() (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, path := range names {
		if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == wire.PortName {
			return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(path)), os.O_RDWR, 0)
		}
	}
	return nil, fmt.Errorf("no serial port %s among %q", wire.PortName, names)
}

type server struct {
	port *wire.Port

	mu      sync.Mutex
	running map[int]int // command to process group
}

func (s *server) start(id int, c wire.Command) {
	cmd := exec.CommandContext(context.Background(), c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(environ, c.Env...)
	cmd.Dir = "/"
	said := &output{s.port, id}
	cmd.Stdout, cmd.Stderr = said, said // one pipe for both, which keeps the order
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // for output that something left behind holds open
	if err := cmd.Start(); err != nil {
		s.ended(id, wire.Exit{Status: 127, Error: err.Error()})
		return
	}
	s.mu.Lock()
	s.running[id] = cmd.Process.Pid
	s.mu.Unlock()
	go func() {
		err := cmd.Wait()
		s.mu.Lock()
		delete(s.running, id)
		s.mu.Unlock()
		s.ended(id, exit(cmd.ProcessState, err))
	}()
}

func exit(state *os.ProcessState, err error) wire.Exit {
	var failed *exec.ExitError
	var e wire.Exit
	if err != nil && !errors.As(err, &failed) && !errors.Is(err, exec.ErrWaitDelay) {
		e.Error = err.Error()
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Status = 128 + int(status.Signal())
	} else {
		e.Status = state.ExitCode()
	}
	return e
}

func (s *server) ended(id int, e wire.Exit) {
	if err := s.port.Send(wire.Message{ID: id, Exit: &e}); err != nil {
		say("%v", err)
	}
}

func (s *server) signal(id int, sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if group := s.running[id]; group > 0 {
		if err := syscall.Kill(-group, sig); err != nil {
			say("signal %d to group %d: %v", sig, group, err)
		}
	}
}

// output sends what a command says.
type output struct {
	port *wire.Port
	id   int
}

func (o *output) Write(b []byte) (int, error) {
	if err := o.port.Send(wire.Message{ID: o.id, Out: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}
