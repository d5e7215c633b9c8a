package nbd

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync/atomic"

	"cowhand/dmcore/blockdev"
)

// hook is called before each operation of a device, and makes it fail.
type hook func(cmd uint16, off int64) error

// device is a device in memory with a hook.
type device struct {
	*blockdev.Mem
	hook          atomic.Pointer[hook]
	closed, syncs atomic.Int32
}

func newDevice(size int64) *device { return &device{Mem: blockdev.NewMem(size)} }

func (d *device) setHook(h hook) { d.hook.Store(&h) }

func (d *device) call(cmd uint16, off int64) error {
	if h := d.hook.Load(); h != nil && *h != nil {
		return (*h)(cmd, off)
	}
	return nil
}

func (d *device) ReadAt(p []byte, off int64) (int, error) {
	if err := d.call(cmdRead, off); err != nil {
		return 0, err
	}
	return d.Mem.ReadAt(p, off)
}

func (d *device) WriteAt(p []byte, off int64) (int, error) {
	if err := d.call(cmdWrite, off); err != nil {
		return 0, err
	}
	return d.Mem.WriteAt(p, off)
}

func (d *device) Sync() error {
	d.syncs.Add(1)
	return d.call(cmdFlush, 0)
}

func (d *device) Close() error {
	d.closed.Add(1)
	return nil
}

func (d *device) Discard(off, n int64) error {
	if err := d.call(cmdTrim, off); err != nil {
		return err
	}
	return d.Mem.Discard(off, n)
}

func (d *device) Zero(off, n int64, mayUnmap bool) error {
	if err := d.call(cmdWriteZeroes, off); err != nil {
		return err
	}
	if !mayUnmap {
		_, err := d.Mem.WriteAt(make([]byte, n), off)
		return err
	}
	return d.Mem.Zero(off, n, true)
}

func (d *device) Extents(off, n int64) ([]blockdev.Extent, error) {
	if err := d.call(cmdBlockStatus, off); err != nil {
		return nil, err
	}
	return d.Mem.Extents(off, n)
}

// plain hides all that is not Device.
type plain struct{ blockdev.Device }

// exports is a fixed set of devices; one without a device cannot be opened.
type exports map[string]entry

type entry struct {
	dev blockdev.Device
	Export
}

func (x exports) List(context.Context) ([]Export, error) {
	var out []Export
	for _, name := range slices.Sorted(maps.Keys(x)) {
		e := x[name].Export
		e.Name = name
		out = append(out, e)
	}
	return out, nil
}

func (x exports) Open(_ context.Context, name string, _ bool) (blockdev.Device, Export, error) {
	e, ok := x[name]
	switch {
	case !ok:
		return nil, Export{}, fs.ErrNotExist
	case e.dev == nil:
		return nil, Export{}, errors.New("it is broken")
	}
	e.Name = name
	return e.dev, e.Export, nil
}
