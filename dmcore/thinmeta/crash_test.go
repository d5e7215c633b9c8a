package thinmeta

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// world is a pool on two devices that lose their power together.
type world struct {
	random
	meta *blockdev.Crash
}

// boot opens a pool that is a copy of what was left.
func boot(t testing.TB, rng *rand.Rand, meta, data *blockdev.Mem, has *model) (*world, error) {
	w := &world{meta: blockdev.NewCrashOn(new(blockdev.Power), meta)}
	d := blockdev.NewCrashOn(w.meta.Power, data)
	w.random = random{t: t, rng: rng, now: has.clone(), last: has.clone(), span: 800, many: 6, data: d, next: rng.Uint64()}
	p, err := Open(w.meta, d)
	w.p = p
	return w, err
}

// cut tells what the power cut left, and what transaction that is.
func (w *world) cut(keep int) (meta, data *blockdev.Mem, is *model) {
	w.t.Helper()
	rng := rand.New(rand.NewPCG(uint64(keep), uint64(w.meta.Ops())))
	meta = w.meta.Clone(rng, keep)
	data = w.data.(*blockdev.Crash).Clone(rng, keep)
	is = sound(w.t, meta, w.last, w.now)
	for _, d := range is.devices {
		for v, m := range d.blocks {
			b := make([]byte, 8)
			_, err := data.ReadAt(b, int64(m.Data)*dmcore.SectorSize)
			if err != nil {
				w.t.Fatal(err)
			}
			if got, want := le.Uint64(b), is.stamps[m.Data]; got != want {
				w.t.Fatalf("block %d, data block %d: holds %d, want %d", v, m.Data, got, want)
			}
		}
	}
	return meta, data, is
}

// A power cut at any write and sync leaves the old transaction or the new one,
// sound, with the data that was written for it. One that was committed stays.
func TestCrash(t *testing.T) {
	seed := seeded(t).Uint64()
	rounds := 2 // or as many as COWHAND_SOAK says
	if n, err := strconv.Atoi(os.Getenv("COWHAND_SOAK")); err == nil {
		rounds = n
	}
	for round := range rounds {
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		size := []int64{1024, 200}[round%2]
		meta, data, has := blockdev.NewMem(size*BlockSize), blockdev.NewMem(1<<20*dmcore.SectorSize), newModel(3000)
		must(t, Format(meta, 128, has.data))
		w, err := boot(t, rng, meta, data, has)
		must(t, err)
		for range 80 {
			must(t, w.step())
		}
		must(t, w.commit())
		meta, data, has = w.cut(0)

		steps := 10 + rng.IntN(20)
		most := []int{10, maxDirty}[(round/2+round)%2]
		for n := 1; ; n++ {
			w, err := boot(t, rand.New(rand.NewPCG(seed, uint64(round)+100)), meta, data, has)
			must(t, err)
			w.p.c.maxDirty = most
			w.meta.CutAt(n)
			for range steps {
				if err = w.step(); err != nil {
					break
				}
			}
			if err == nil {
				err = w.commit()
			}
			if err != nil && !errors.Is(err, blockdev.ErrPowerCut) {
				t.Fatalf("round %d, cut at %d: %v", round, n, err)
			}
			for _, keep := range [][]int{{0}, {50}, {100}, {0, 50, 100}}[n%4] {
				m, d, is := w.cut(keep)
				if n%16 == 3 { // what is left can be used, and crash again
					again, err := boot(t, rng, m, d, is)
					must(t, err)
					for range 30 {
						must(t, again.step())
					}
					must(t, again.commit())
					again.cut(0)
				}
			}
			if t.Failed() {
				t.Fatalf("round %d, cut at %d of %d operations", round, n, w.meta.Ops())
			}
			if err == nil {
				if n < 10 {
					t.Errorf("round %d: only %d writes and syncs", round, n)
				}
				break
			}
		}
	}
}

// An error of a device stops the pool; rolled back, it goes on.
func TestFault(t *testing.T) {
	rng := seeded(t)
	boom := errors.New("boom")
	seed := rng.Uint64()
	meta, data, has := blockdev.NewMem(1024*BlockSize), blockdev.NewMem(1<<20*dmcore.SectorSize), newModel(3000)
	must(t, Format(meta, 128, has.data))
	for n := 1; ; n++ {
		w, err := boot(t, rand.New(rand.NewPCG(seed, 1)), meta, data, has)
		must(t, err)
		w.meta.FailAt(n, boom)
		for range 40 {
			if err = w.step(); err != nil {
				break
			}
		}
		if err == nil {
			err = w.commit()
		}
		if err == nil {
			break
		}
		if !errors.Is(err, boom) {
			t.Fatalf("error at %d: %v", n, err)
		}
		if err := w.p.Commit(); !errors.Is(err, boom) && w.p.broken != nil {
			t.Errorf("error at %d: then %v", n, err)
		}
		must(t, w.p.Rollback())
		must(t, w.p.Read(func(r *Reader) error {
			got := read(t, r)
			if !got.equal(w.last) {
				if diff := w.now.diff(got); diff != "" {
					t.Errorf("error at %d, rolled back (-want +got)\n%s", n, diff)
				}
				w.last = w.now.clone()
			}
			return nil
		}))
		w.now = w.last.clone()
		w.cut(0) // it is durable
		for range 40 {
			must(t, w.step())
		}
		must(t, w.commit())
		w.cut(0)
	}
}

// Until a pool is formatted there is none, not even the one that was there.
func TestCrashFormat(t *testing.T) {
	old := blockdev.NewMem(1024 * BlockSize)
	must(t, Format(old, 128, 500))
	fillPool(t, old, 1, 400)
	for n := 1; ; n++ {
		dev := blockdev.NewCrashOn(new(blockdev.Power), old)
		dev.CutAt(n)
		err := Format(dev, 256, 7)
		for _, keep := range []int{0, 50, 100} {
			left := dev.Clone(rand.New(rand.NewPCG(uint64(n), 1)), keep)
			r, rerr := Read(left)
			switch {
			case errors.Is(rerr, ErrUnformatted) && err != nil:
			case errors.Is(rerr, ErrCorrupt) && n == 1: // cut in the superblock itself
				t.Errorf("the old superblock is torn: %v", rerr)
			case rerr != nil:
				t.Errorf("cut at %d: %v", n, rerr)
			default:
				rep, cerr := Check(left)
				must(t, cerr)
				if !rep.Clean() || r.Superblock().BlockSize == 128 && n > 2 {
					t.Errorf("cut at %d: block size %d, %+v", n, r.Superblock().BlockSize, rep)
				}
			}
		}
		if err == nil {
			return
		}
	}
}

// fillPool makes a thin device of that many blocks.
func fillPool(t testing.TB, dev blockdev.Device, id uint32, blocks int) {
	t.Helper()
	p, err := Open(dev, nil)
	must(t, err)
	must(t, p.CreateThin(id))
	for v := range VBlock(blocks) {
		b, err := p.Allocate()
		must(t, err)
		must(t, p.Map(id, v, b))
	}
	must(t, p.Commit())
}

// A lookup does not wait for a commit.
func TestLookupDuringCommit(t *testing.T) {
	dev := blockdev.NewMem(1024 * BlockSize)
	must(t, Format(dev, 128, 500))
	fillPool(t, dev, 1, 400)
	s := &slowSync{Device: dev}
	p, err := Open(s, nil)
	must(t, err)
	must(t, p.CreateSnapshot(2, 1))
	s.during = func() {
		f, ok, err := p.Lookup(2, 7)
		if want := (Found{Mapping{7, 0}, true}); f != want || !ok || err != nil {
			t.Errorf("%v, %t, %v; want %v", f, ok, err, want)
		}
		s.n++
	}
	must(t, p.Commit())
	if s.n != 2 {
		t.Errorf("a commit took %d syncs, want 2", s.n)
	}
	must(t, p.Commit())
	if s.n != 2 {
		t.Error("a commit of nothing syncs")
	}
}

type slowSync struct {
	blockdev.Device
	during func()
	n      int
}

func (s *slowSync) Sync() error {
	if s.during != nil {
		s.during()
	}
	return s.Device.Sync()
}

// A commit writes what was changed and no more.
func TestCommitWritesLittle(t *testing.T) {
	dev := blockdev.NewMem(16384 * BlockSize)
	must(t, Format(dev, 128, 1<<20))
	fillPool(t, dev, 1, 100000)
	count := &countWrites{Device: dev}
	p, err := Open(count, nil)
	must(t, err)
	b, err := p.Allocate()
	must(t, err)
	must(t, p.Map(1, 1<<40, b))
	must(t, p.Commit())
	// Three nodes of the mapping tree and the top one, the details, a bitmap and
	// its index, a bitmap of the metadata and its index, the superblock.
	if want := int64(10 * BlockSize); count.bytes > want {
		t.Errorf("%d bytes for one block, want %d at most", count.bytes, want)
	}
	fmt.Fprintln(t.Output(), count.bytes/BlockSize, "blocks")
}

type countWrites struct {
	blockdev.Device
	bytes int64
}

func (c *countWrites) WriteAt(b []byte, off int64) (int, error) {
	c.bytes += int64(len(b))
	return c.Device.WriteAt(b, off)
}
