package userspace_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/thinmeta"
)

func (w *thinWorld) restart() error {
	if err := w.m.Close(); err != nil {
		return err
	}
	w.committed()
	return w.boot()
}

// mortal is a device as a process has it, which does nothing any more once that is
// dead.
type mortal struct {
	*blockdev.Section
	alive *atomic.Bool
}

var errDead = errors.New("the process is dead")

func (d *mortal) living(do func() error) error {
	if !d.alive.Load() {
		return errDead
	}
	return do()
}

func (d *mortal) WriteAt(p []byte, off int64) (n int, err error) {
	err = d.living(func() error { n, err = d.Section.WriteAt(p, off); return err })
	return n, err
}

func (d *mortal) Sync() error { return d.living(d.Section.Sync) }

func (d *mortal) SyncRange(off, n int64) error {
	return d.living(func() error { return d.Section.SyncRange(off, n) })
}

func (d *mortal) Discard(off, n int64) error {
	return d.living(func() error { return d.Section.Discard(off, n) })
}

func (d *mortal) Zero(off, n int64, mayUnmap bool) error {
	return d.living(func() error { return d.Section.Zero(off, n, mayUnmap) })
}

// kill goes on with a new machine on the same devices; the old one is told nothing.
func (w *thinWorld) kill() error {
	w.process.Store(false)
	if err := w.boot(); err != nil {
		return err
	}
	return w.check(killed)
}

func (w *thinWorld) step() error {
	k := w.rng.IntN(100)
	for _, s := range []struct {
		below int
		name  string
		do    func() error
	}{
		{50, "io", func() error { return w.io(func() error { return nil }) }},
		{54, "io, pause", func() error { return w.io(w.pause) }},
		{64, "snap", w.snap},
		{70, "make", w.make},
		{77, "remove", w.remove},
		{80, "grow", w.grow},
		{83, "reload", w.reload},
		{90, "sync", w.sync},
		{93, "restart", w.restart},
		{100, "check", func() error { return w.check(thinSame) }},
	} {
		if k < s.below {
			w.log = append(w.log, s.name)
			return s.do()
		}
	}
	return nil
}

// sound has the metadata checked, by thin_check too where there is one.
func (w *thinWorld) sound(mem *blockdev.Mem) {
	w.t.Helper()
	checkThin(w.t, mem)
	if _, err := exec.LookPath("thin_check"); err != nil {
		return
	}
	p := make([]byte, mem.Size())
	if _, err := mem.ReadAt(p, 0); err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.t.TempDir(), "meta")
	if err := os.WriteFile(path, p, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if out, err := exec.Command("thin_check", path).CombinedOutput(); err != nil {
		w.t.Fatalf("thin_check: %v\n%s", err, out)
	}
}

// TestThinModel does random things to a pool and compares what it holds with the
// model; now and then its process is killed.
func TestThinModel(t *testing.T) {
	episodes(t, 6, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 0))
		meta := blockdev.NewMem(thinMeta)
		w := newThinWorld(t, rng, meta, blockdev.NewMem(thinMost*thinBlock))
		for i := range 150 {
			err := w.step()
			if err == nil && rng.IntN(25) == 0 {
				w.log = append(w.log, "kill")
				err = w.kill()
			}
			if err != nil {
				t.Fatalf("step %d: %v\nsteps %q", i, err, w.log)
			}
		}
		if err := errors.Join(w.check(thinSame), w.m.Close()); err != nil {
			t.Fatal(err)
		}
		w.sound(meta)
	})
}

// TestThinModelPowerCut does the same over devices that lose their power at a random
// write or sync, sector by sector, and again while they recover.
func TestThinModelPowerCut(t *testing.T) {
	episodes(t, 10, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 0))
		power := &blockdev.Power{}
		meta := blockdev.NewCrashOn(power, blockdev.NewMem(thinMeta))
		data := blockdev.NewCrashOn(power, blockdev.NewMem(thinMost*thinBlock))
		w := newThinWorld(t, rng, meta, data)
		for cut := range 6 {
			before, after := power.Ops(), 1+rng.IntN(1<<(2+rng.IntN(8)))
			power.CutAt(after)
			var err error
			for i := 0; err == nil && i < 2000; i++ {
				err = w.step()
			}
			if power.Ops() < before+after {
				t.Fatalf("cut %d: %v, while the power was on\nsteps %q", cut, err, w.log)
			}
			w.m.Close() // fails, as all does without power
			power = &blockdev.Power{}
			keep := rng.IntN(101)
			left := meta.Clone(rng, keep)
			w.sound(left)
			w.found(left)
			meta, data = blockdev.NewCrashOn(power, left), blockdev.NewCrashOn(power, data.Clone(rng, keep))
			w.meta, w.data = meta, data
			w.log = append(w.log, "cut")
			err = w.boot()
			if err == nil {
				err = w.check(settled)
			}
			if err != nil {
				t.Fatalf("cut %d, %d%% of unsynced sectors kept: %v\nsteps %q", cut, keep, err, w.log)
			}
		}
		if err := errors.Join(w.check(thinSame), w.m.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

// found takes into the model which devices a power cut left. What was on its way is
// there or not.
func (w *thinWorld) found(meta *blockdev.Mem) {
	w.t.Helper()
	r, err := thinmeta.Read(meta)
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := r.Devices()
	if err != nil {
		w.t.Fatal(err)
	}
	there := map[uint32]bool{}
	for _, d := range list {
		there[d.ID] = true
	}
	if v := w.making; v != nil && there[v.id] {
		w.vols[v.id] = v
	}
	w.making = nil
	for id, v := range w.vols {
		switch {
		case there[id]:
			v.removed = false
			delete(there, id)
		case v.removed:
			delete(w.vols, id)
		default:
			w.t.Fatalf("device %d is gone after a power cut", id)
		}
	}
	if len(there) > 0 {
		w.t.Fatalf("devices %v are back after a power cut", there)
	}
}
