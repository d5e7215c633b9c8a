package userspace

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// lower is a device that a table stands on: a device of the same machine or
// something the Opener gave. It is a blockdev.Device, so that an exception
// store can live on it.
type lower struct {
	name dmcore.Dev
	dm   *device // one of the two is set
	file *backing
}

// key tells whether two lowers are the same device.
func (l *lower) key() any {
	if l.dm != nil {
		return l.dm
	}
	return l.file
}

func (l *lower) read(p []byte, off int64) error {
	if l.dm != nil {
		return l.dm.read(p, off)
	}
	if n, err := l.file.dev.ReadAt(p, off); n < len(p) {
		return ioError(l.name, "read", len(p), off, err)
	}
	return nil
}

func (l *lower) write(p []byte, off int64) error {
	if l.dm != nil {
		return l.dm.write(p, off)
	}
	if n, err := l.file.dev.WriteAt(p, off); n < len(p) || err != nil {
		return ioError(l.name, "write", len(p), off, err)
	}
	return nil
}

func (l *lower) zero(off, n int64, mayUnmap bool) error {
	if l.dm != nil {
		return l.dm.with(off, n, func(t *table) error { return t.zero(off, n, mayUnmap) })
	}
	if z, ok := l.file.dev.(blockdev.Zeroer); ok {
		return z.Zero(off, n, mayUnmap)
	}
	return errors.ErrUnsupported
}

func (l *lower) discard(off, n int64) error {
	if l.dm != nil {
		return l.dm.with(off, n, func(t *table) error { return t.discard(off, n) })
	}
	if d, ok := l.file.dev.(blockdev.Discarder); ok {
		return d.Discard(off, n)
	}
	return errors.ErrUnsupported
}

// extents never fails for want of knowledge: what is unknown is allocated.
func (l *lower) extents(off, n int64) ([]blockdev.Extent, error) {
	if l.dm != nil {
		var e []blockdev.Extent
		err := l.dm.with(off, n, func(t *table) (err error) {
			e, err = t.extents(off, n)
			return err
		})
		return e, err
	}
	if m, ok := l.file.dev.(blockdev.Mapper); ok {
		if e, err := m.Extents(off, n); !errors.Is(err, errors.ErrUnsupported) {
			return e, err
		}
	}
	return allocated(n), nil
}

func allocated(n int64) []blockdev.Extent { return []blockdev.Extent{{Length: n}} }

// Size is the size now; that of a device without a live table is 0.
func (l *lower) Size() int64 {
	if l.dm != nil {
		return l.dm.size()
	}
	return l.file.dev.Size()
}

// coming is the size that a device of the machine is to have when it is resumed; 0
// if no table waits for that.
func (l *lower) coming() int64 {
	if l.dm == nil {
		return 0
	}
	l.dm.m.mu.Lock()
	defer l.dm.m.mu.Unlock()
	if l.dm.inactive == nil {
		return 0
	}
	return l.dm.inactive.size
}

// ReadAt, WriteAt, Sync and Close make a lower a blockdev.Device.
func (l *lower) ReadAt(p []byte, off int64) (int, error) {
	if err := l.read(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (l *lower) WriteAt(p []byte, off int64) (int, error) {
	if err := l.write(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Sync makes durable what was written through this lower.
func (l *lower) Sync() error {
	var f flush
	f.add(l)
	return f.run()
}

// SyncRange makes durable what was written to a part of this lower, and waits
// for nothing else where the devices below can do that.
func (l *lower) SyncRange(off, n int64) error {
	var f flush
	f.addRange(l, off, n)
	return f.run()
}

// Close does nothing: the table that holds the lower gives it back.
func (l *lower) Close() error { return nil }

func ioError(dev dmcore.Dev, what string, n int, off int64, cause error) error {
	if cause == nil {
		return fmt.Errorf("%s: %s of %d bytes at %d: %w", dev, what, n, off, dmcore.ErrIO)
	}
	return fmt.Errorf("%s: %s of %d bytes at %d: %w: %w", dev, what, n, off, dmcore.ErrIO, cause)
}

// backing is a device from outside the machine, opened once however many
// tables use it.
type backing struct {
	ref dmcore.Dev
	dev blockdev.Device
	// Guarded by Machine.mu:
	uses  int
	areas []area // that tables map, if others go past the copy of it
}

// flush gathers what lies below some devices and makes it durable, each file
// once. It holds the gates of the devices on the way until it ran.
type flush struct {
	files []flushed
	held  []*device      // whose gates it passed
	whole []*device      // of which all is to be synced
	first []func() error // what is to be done before the files are synced
	err   error
}

// flushed is a file to be synced, or n bytes at off of it.
type flushed struct {
	*backing
	off, n int64
	whole  bool
}

func (w flushed) sync() error {
	if w.whole {
		return w.dev.Sync()
	}
	return blockdev.SyncRange(w.dev, w.off, w.n)
}

func (f *flush) add(l *lower) {
	if l.dm != nil {
		f.addDevice(l.dm)
		return
	}
	for _, w := range f.files {
		if w.backing == l.file && w.whole {
			return
		}
	}
	f.files = append(f.files, flushed{backing: l.file, whole: true})
}

// rangeSyncer is a target whose bytes lie in one piece below.
type rangeSyncer interface{ syncRange(f *flush, off, n int64) }

// addRange is add for n bytes at off.
func (f *flush) addRange(l *lower, off, n int64) {
	if l.dm == nil {
		f.files = append(f.files, flushed{backing: l.file, off: off, n: n})
		return
	}
	t := f.enter(l.dm)
	if t == nil {
		return
	}
	if err := l.dm.within(t, "sync", off, n); err != nil {
		f.err = err
		return
	}
	f.err = t.each(off, n, func(s *segment, off, n int64) error {
		if r, ok := s.target.(rangeSyncer); ok {
			r.syncRange(f, off, n)
		} else {
			s.target.sync(f)
		}
		return f.err
	})
}

// enter passes the gate of a device, once, and returns its table, nil if it has
// none.
func (f *flush) enter(d *device) *table {
	if !slices.Contains(f.held, d) {
		if !d.gate.enter() {
			f.err = d.gone()
			return nil
		}
		f.held = append(f.held, d)
	}
	return d.live.Load()
}

func (f *flush) addDevice(d *device) {
	if slices.Contains(f.whole, d) {
		return
	}
	f.whole = append(f.whole, d)
	if t := f.enter(d); t != nil {
		for i := range t.segs {
			t.segs[i].target.sync(f)
		}
	}
}

func (f *flush) run() error {
	defer func() {
		for _, d := range f.held {
			d.gate.leave()
		}
	}()
	for _, do := range f.first {
		if f.err == nil {
			f.err = do()
		}
	}
	if f.err != nil || len(f.files) == 0 {
		return f.err
	}
	errs := make([]error, len(f.files))
	var wg sync.WaitGroup
	for i, w := range f.files[1:] {
		wg.Go(func() { errs[i+1] = w.sync() })
	}
	errs[0] = f.files[0].sync()
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("%s: sync: %w: %w", f.files[i].ref, dmcore.ErrIO, err)
		}
	}
	return errors.Join(errs...)
}

// Sync makes durable what was written to any device. It waits for none of them:
// a device that is suspended is no obstacle.
func (m *Machine) Sync() error {
	m.opening.Lock() // nothing is closed meanwhile
	defer m.opening.Unlock()
	var f flush
	m.mu.Lock()
	for _, b := range m.backings {
		f.files = append(f.files, flushed{backing: b, whole: true})
	}
	m.mu.Unlock()
	return f.run()
}

// acquire finds or opens the device that ref names, for a table of owner.
func (m *Machine) acquire(owner *device, ref dmcore.Dev) (*lower, error) {
	if minor, ok := strings.CutPrefix(string(ref), "0:"); ok {
		no, err := strconv.ParseUint(minor, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: no device number: %w", ref, dmcore.ErrInvalid)
		}
		return m.acquireDevice(owner, ref, uint32(no))
	}
	if _, ok := ref.UUID(); ok {
		return nil, fmt.Errorf("%s: reference is not resolved: %w", ref, dmcore.ErrInvalid)
	}
	m.opening.Lock()
	defer m.opening.Unlock()
	m.mu.Lock()
	b := m.backings[ref]
	if b != nil {
		b.uses++
	}
	m.mu.Unlock()
	if b != nil {
		return &lower{name: ref, file: b}, nil
	}
	dev, err := m.open(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: %w", ref, dmcore.ErrNotFound, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", ref, dmcore.ErrIO, err)
	}
	b = &backing{ref: ref, dev: dev, uses: 1}
	m.mu.Lock()
	m.backings[ref] = b
	m.mu.Unlock()
	return &lower{name: ref, file: b}, nil
}

// stands reports whether a device uses another, directly or through others.
func (m *Machine) stands(d, on *device) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return on.standsUnder(d)
}

func (m *Machine) acquireDevice(owner *device, ref dmcore.Dev, minor uint32) (*lower, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.byMinor[minor]
	if d == nil {
		return nil, fmt.Errorf("%s: %w", ref, dmcore.ErrNotFound)
	}
	if d == owner || owner.standsUnder(d) {
		return nil, fmt.Errorf("%s: device would stand on itself: %w", ref, dmcore.ErrInvalid)
	}
	d.users[owner]++
	return &lower{name: ref, dm: d}, nil
}

// release undoes acquire. A file that nothing uses any more is closed, not
// synced: what was acknowledged is in the page cache, and what was to be durable
// has been synced. (Of a block device it was when its areas were left.)
func (m *Machine) release(owner *device, l *lower) error {
	if l.dm != nil {
		m.mu.Lock()
		if l.dm.users[owner]--; l.dm.users[owner] == 0 {
			delete(l.dm.users, owner)
		}
		gone := m.dropIfDeferred(l.dm)
		m.mu.Unlock()
		if gone {
			return m.finish(l.dm)
		}
		return nil
	}
	m.opening.Lock()
	defer m.opening.Unlock()
	m.mu.Lock()
	l.file.uses--
	last := l.file.uses == 0
	if last {
		delete(m.backings, l.file.ref)
	}
	m.mu.Unlock()
	if !last {
		return nil
	}
	return l.file.dev.Close()
}
