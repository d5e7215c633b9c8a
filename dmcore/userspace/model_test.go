package userspace_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

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
