package kernel

import (
	"context"
	"errors"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// settle waits until udev is done with the events of the batch, and sees to it
// that the names are as the kernel has them now: all of them where there is no
// udev, and else those it did not make or left behind. If ctx ends first, the
// next settle looks at the names again.
func (c *Control) settle(ctx context.Context) error {
	c.mu.Lock()
	b := c.batch
	c.batch = newBatch()
	c.mu.Unlock()
	if err := b.cookie.wait(ctx, c.cfg.Patience); errors.Is(err, unix.EAGAIN) {
		c.mu.Lock()
		c.udev = deaf
		c.mu.Unlock()
	} else if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		later := c.batch.touched
		c.batch.touched = b.touched
		maps.Copy(c.batch.touched, later)
		return err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(b.touched)) {
		now, err := c.named(name)
		if err == nil {
			err = c.nodes.put(plan(b.touched[name], now))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// named returns the device that has a name and a table now, or nil.
func (c *Control) named(name string) (*dmcore.Info, error) {
	a, err := c.ask(&call{num: unix.DM_DEV_STATUS, name: name})
	if err == unix.ENXIO {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if i := a.info(); i.Live {
		return &i, nil
	}
	return nil, nil
}
