package userspace_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"cowhand/dmcore/blockdev"
)

// episodes runs f with one seed after another: n of them, or for as long as
// COWHAND_SOAK says, or one, COWHAND_SEED.
func episodes(t *testing.T, n int, f func(t *testing.T, seed uint64)) {
	run := func(seed uint64) bool {
		return t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { f(t, seed) })
	}
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		run(seed)
		return
	}
	if s := os.Getenv("COWHAND_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); time.Since(start) < d && run(rand.Uint64()); {
		}
		return
	}
	for i := 0; i < n && run(rand.Uint64()); i++ {
	}
}

// TestModel does random things to a tree of volumes and compares what it shows
// with the model.
func TestModel(t *testing.T) {
	episodes(t, 4, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 0))
		pvs := []blockdev.Device{blockdev.NewMem(pvSize)}
		if rng.IntN(2) == 0 {
			pvs = append(pvs, blockdev.NewMem(pvSize))
		}
		w := newWorld(newRig(t), rng, pvs)
		w.boot()
		if err := w.activate(); err != nil {
			t.Fatal(err)
		}
		for i := range 120 {
			if err := w.step(); err != nil {
				t.Fatalf("step %d: %v\nsteps %d, merging %+v, batch %d", i, err, w.log, w.merging != nil, w.batch)
			}
		}
		if err := w.try(func() error { return w.finishMerge(true) }, func() error { return w.check(same) }, w.m.Close); err != nil {
			t.Fatal(err)
		}
	})
}

// TestModelPowerCut does the same over devices that lose their power at a
// random write or sync, sector by sector, and again while they recover.
func TestModelPowerCut(t *testing.T) {
	episodes(t, 8, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 0))
		power := &blockdev.Power{}
		crash := []*blockdev.Crash{blockdev.NewCrashOn(power, blockdev.NewMem(pvSize))}
		if rng.IntN(2) == 0 {
			crash = append(crash, blockdev.NewCrashOn(power, blockdev.NewMem(pvSize)))
		}
		devices := func() (out []blockdev.Device) {
			for _, c := range crash {
				out = append(out, c)
			}
			return out
		}
		w := newWorld(newRig(t), rng, devices())
		w.boot()
		if err := w.activate(); err != nil {
			t.Fatal(err)
		}
		for cut := range 5 {
			before := power.Ops()
			after := 1 + rng.IntN(1<<(2+rng.IntN(8)))
			power.CutAt(after)
			w.powered = func() bool { return power.Ops() < before+after }
			var err error
			for i := 0; err == nil && i < 1000; i++ {
				err = w.step()
			}
			if w.powered() {
				t.Fatalf("cut %d: %v, while the power was on", cut, err)
			}
			w.m.Close() // fails, as all does without power
			power = &blockdev.Power{}
			keep := rng.IntN(101)
			for i := range crash {
				crash[i] = blockdev.NewCrashOn(power, crash[i].Clone(rng, keep))
			}
			w.pvs = devices()
			for _, s := range w.snaps {
				s.invalid = s.lost // what became of it since may not be on disk
			}
			w.boot()
			if err := w.activate(); err != nil {
				t.Fatalf("cut %d: activate: %v", cut, err)
			}
			if err := w.check((*volume).settle); err != nil {
				t.Fatalf("cut %d, %d%% of unsynced sectors kept: %v", cut, keep, err)
			}
		}
		if err := w.try(func() error { return w.finishMerge(true) }, func() error { return w.check(same) }, w.m.Close); err != nil {
			t.Fatal(err)
		}
	})
}
