package vm

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"

	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/nbd"
)

// caches are the disks that have a write cache, in this process's memory: QEMU has
// them by NBD.
type caches struct {
	mu    sync.Mutex
	disks map[string]*blockdev.Crash
	stop  context.CancelFunc
	done  chan error
}

// newCaches serves disks at a socket.
func newCaches(disks []Disk, socket string) (*caches, error) {
	c := &caches{disks: map[string]*blockdev.Crash{}, done: make(chan error, 1)}
	for i, d := range disks {
		if d.Cache {
			c.disks[diskName(i)] = blockdev.NewCrash(int64(d.MiB) << 20)
		}
	}
	if len(c.disks) == 0 {
		return nil, nil
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("vm: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	go func() { c.done <- (&nbd.Server{Exports: c}).Serve(ctx, l) }()
	return c, nil
}

func (c *caches) close() error {
	if c == nil {
		return nil
	}
	c.stop()
	return <-c.done
}

// List implements [nbd.Exports].
func (c *caches) List(context.Context) ([]nbd.Export, error) { return nil, nil }

// Open implements [nbd.Exports].
func (c *caches) Open(_ context.Context, name string, _ bool) (blockdev.Device, nbd.Export, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.disks[name]
	if d == nil {
		return nil, nbd.Export{}, fmt.Errorf("disk %q: %w", name, fs.ErrNotExist)
	}
	return d, nbd.Export{Name: name, Size: d.Size()}, nil
}

// lose makes the disks hold what a cut may leave of them.
func (c *caches) lose(rng *rand.Rand, keepPercent int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.disks)) {
		c.disks[name] = blockdev.NewCrashOn(new(blockdev.Power), c.disks[name].Clone(rng, keepPercent))
	}
}
