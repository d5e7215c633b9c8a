package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"cowhand/dmcore"
)

// settleLimit is how long a cancelled command that changes something may take
// to tell whether it did.
const settleLimit = 5 * time.Second

// Client is a connection to an engine. It is a [dmcore.Control]; Do is safe for
// concurrent use. Devices it suspends are resumed by the engine when the
// connection ends. It does not reconnect: once the engine is gone everything
// fails with [dmcore.ErrUnavailable].
//
// When ctx ends during a command that changes something, Do waits a little for
// the engine to tell whether the change was made: a nil error says it was, and
// an error that matches ctx's says it was not, or, if the engine did not
// answer, that it may have been.
type Client struct {
	conn    *net.UnixConn
	reading sync.Once
	writing sync.Mutex
	done    chan struct{} // closed when reading ended

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan *response
	err     error // why the connection ended
}

var _ dmcore.Control = (*Client)(nil)

// Dial connects to the engine of a run directory. Without one the error
// matches [dmcore.ErrUnavailable]; if the socket is another user's,
// fs.ErrPermission.
func Dial(runDir string) (*Client, error) {
	dir, err := runDirPath(runDir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, controlName)
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%s: no engine is running: %w", dir, dmcore.ErrUnavailable)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: the engine is another user's: %w", dir, fs.ErrPermission)
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %w", dir, err, dmcore.ErrUnavailable)
	}
	// What an engine says decides what is written to disks: it is believed from
	// root and from ourselves.
	if uid, err := peerUID(conn); err != nil || uid != 0 && uid != os.Geteuid() {
		conn.Close()
		if err == nil {
			err = fmt.Errorf("%s: the engine is run by user %d, we are user %d: %w", dir, uid, os.Geteuid(), fs.ErrPermission)
		}
		return nil, err
	}
	return newClient(conn), nil
}

func newClient(conn *net.UnixConn) *Client {
	return &Client{conn: conn, done: make(chan struct{}), waiting: map[uint64]chan *response{}}
}

// Do carries out a dmcore command.
func (c *Client) Do(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
	name := req.Name
	if name == "" {
		name = dmcore.Name(req.UUID)
	}
	err := checkText(req)
	if err == nil {
		var r *response
		if r, err = c.call(ctx, &request{Cmd: cmd.String(), Req: req}, cmd.Changes()); err == nil {
			if r.Reply == nil {
				r.Reply = &dmcore.Reply{}
			}
			return r.Reply, nil
		}
	}
	if _, ok := err.(*dmcore.Error); ok {
		return nil, err
	}
	return nil, &dmcore.Error{Cmd: cmd, Name: name, Err: err}
}

// Engine tells about the engine itself.
func (c *Client) Engine(ctx context.Context) (Info, error) {
	r, err := c.call(ctx, &request{Cmd: verbEngine}, false)
	if err != nil || r.Engine == nil {
		return Info{}, err
	}
	return *r.Engine, nil
}

// Shutdown asks the engine to stop in an orderly way. While devices are open,
// or waited for after a crash, it refuses with [dmcore.ErrBusy] unless forced.
func (c *Client) Shutdown(ctx context.Context, force bool) error {
	_, err := c.call(ctx, &request{Cmd: verbStop, Force: force}, true)
	return err
}

// Close ends the connection.
func (c *Client) Close() error {
	c.fail(net.ErrClosed)
	err := c.conn.Close()
	c.reading.Do(func() { close(c.done) })
	<-c.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (c *Client) call(ctx context.Context, req *request, changes bool) (*response, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	c.reading.Do(func() { go c.read() })
	answer := make(chan *response, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.next++
	req.ID = c.next
	c.waiting[req.ID] = answer
	c.mu.Unlock()
	defer c.forget(req.ID)
	if err := c.send(req); err != nil {
		return nil, err
	}
	select {
	case r := <-answer:
		return r, r.failure(req)
	case <-c.done:
		return c.last(req, answer)
	case <-ctx.Done():
	}
	if err := c.send(&request{ID: req.ID, Cmd: verbCancel}); err != nil || !changes {
		return nil, context.Cause(ctx)
	}
	t := time.NewTimer(settleLimit)
	defer t.Stop()
	select {
	case r := <-answer:
		if err := r.failure(req); err != nil {
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return r, nil
	case <-c.done:
		return nil, fmt.Errorf("%w: %w", context.Cause(ctx), c.why())
	case <-t.C:
		return nil, fmt.Errorf("%w: and the engine does not answer", context.Cause(ctx))
	}
}

// last prefers an answer that came just before the connection ended.
func (c *Client) last(req *request, answer chan *response) (*response, error) {
	select {
	case r := <-answer:
		return r, r.failure(req)
	default:
		return nil, c.why()
	}
}

func (r *response) failure(req *request) error {
	if r.Error == nil {
		return nil
	}
	return r.Error.err(req.Cmd)
}

func (c *Client) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

func (c *Client) send(req *request) error {
	line, err := encode(req)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	if _, err := c.conn.Write(line); err != nil {
		// The reader may still find why the engine closed the connection.
		c.conn.SetReadDeadline(time.Now().Add(time.Second))
		<-c.done
		return c.why()
	}
	return nil
}

// fail notes why the connection ended; the first reason stands.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if !errors.Is(err, dmcore.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", err, dmcore.ErrUnavailable)
	}
	c.err = fmt.Errorf("connection to the engine: %w", err)
}

// read hands answers to those who wait, until the connection ends.
func (c *Client) read() {
	defer close(c.done)
	defer c.conn.Close()
	r := bufio.NewReaderSize(c.conn, 64<<10)
	for {
		line, err := readLine(r, maxLine)
		if err != nil {
			c.fail(err)
			return
		}
		var resp response
		if err := json.Unmarshal(line, &resp); err != nil {
			c.fail(err)
			return
		}
		if resp.ID == 0 {
			if resp.Error != nil {
				c.fail(resp.Error.err(""))
			}
			continue
		}
		c.mu.Lock()
		if answer := c.waiting[resp.ID]; answer != nil {
			delete(c.waiting, resp.ID)
			answer <- &resp
		}
		c.mu.Unlock()
	}
}
