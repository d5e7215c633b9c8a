package userspace_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

var errFault = errors.New("a fault of the disk")

// scene is a small world over devices that can fail, set up the same way each
// time: an origin, a snapshot s0 with changes in it, and another, s1.
type scene struct {
	*world
	power *blockdev.Power
	crash []*blockdev.Crash
}

func newScene(t *testing.T) *scene {
	s := &scene{power: &blockdev.Power{}}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2 {
		s.crash = append(s.crash, blockdev.NewCrashOn(s.power, blockdev.NewMem(pvSize)))
	}
	s.world = newWorld(newRig(t), rng, []blockdev.Device{s.crash[0], s.crash[1]})
	s.sectors, s.batch = 128, 16<<10
	s.origin = newVolume(s.sectors)
	s.boot()
	s.must("set up", s.activate(), s.put(nil, 0, s.sectors), s.cut(0), s.put(nil, 3, 100),
		s.put(s.snap(0), 60, 30), s.cut(1), s.put(nil, 20, 10))
	return s
}

func (s *scene) must(what string, errs ...error) {
	s.t.Helper()
	if err := errors.Join(errs...); err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

func (s *scene) snap(slot int) *snap {
	for _, x := range s.snaps {
		if x.slot == slot {
			return x
		}
	}
	return nil
}

// cut takes a snapshot with room for everything.
func (s *scene) cut(slot int) error {
	x := &snap{slot: slot, chunk: 8, cow: 1024, own: map[int]bool{}}
	cow := x.name() + "-cow"
	err := s.try(s.doCreate(cow), s.loadCOW(x), s.doResume(cow), s.doCreate(x.name()), s.loadSnap(x), s.doSuspend("o"))
	if err != nil {
		return err
	}
	x.volume = s.origin.clone()
	s.snaps = append(s.snaps, x)
	return s.try(s.doResume(x.name()), s.doResume("o"))
}

// put writes n new sectors.
func (s *scene) put(x *snap, from, n int) error {
	s.tag++
	t := &transfer{s: x, write: true, from: from, vals: make([]uint64, n)}
	for i := range t.vals {
		t.vals[i] = s.tag<<16 | uint64(from+i)
	}
	t.err = s.run(t)
	return s.account(t)
}

func (s *scene) startMerge(x *snap) error {
	s.merging = x
	err := s.try(s.loadOrigin(), s.doLoad(x.name(), "0 %d error", s.sectors), s.doSuspend("o"), s.doSuspend(x.name()))
	if err != nil {
		return err
	}
	s.origin = x.volume
	return s.try(s.doResume("o"), s.doResume(x.name()))
}

func (s *scene) status(name string) dmcore.SnapshotStatus {
	s.t.Helper()
	st, err := s.c.SnapshotStatus(s.t.Context(), dmcore.UUID(name))
	s.must("status of "+name, err)
	return st
}

// settled waits until the merge is complete or failed.
func (s *scene) settled() dmcore.SnapshotStatus {
	s.t.Helper()
	for {
		info, err := s.c.Info(s.t.Context(), "o")
		s.must("info", err)
		if st := s.status("o"); st.State != dmcore.SnapshotOK || st.Merged() {
			return st
		}
		_, err = s.c.Wait(s.t.Context(), "o", info.EventNr)
		s.must("wait", err)
	}
}

// TestFaultInOriginWrite fails each operation of an origin write in turn. Only
// a fault of the origin itself may reach who writes to it; a snapshot is what
// it was, or invalid for ever.
func TestFaultInOriginWrite(t *testing.T) {
	for n := 1; ; n++ {
		s := newScene(t)
		before := s.power.Ops()
		s.power.FailAt(n, errFault)
		err := s.put(nil, 30, 90)
		done := s.power.Ops() - before
		s.power.FailAt(0, nil)
		if err != nil && !errors.Is(err, errFault) {
			t.Fatalf("operation %d fails: write to the origin: %v", n, err)
		}
		got, rerr := s.read("o")
		s.must("read the origin", rerr)
		if err := s.origin.settle(got); err != nil {
			t.Fatalf("operation %d fails: %v", n, err)
		}
		for range 2 { // now, and as it is on disk
			for _, x := range s.snaps {
				if x.invalid = s.status(x.name()).State == dmcore.SnapshotInvalid; x.invalid {
					continue
				}
				got, rerr := s.read(x.name())
				s.must("read "+x.name(), rerr)
				if err := x.diff(0, got); err != nil {
					t.Fatalf("operation %d fails: %s: %v", n, x.name(), err)
				}
			}
			s.must("restart", s.restart())
		}
		s.must("close", s.m.Close())
		if done < n {
			if n < 8 {
				t.Fatalf("the write took %d operations, which is too few to be true", done)
			}
			return
		}
	}
}

// TestFaultInSnapshotWrite: a write to the snapshot that fails leaves it
// invalid, the origin and the other snapshot as they were.
func TestFaultInSnapshotWrite(t *testing.T) {
	for n := 1; ; n++ {
		s := newScene(t)
		x := s.snap(1)
		before := s.power.Ops()
		s.power.FailAt(n, errFault)
		x.small = true // it may become invalid
		s.must("write", s.put(x, 101, 9))
		done := s.power.Ops() - before
		s.power.FailAt(0, nil)
		if done >= n != x.invalid {
			t.Fatalf("operation %d of %d fails: invalid is %v", n, done, x.invalid)
		}
		s.must(fmt.Sprintf("operation %d fails", n), s.check(same))
		s.must("close", s.m.Close())
		if done < n {
			return
		}
	}
}

// TestFaultInMerge fails each operation of a merge in turn: it stops as "Merge
// failed", the origin still reads right, and a resume completes it.
func TestFaultInMerge(t *testing.T) {
	for n := 1; ; n++ {
		s := newScene(t)
		s.snap(1).small = true // a fault while it is copied out to costs it
		before := s.power.Ops()
		s.power.FailAt(n, errFault)
		s.must("start", s.startMerge(s.snap(0)))
		st := s.settled()
		done := s.power.Ops() - before
		s.power.FailAt(0, nil)
		what := fmt.Sprintf("operation %d of %d fails, %v", n, done, st)
		s.must(what, s.check(same))
		if st.State == dmcore.MergeFailed {
			// A write may be refused, but what is acknowledged is kept.
			s.put(nil, 64, 8)
			s.put(nil, 5, 8)
			got, err := s.read("o")
			s.must("read", err)
			s.must(what, s.origin.settle(got))
			s.must("suspend", s.doSuspend("o")())
			s.must("resume", s.doResume("o")())
			st = s.settled()
		}
		if !st.Merged() {
			t.Fatalf("%s: then the merge is %v", what, st)
		}
		s.must(what, s.check(same), s.finishMerge(true), s.check(same), s.restart(), s.check(same), s.m.Close())
		if done < n {
			if n < 8 {
				t.Fatalf("the merge took %d operations, which is too few to be true", done)
			}
			return
		}
	}
}

// TestPowerCutInMerge cuts the power at each operation of a merge in turn, with
// nothing, half or all of what was not synced kept.
func TestPowerCutInMerge(t *testing.T) {
	for n := 1; ; n++ {
		for _, keep := range []int{0, 50, 100} {
			s := newScene(t)
			before := s.power.Ops()
			s.power.CutAt(n)
			err := s.startMerge(s.snap(0))
			var done int
			if err == nil {
				s.settled()
			}
			done = s.power.Ops() - before
			if err == nil && done < n {
				s.power.CutAt(0)
				s.must("close", s.m.Close())
				return
			}
			s.m.Close()
			s.power = &blockdev.Power{}
			for i := range s.crash {
				s.crash[i] = blockdev.NewCrashOn(s.power, s.crash[i].Clone(s.rng, keep))
				s.pvs[i] = s.crash[i]
			}
			s.boot()
			what := fmt.Sprintf("power cut at operation %d, %d%% kept", n, keep)
			s.must(what, s.activate(), s.check((*volume).settle))
			if st := s.settled(); !st.Merged() {
				t.Fatalf("%s: then the merge is %v", what, st)
			}
			s.must(what, s.finishMerge(true), s.check(same), s.m.Close())
		}
	}
}
