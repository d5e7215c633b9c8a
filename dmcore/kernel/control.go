package kernel

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// Config says where names are made, and by whom. The zero value is what a host
// wants.
type Config struct {
	// Dir is where device nodes are, /dev if empty. It is what DM_DEV_DIR means
	// to lvm2.
	Dir string
	// Udev says who makes names in it.
	Udev Udev
	// Patience is how long Settle waits for udev, 180 s if zero: after that
	// udev itself has given up on an event. It waits that long once; from then
	// on udev is taken to be gone.
	Patience time.Duration
}

// Udev says who makes the names of devices.
type Udev int

const (
	// Auto leaves it to udev where it runs, has the device mapper's rules and
	// works in the same directory.
	Auto Udev = iota
	// Off makes them here and tells udev not to. It is what DM_DISABLE_UDEV
	// asks of lvm2.
	Off
)

func (u Udev) String() string {
	switch u {
	case Auto:
		return "auto"
	case Off:
		return "off"
	}
	return fmt.Sprintf("Udev(%d)", int(u))
}

// Control is the kernel's device mapper. It opens its control node with the
// first command. Create one with [New].
type Control struct {
	cfg   Config
	nodes nodes

	opening sync.Mutex
	file    *os.File
	closed  bool

	mu    sync.Mutex // guards what follows; held over no waiting
	batch *batch     // what the next Settle is about
	udev  presence
}

var _ dmcore.Control = (*Control)(nil)

// New returns the device mapper of the running kernel. Whether there is one,
// the first command tells.
func New(cfg Config) *Control {
	if cfg.Dir == "" {
		cfg.Dir = "/dev"
	}
	if cfg.Patience == 0 {
		cfg.Patience = 180 * time.Second
	}
	return &Control{cfg: cfg, nodes: nodes{cfg.Dir}, batch: newBatch()}
}

// Do carries out a command. When ctx ends during a suspend, a resume, a wait or
// a settle, the kernel is interrupted: the error matches ctx's, and the device
// is as it was. Other commands do not wait.
func (c *Control) Do(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
	reply, err := c.do(ctx, cmd, req)
	if err != nil {
		name := req.Name
		if req.UUID != "" {
			name = dmcore.Name(req.UUID)
		}
		return nil, &dmcore.Error{Cmd: cmd, Name: name, Err: cause(cmd, err)}
	}
	return reply, nil
}

func (c *Control) do(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	switch cmd {
	case dmcore.Version:
		return c.version()
	case dmcore.List:
		return c.list()
	case dmcore.Settle:
		return &dmcore.Reply{}, c.settle(ctx)
	case dmcore.Create:
		return c.create(req)
	}
	q, err := about(req)
	if err != nil {
		return nil, err
	}
	switch cmd {
	case dmcore.Status:
		return c.simple(q.as(unix.DM_DEV_STATUS, 0))
	case dmcore.Clear:
		return c.simple(q.as(unix.DM_TABLE_CLEAR, 0))
	case dmcore.Load:
		return c.load(q, req)
	case dmcore.Suspend:
		return c.suspend(ctx, q, req)
	case dmcore.Resume:
		return c.resume(ctx, q)
	case dmcore.Rename:
		return c.rename(ctx, q, req)
	case dmcore.Remove:
		return c.remove(ctx, q, req)
	case dmcore.Deps, dmcore.TableOf, dmcore.TargetStatusOf:
		return c.describe(cmd, q, req)
	case dmcore.Message:
		return c.message(q, req)
	case dmcore.Wait:
		return c.wait(ctx, q, req)
	}
	return nil, fmt.Errorf("%s: %w", cmd, dmcore.ErrNotSupported)
}

// Close lets go of the control node and of the semaphore of a batch that was
// not settled. Devices stay.
func (c *Control) Close() error {
	c.mu.Lock()
	c.batch.cookie.remove()
	c.batch = newBatch()
	c.mu.Unlock()
	c.opening.Lock()
	defer c.opening.Unlock()
	c.closed = true
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	c.file = nil
	return err
}
