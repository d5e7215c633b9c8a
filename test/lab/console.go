package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Console is the serial line of a running guest. Lines go in; of what comes out, the lines the
// guest's init says (they start with COWHAND-GUEST) are answers, all others are kept for Tail.
type Console struct {
	tty     *os.File
	answers chan string

	mu   sync.Mutex
	tail []string
	down error // why the line ended
}

const (
	answerPrefix = "COWHAND-GUEST "
	tailLines    = 40
	unreadLines  = 100_000 // answers nobody asked for yet: what a long fill acknowledges
)

// ErrConsoleEnded says that the guest, or its serial line, is gone.
var ErrConsoleEnded = errors.New("console ended")

// Attach opens the console of a running guest and returns when the guest's init answers on it. A
// guest that boots meanwhile is waited for.
func Attach(ctx context.Context, uri, guest string) (*Console, error) {
	path, err := virsh(ctx, uri, "ttyconsole", guest)
	if err != nil {
		return nil, err
	}
	// Non-blocking, so that the runtime polls it and Close ends a read that waits.
	tty, err := os.OpenFile(strings.TrimSpace(path), os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("lab: %s: console: %w", guest, err)
	}
	c := &Console{tty: tty, answers: make(chan string, unreadLines)}
	go c.read()
	if err := c.hello(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %s: %w", guest, err), c.Close())
	}
	return c, nil
}

// hello calls until the guest answers, then once more with a word of its own: when that comes back,
// no answer to an earlier call is left on the line.
func (c *Console) hello(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		if err := c.Send(fmt.Sprintf("hello %d", n)); err != nil {
			return err
		}
		try, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		_, err := c.wait(try, "ready=", true)
		cancel()
		switch {
		case err == nil:
			if err := c.Send("hello attached"); err != nil {
				return err
			}
			_, err := c.wait(ctx, "ready=attached", true)
			return err
		case ctx.Err() != nil || errors.Is(err, ErrConsoleEnded):
			return err
		}
	}
}

// Do sends a command line and returns the rest of the first answer that starts with prefix.
func (c *Console) Do(ctx context.Context, line, prefix string) (string, error) {
	if err := c.Send(line); err != nil {
		return "", err
	}
	return c.Wait(ctx, prefix)
}

// Send writes one command line.
func (c *Console) Send(line string) error {
	if _, err := c.tty.WriteString(line + "\n"); err != nil {
		return fmt.Errorf("lab: console: %w", err)
	}
	return nil
}

// Wait returns the rest of the next answer that starts with prefix, and skips others. It fails when
// ctx ends, the guest reports an error, or the line ends.
func (c *Console) Wait(ctx context.Context, prefix string) (string, error) {
	return c.wait(ctx, prefix, false)
}

// wait is Wait, or, for the first call, a Wait that does not mind errors: of a line typed before
// the kernel listens only the end arrives, which is no command.
func (c *Console) wait(ctx context.Context, prefix string, first bool) (string, error) {
	for {
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("lab: console: no answer %q: %w; last lines:\n%s", prefix, ctx.Err(), c.Tail())
		case line, ok := <-c.answers:
			if !ok {
				return "", fmt.Errorf("lab: console: no answer %q: %w; last lines:\n%s", prefix, ErrConsoleEnded, c.Tail())
			}
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest, nil
			}
			if strings.HasPrefix(line, "error=") && !first {
				return "", fmt.Errorf("lab: console: the guest says %s", line)
			}
		}
	}
}

// Ended waits until the guest is off, or at least its serial line gone.
func (c *Console) Ended(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("lab: console: the guest is still on: %w; last lines:\n%s", ctx.Err(), c.Tail())
		case _, ok := <-c.answers:
			if !ok {
				return nil
			}
		}
	}
}

// Tail returns the last lines that came, of whatever kind.
func (c *Console) Tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down != nil {
		return strings.Join(c.tail, "\n") + "\n" + c.down.Error()
	}
	return strings.Join(c.tail, "\n")
}

// Close lets go of the line; the guest does not notice.
func (c *Console) Close() error {
	if err := c.tty.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

func (c *Console) read() {
	defer close(c.answers)
	in := bufio.NewScanner(c.tty)
	for in.Scan() {
		line := strings.TrimRight(in.Text(), "\r")
		c.mu.Lock()
		c.tail = append(c.tail, line)
		c.tail = c.tail[max(0, len(c.tail)-tailLines):]
		c.mu.Unlock()
		// The kernel's words and the init's may share a line: take what follows the prefix.
		if _, answer, ok := strings.Cut(line, answerPrefix); ok {
			select {
			case c.answers <- answer:
			default: // nobody listens; a guest must not wait for its console
			}
		}
	}
	c.mu.Lock()
	c.down = in.Err()
	c.mu.Unlock()
}
