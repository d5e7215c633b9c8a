// Package guardian has a process stand by while another has devices suspended,
// and do what is to be done if that one dies or hangs: without it, a guest whose
// disks are suspended would wait for ever.
//
//	worker                                guardian
//	Start ── starts ────────────────────▶ memory locked
//	      ◀──────────────────── ready ── Watch
//	Begin ── a byte ────────────────────▶ its clock runs
//	  suspend … resume                      │ waits
//	Done ─── a byte ────────────────────▶ returns nil, and ends
//	  or dies: the pipe ends ───────────▶ ErrDied
//	  or hangs: the deadline passes ────▶ kills the worker, ErrHung
//
// Both keep all their memory, the program's text too, from being paged out: what
// would bring it back may be on a suspended device.
package guardian

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What a guardian is left with.
var (
	ErrDied = errors.New("the process that suspended devices died")
	ErrHung = errors.New("the process that suspended devices hung and was killed")
)

// What the worker writes.
const (
	begin = 'b'
	over  = 'd'
)

// ready is what the guardian says when nothing can keep it from its work any more.
const ready = "ready\n"

// Guardian is a process that stands by, as its worker sees it.
type Guardian struct {
	in   io.WriteCloser
	done func() error
}

// Begin starts the guardian's clock: from now on the worker must not take longer
// than its limit.
func (g *Guardian) Begin() error {
	if _, err := g.in.Write([]byte{begin}); err != nil {
		return fmt.Errorf("guardian: %w", err)
	}
	return nil
}

// Done ends the guardian and lets go of this process's memory. It may be called
// more than once, and returns what went wrong with that.
func (g *Guardian) Done() error { return g.done() }

// Start starts a guardian, a process that calls [Watch] on its standard input
// and output, in a session of its own, where no key that ends this process
// reaches it, and locks this process's memory.
func Start(ctx context.Context, cmd *exec.Cmd) (*Guardian, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("guardian: %w", err)
	}
	fail := func(err error) error {
		return errors.Join(fmt.Errorf("guardian: %w", err), cmd.Process.Kill(), ignoreExit(cmd.Wait()))
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if !stop() {
		return nil, fail(context.Cause(ctx))
	}
	if err != nil || line != ready {
		return nil, fail(fmt.Errorf("it answered %q: %w", line, err))
	}
	if err := lockMemory(); err != nil {
		return nil, fail(err)
	}
	return &Guardian{in, sync.OnceValue(func() error {
		_, err := in.Write([]byte{over})
		if err = errors.Join(err, in.Close(), cmd.Wait()); err != nil {
			err = fmt.Errorf("guardian: %w", err)
		}
		return errors.Join(err, unix.Munlockall())
	})}, nil
}

// ignoreExit drops the news that a process which was killed did not end well.
func ignoreExit(err error) error {
	if _, killed := errors.AsType[*exec.ExitError](err); killed {
		return nil
	}
	return err
}

// lockMemory brings all memory in and keeps it.
func lockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE); err != nil {
		return fmt.Errorf("lock memory: %w", err)
	}
	return nil
}

// Watch is the guardian's side. It returns nil when the worker is done; ErrDied
// when it is no more; ErrHung when limit has passed since Begin: then the worker
// was killed, that it may not go on with what is about to be undone. It speaks on
// out and listens on in.
func Watch(worker int, in, out *os.File, limit time.Duration) error {
	pidfd, err := unix.PidfdOpen(worker, 0)
	if err == nil && os.Getppid() != worker { // its number may be another's by now
		err = errors.Join(unix.ESRCH, unix.Close(pidfd))
	}
	if err != nil {
		return fmt.Errorf("guardian: process %d, which started it: %w", worker, err)
	}
	defer unix.Close(pidfd)
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	if err := lockMemory(); err != nil {
		return fmt.Errorf("guardian: %w", err)
	}
	if _, err := io.WriteString(out, ready); err != nil {
		return fmt.Errorf("guardian: %w", err)
	}
	if err := listen(in, limit); err != ErrHung {
		return err
	}
	err = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	if err == nil {
		err = gone(pidfd)
	}
	return errors.Join(ErrHung, err)
}

// listen hears what becomes of the worker: ErrHung if its time is up.
func listen(in io.Reader, limit time.Duration) error {
	told := make(chan byte, 2) // all that a worker ever says
	go func() {
		defer close(told)
		for {
			var b [1]byte
			if _, err := in.Read(b[:]); err != nil {
				return
			}
			told <- b[0]
		}
	}()
	var late <-chan time.Time
	for {
		select {
		case b, ok := <-told:
			switch {
			case !ok:
				return ErrDied
			case b == over:
				return nil
			}
			late = time.After(limit)
		case <-late:
			return ErrHung
		}
	}
}

// killPatience is how long a killed process may take to go: one that waits for
// a broken disk cannot.
const killPatience = 5 * time.Second

// gone waits until a process that was killed is no more.
func gone(pidfd int) error {
	deadline := time.Now().Add(killPatience)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errors.New("it does not go, it waits for a disk")
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n > 0:
			return nil
		}
	}
}
