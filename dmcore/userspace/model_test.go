package userspace_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/userspace"
)

// The model knows of each sector the 64-bit value it is filled with.

// volume is what a device must hold: the values in cur and, after a power cut,
// any of the values in maybe, which were written since the last sync or were
// there at it.
type volume struct {
	cur   []uint64
	maybe map[int][]uint64
}

func newVolume(sectors int) *volume {
	return &volume{make([]uint64, sectors), map[int][]uint64{}}
}

func (v *volume) clone() *volume {
	c := &volume{slices.Clone(v.cur), map[int][]uint64{}}
	for i, m := range v.maybe {
		c.maybe[i] = slices.Clone(m)
	}
	return c
}

// settle takes what a power cut left.
func (v *volume) settle(got []uint64) error {
	for i, g := range got {
		if g != v.cur[i] && !slices.Contains(v.maybe[i], g) {
			return fmt.Errorf("sector %d is %x after the power cut, want %x or one of %x", i, g, v.cur[i], v.maybe[i])
		}
	}
	v.cur = got
	clear(v.maybe)
	return nil
}

func (v *volume) diff(from int, got []uint64) error {
	for i, g := range got {
		if g != v.cur[from+i] {
			return fmt.Errorf("sector %d is %x, want %x", from+i, g, v.cur[from+i])
		}
	}
	return nil
}

func pack(vals []uint64) []byte {
	p := make([]byte, len(vals)*dmcore.SectorSize)
	for i := range p {
		if i%8 == 0 {
			binary.LittleEndian.PutUint64(p[i:], vals[i/dmcore.SectorSize])
		}
	}
	return p
}

func unpack(p []byte) ([]uint64, error) {
	vals := make([]uint64, len(p)/dmcore.SectorSize)
	for i := 0; i < len(p); i += 8 {
		v := binary.LittleEndian.Uint64(p[i:])
		if i%dmcore.SectorSize == 0 {
			vals[i/dmcore.SectorSize] = v
		} else if vals[i/dmcore.SectorSize] != v {
			return nil, fmt.Errorf("sector %d holds both %x and %x", i/dmcore.SectorSize, vals[i/dmcore.SectorSize], v)
		}
	}
	return vals, nil
}

// snap is a snapshot in the model.
type snap struct {
	*volume
	slot    int
	chunk   int
	cow     int          // sectors of the COW device
	own     map[int]bool // sectors written through the snapshot
	invalid bool
	lost    bool // invalid on disk: nothing was under way since it was seen
	small   bool // the COW device may have been full at some time
}

func (s *snap) name() string { return fmt.Sprint("s", s.slot) }

const (
	slots    = 5
	slotRoom = 8192 // sectors of backing for each COW device
)

// world is a machine and what it must show.
type world struct {
	*rig
	rng     *rand.Rand
	tag     uint64
	log     []int // of the steps taken
	sectors int
	pvs     []blockdev.Device
	batch   int64
	powered func() bool

	origin  *volume
	snaps   []*snap
	merging *snap
}

func newWorld(r *rig, rng *rand.Rand, pvs []blockdev.Device) *world {
	w := &world{rig: r, rng: rng, pvs: pvs, sectors: 256 + rng.IntN(1024), batch: 4096 << rng.IntN(7),
		powered: func() bool { return true }}
	w.origin = newVolume(w.sectors)
	return w
}

// pvSize is the size of the backing devices that a world needs.
const pvSize = (2048 + slots*slotRoom) * dmcore.SectorSize

func (w *world) boot() {
	w.rig = newRig(w.t)
	for i, d := range w.pvs {
		w.files[dmcore.Dev(fmt.Sprint("pv", i))] = d
	}
	w.m.SetMergeBatch(w.batch)
}

// try runs commands until one fails.
func (w *world) try(steps ...func() error) error {
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) doCreate(name string) func() error {
	return func() error {
		_, err := w.c.Create(w.t.Context(), dmcore.Name(name), dmcore.UUID(name))
		return err
	}
}

func (w *world) doLoad(name, format string, args ...any) func() error {
	return func() error {
		for i, a := range args {
			if d, ok := a.(devOf); ok {
				info, err := w.c.Info(w.t.Context(), dmcore.Name(d))
				if err != nil {
					return err
				}
				args[i] = info.Dev
			}
		}
		t, err := dmcore.ParseTable(fmt.Sprintf(format, args...))
		if err != nil {
			return err
		}
		return w.c.Load(w.t.Context(), dmcore.UUID(name), t, false)
	}
}

// devOf stands in a table for the number of a device.
type devOf string

func (w *world) doSuspend(name string) func() error {
	return func() error { return w.c.Suspend(w.t.Context(), dmcore.UUID(name), dmcore.SuspendOptions{}) }
}

func (w *world) doResume(name string) func() error {
	return func() error {
		_, err := w.c.Resume(w.t.Context(), dmcore.UUID(name))
		return err
	}
}

func (w *world) doRemove(name string) func() error {
	return func() error { return w.c.Remove(w.t.Context(), dmcore.UUID(name)) }
}

func (w *world) loadCOW(s *snap) func() error {
	pv := len(w.pvs) - 1
	return w.doLoad(s.name()+"-cow", "0 %d linear pv%d %d", s.cow, pv, 2048+s.slot*slotRoom)
}

func (w *world) loadSnap(s *snap) func() error {
	return w.doLoad(s.name(), "0 %d snapshot %s %s P %d", w.sectors, devOf("o-real"), devOf(s.name()+"-cow"), s.chunk)
}

// loadOrigin loads the table that the origin is to have now.
func (w *world) loadOrigin() func() error {
	if s := w.merging; s != nil {
		return w.doLoad("o", "0 %d snapshot-merge %s %s P %d", w.sectors, devOf("o-real"), devOf(s.name()+"-cow"), s.chunk)
	}
	return w.doLoad("o", "0 %d snapshot-origin %s", w.sectors, devOf("o-real"))
}

// activate makes all devices, as at boot.
func (w *world) activate() error {
	err := w.try(w.doCreate("o-real"), w.doLoad("o-real", "0 %d linear pv0 0", w.sectors), w.doResume("o-real"))
	for _, s := range w.snaps {
		if err == nil {
			err = w.try(w.doCreate(s.name()+"-cow"), w.loadCOW(s), w.doResume(s.name()+"-cow"), w.doCreate(s.name()))
		}
		if err == nil && s != w.merging {
			err = w.loadSnap(s)()
		} else if err == nil {
			err = w.doLoad(s.name(), "0 %d error", w.sectors)()
		}
		if err == nil {
			err = w.doResume(s.name())()
		}
	}
	if err != nil {
		return err
	}
	return w.try(w.doCreate("o"), w.loadOrigin(), w.doResume("o"))
}

func (w *world) take() error {
	s := &snap{slot: w.freeSlot(), chunk: 8 << w.rng.IntN(3), own: map[int]bool{}}
	if s.slot < 0 || w.merging != nil {
		return nil
	}
	s.cow = slotRoom
	if w.rng.IntN(3) == 0 {
		s.cow, s.small = s.chunk*(4+w.rng.IntN(40)), true
	}
	cow := s.name() + "-cow"
	err := w.try(w.doCreate(cow), w.loadCOW(s), w.doResume(cow),
		func() error { return w.wipe(cow, s.chunk) },
		w.doCreate(s.name()), w.loadSnap(s), w.doSuspend("o"))
	if err != nil {
		return err
	}
	s.volume = w.origin.clone()
	w.snaps = append(w.snaps, s) // committed
	return w.try(w.doResume(s.name()), w.doResume("o"))
}

func (w *world) wipe(name string, sectors int) error {
	h, err := w.m.Open(dmcore.Name(name), false)
	if err != nil {
		return err
	}
	_, err = h.WriteAt(make([]byte, sectors*dmcore.SectorSize), 0)
	return errors.Join(err, h.Sync(), h.Close())
}

func (w *world) freeSlot() int {
	for i := range slots {
		if !slices.ContainsFunc(w.snaps, func(s *snap) bool { return s.slot == i }) {
			return i
		}
	}
	return -1
}

// any picks a snapshot that is not being merged.
func (w *world) any() *snap {
	var free []*snap
	for _, s := range w.snaps {
		if s != w.merging {
			free = append(free, s)
		}
	}
	if len(free) == 0 {
		return nil
	}
	return free[w.rng.IntN(len(free))]
}

func (w *world) forget(s *snap) {
	w.snaps = slices.DeleteFunc(w.snaps, func(x *snap) bool { return x == s })
}

func (w *world) drop() error {
	s := w.any()
	if s == nil {
		return nil
	}
	w.forget(s)
	return w.try(w.doRemove(s.name()), w.doRemove(s.name()+"-cow"))
}

// extend gives a snapshot a bigger COW device.
func (w *world) extend() error {
	s := w.any()
	if s == nil || s.cow == slotRoom {
		return nil
	}
	s.cow = min(slotRoom, s.cow+s.chunk*(1+w.rng.IntN(30)))
	cow := s.name() + "-cow"
	return w.try(w.loadCOW(s), w.doSuspend("o"), w.doSuspend(s.name()),
		w.doResume(cow), w.doResume(s.name()), w.doResume("o"))
}

// reload loads the table of a snapshot again: a handover to itself.
func (w *world) reload() error {
	s := w.any()
	if s == nil {
		return nil
	}
	return w.try(w.loadSnap(s), w.doResume(s.name()))
}

func (w *world) startMerge() error {
	s := w.any()
	if s == nil || w.full(s) || w.merging != nil {
		return nil
	}
	w.merging = s
	err := w.try(w.loadOrigin(), w.doLoad(s.name(), "0 %d error", w.sectors))
	if err != nil {
		w.merging = nil
		return err
	}
	w.origin = s.volume // committed
	return w.try(w.doSuspend("o"), w.doSuspend(s.name()), w.doResume("o"), w.doResume(s.name()))
}

func (w *world) finishMerge(wait bool) error {
	s := w.merging
	if s == nil {
		return nil
	}
	for {
		nr, err := w.c.Info(w.t.Context(), "o")
		if err != nil {
			return err
		}
		st, err := w.c.SnapshotStatus(w.t.Context(), "o")
		if err != nil {
			return err
		}
		if st.Merged() {
			break
		}
		if st.State != dmcore.SnapshotOK {
			return fmt.Errorf("merge is %v", st)
		}
		if !wait {
			return nil
		}
		if _, err := w.c.Wait(w.t.Context(), "o", nr.EventNr); err != nil {
			return err
		}
	}
	w.merging = nil
	w.forget(s)
	return w.try(w.loadOrigin(), w.doResume("o"), w.doRemove(s.name()), w.doRemove(s.name()+"-cow"))
}

// pause suspends and resumes the devices of the tree, top down and bottom up.
func (w *world) pause() error {
	names := []string{"o"}
	for _, s := range w.snaps {
		names = append(names, s.name())
	}
	names = append(names, "o-real")
	for _, s := range w.snaps {
		names = append(names, s.name()+"-cow")
	}
	names = names[:1+w.rng.IntN(len(names))]
	for _, n := range names {
		if err := w.doSuspend(n)(); err != nil {
			return err
		}
	}
	for _, n := range slices.Backward(names) {
		if err := w.doResume(n)(); err != nil {
			return err
		}
	}
	return nil
}

// transfer is one read or write; after it ran, err tells.
type transfer struct {
	s     *snap // nil: the origin
	write bool
	from  int
	vals  []uint64 // written, or read
	err   error
}

func (w *world) vol(s *snap) *volume {
	if s == nil {
		return w.origin
	}
	return s.volume
}

// plan makes transfers that can run at once: on one device, none overlaps a
// write.
func (w *world) plan(n int) []*transfer {
	var out []*transfer
	for range n {
		t := &transfer{write: w.rng.IntN(3) > 0}
		if w.rng.IntN(2) == 0 {
			if t.s = w.any(); t.s != nil && t.s.invalid {
				t.s = nil
			}
		}
		length := 1 + w.rng.IntN(12)
		if w.rng.IntN(4) == 0 {
			length = 1 + w.rng.IntN(min(300, w.sectors))
		}
		t.from = w.rng.IntN(w.sectors - length + 1)
		if w.rng.IntN(4) == 0 {
			t.from = t.from / 8 * 8
		}
		t.vals = make([]uint64, length)
		if slices.ContainsFunc(out, func(o *transfer) bool {
			return o.s == t.s && (o.write || t.write) && o.from < t.from+length && t.from < o.from+len(o.vals)
		}) {
			continue
		}
		if t.write {
			w.tag++
			for i := range t.vals {
				t.vals[i] = w.tag<<16 | uint64(t.from+i)
			}
		}
		out = append(out, t)
	}
	return out
}

func (w *world) run(t *transfer) error {
	name := "o"
	if t.s != nil {
		name = t.s.name()
	}
	h, err := w.m.Open(dmcore.Name(name), false)
	if err != nil {
		return err
	}
	defer h.Close()
	off := int64(t.from) * dmcore.SectorSize
	if t.write {
		_, err = h.WriteAt(pack(t.vals), off)
		return err
	}
	p := make([]byte, len(t.vals)*dmcore.SectorSize)
	if _, err = h.ReadAt(p, off); err == nil {
		t.vals, err = unpack(p)
	}
	return err
}

// io runs transfers at once, beside what f does, and takes them into the model.
func (w *world) io(n int, f func() error) error {
	list := w.plan(n)
	var all sync.WaitGroup
	for _, t := range list {
		all.Go(func() { t.err = w.run(t) })
	}
	err := f()
	all.Wait()
	for _, t := range list {
		err = errors.Join(err, w.account(t))
	}
	return err
}

func (w *world) account(t *transfer) error {
	v, name := w.vol(t.s), "o"
	if t.s != nil {
		name = t.s.name()
	}
	if t.err == nil && !t.write {
		if err := v.diff(t.from, t.vals); err != nil {
			return fmt.Errorf("%s: read of %d sectors at %d: %w", name, len(t.vals), t.from, err)
		}
		return nil
	}
	for i, val := range t.vals {
		switch k := t.from + i; {
		case !t.write:
		case t.err != nil:
			v.maybe[k] = append(v.maybe[k], val)
		default:
			v.maybe[k] = append(v.maybe[k], v.cur[k])
			v.cur[k] = val
			if t.s != nil {
				t.s.own[k] = true
			}
		}
	}
	if t.err == nil || t.s != nil && w.full(t.s) {
		return nil
	}
	return fmt.Errorf("%s: write %v at sector %d: %w", name, t.write, t.from, t.err)
}

// full reports whether a snapshot became invalid, as only one that had not room
// for every chunk may.
func (w *world) full(s *snap) bool {
	st, err := w.c.SnapshotStatus(w.t.Context(), dmcore.UUID(s.name()))
	if err == nil && st.State == dmcore.SnapshotInvalid && s.small {
		s.invalid = true
	}
	return s.invalid
}

func (w *world) sync() error {
	s := w.any()
	if w.rng.IntN(2) == 0 || s != nil && s.invalid {
		s = nil
	}
	name := "o"
	if s != nil {
		name = s.name()
	}
	h, err := w.m.Open(dmcore.Name(name), false)
	if err != nil {
		return err
	}
	if err := errors.Join(h.Sync(), h.Close()); err != nil {
		return err
	}
	if s == nil {
		clear(w.origin.maybe)
		return nil
	}
	for k := range s.own { // the rest is the origin's
		delete(s.maybe, k)
	}
	return nil
}

// read reads a whole device.
func (w *world) read(name string) ([]uint64, error) {
	h, err := w.m.Open(dmcore.Name(name), true)
	if err != nil {
		return nil, err
	}
	p := make([]byte, w.sectors*dmcore.SectorSize)
	_, err = h.ReadAt(p, 0)
	if err = errors.Join(err, h.Close()); err != nil {
		return nil, err
	}
	return unpack(p)
}

// check compares every device with the model, as does f.
func (w *world) check(compare func(v *volume, got []uint64) error) error {
	got, err := w.read("o")
	if err == nil {
		err = compare(w.origin, got)
	}
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	for _, s := range w.snaps {
		if s == w.merging {
			continue
		}
		was := s.invalid
		got, err := w.read(s.name())
		if err != nil && w.full(s) {
			continue
		}
		if err == nil && was {
			err = errors.New("an invalid snapshot is valid again")
		}
		if err == nil {
			err = compare(s.volume, got)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
	}
	return nil
}

func same(v *volume, got []uint64) error { return v.diff(0, got) }

func (w *world) restart() error {
	if err := w.m.Close(); err != nil {
		return err
	}
	w.boot()
	return w.activate()
}

// step does something.
func (w *world) step() error {
	for _, s := range w.snaps {
		s.lost = s.lost || s.invalid && w.merging == nil && w.powered()
	}
	nothing := func() error { return nil }
	k := w.rng.IntN(100)
	w.log = append(w.log, k)
	switch {
	case k < 60:
		return w.io(1+w.rng.IntN(8), nothing)
	case k < 68:
		return w.take()
	case k < 71:
		return w.drop()
	case k < 74:
		return w.extend()
	case k < 77:
		return w.reload()
	case k < 81:
		return w.startMerge()
	case k < 86:
		return w.finishMerge(w.rng.IntN(2) == 0)
	case k < 89:
		return w.io(1+w.rng.IntN(8), w.pause)
	case k < 91:
		return w.restart()
	case k < 95:
		return w.sync()
	}
	return w.check(same)
}

var _ dmcore.Control = (*userspace.Machine)(nil)
