package cowstore

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// everyCut makes a world by prepare and runs op in copies of it, once for each
// write and sync of op, with the power going away there. Then after gets each of
// several worlds that the cut may leave.
func everyCut(t *testing.T, prepare func(w *world), op func(w *world) error, after func(w *world, done bool)) {
	base := newWorld(t, seeded(t), 1100, 8)
	prepare(base)
	for n := 1; ; n++ {
		w := base.copy()
		w.dev.CutAt(n)
		err := op(w)
		if err != nil && !errors.Is(err, blockdev.ErrPowerCut) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		for _, keep := range []int{0, 50, 100} {
			v := *w
			v.data = maps.Clone(w.data)
			v.powerOn(keep)
			after(&v, err == nil)
			if t.Failed() {
				t.Fatalf("cut at operation %d, %d%% of what was not synced kept", n, keep)
			}
		}
		if err == nil {
			if n < 3 {
				t.Errorf("the operation has only %d steps", n-1)
			}
			return
		}
	}
}

// opened opens the store before an operation.
func opened(op func(w *world) error) func(w *world) error {
	return func(w *world) error {
		if err := w.open(); err != nil {
			return err
		}
		return op(w)
	}
}

// must is for steps that no power cut disturbs.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// goesOn opens what is left and fills an area and more, so that litter behind
// the end of the list would become a part of it.
func goesOn(w *world) {
	w.t.Helper()
	must(w.t, w.open())
	must(w.t, w.commit(3))
	must(w.t, w.commit(258-len(w.list)%256))
	w.powerOn(0)
	must(w.t, w.open())
}

func TestCrashCommit(t *testing.T) {
	// The areas have room for 256.
	for _, c := range []struct{ have, add int }{
		{0, 1}, {30, 4}, {0, 200}, {255, 1}, {256, 1}, {250, 10}, {100, 412}, {3, 600},
	} {
		t.Run(fmt.Sprintf("%d+%d", c.have, c.add), func(t *testing.T) {
			everyCut(t,
				func(w *world) { must(t, w.open()); must(t, w.commit(c.have)) },
				opened(func(w *world) error { return w.commit(c.add) }),
				func(w *world, done bool) {
					goesOn(w)
					if done && len(w.list) < c.have+c.add {
						t.Errorf("a commit that returned is lost")
					}
				})
		})
	}
}

// The areas of a batch may be written before the batch in front of it is committed.
func TestCrashSettledAhead(t *testing.T) {
	for _, c := range []struct{ have, first, second int }{
		{0, 10, 20}, {0, 10, 300}, {250, 10, 3}, {200, 56, 256}, {255, 1, 1}, {250, 5, 1}, {3, 300, 500}, {200, 40, 16},
	} {
		t.Run(fmt.Sprintf("%d+%d+%d", c.have, c.first, c.second), func(t *testing.T) {
			everyCut(t,
				func(w *world) { must(t, w.open()); must(t, w.commit(c.have)) },
				opened(func(w *world) error { return w.commitTwo(c.first+c.second, c.first) }),
				func(w *world, done bool) {
					goesOn(w)
					if done && len(w.list) < c.have+c.first+c.second {
						t.Errorf("a commit that returned is lost")
					}
				})
		})
	}
}

// What was settled for a place in the list is written again when it comes to
// another, because a batch in front of it never came.
func TestSettledForAnotherPlace(t *testing.T) {
	for _, c := range []struct{ have, gone, add int }{{0, 10, 3}, {250, 4, 2}, {250, 10, 3}, {250, 4, 6}, {100, 200, 300}} {
		t.Run(fmt.Sprintf("%d+%d+%d", c.have, c.gone, c.add), func(t *testing.T) {
			everyCut(t,
				func(w *world) { must(t, w.open()); must(t, w.commit(c.have)) },
				opened(func(w *world) error {
					if _, err := w.allocate(c.gone); err != nil {
						return err
					}
					ex, err := w.allocate(c.add)
					if err != nil {
						return err
					}
					w.more = ex
					return errors.Join(w.write(ex), w.s.Settle(ex), w.s.Commit(ex))
				}),
				func(w *world, done bool) {
					goesOn(w)
					if done && len(w.list) < c.have+c.add {
						t.Errorf("a commit that returned is lost")
					}
				})
		})
	}
}

// While a batch waits for its list, the next has nothing left to wait for but
// its own list, also where it goes on in other areas.
func TestSettledCostsOneSync(t *testing.T) {
	for _, n := range []int{1, 10, 256, 700} {
		w := newWorld(t, seeded(t), 1100, 8)
		must(t, w.open())
		must(t, w.commit(250))
		ex, err := w.allocate(n)
		must(t, err)
		must(t, w.write(ex))
		must(t, w.s.Settle(ex))
		count := &syncCount{Device: w.s.dev}
		w.s.dev = count
		must(t, w.s.Commit(ex))
		if count.syncs != 1 {
			t.Errorf("a commit of %d settled exceptions took %d syncs", n, count.syncs)
		}
	}
}

// syncCount counts syncs, of all or of a range.
type syncCount struct {
	blockdev.Device
	syncs int
}

func (d *syncCount) Sync() error { d.syncs++; return d.Device.Sync() }
func (d *syncCount) SyncRange(off, n int64) error {
	d.syncs++
	return blockdev.SyncRange(d.Device, off, n)
}

// A process that was killed in a commit leaves what it wrote in memory. Who
// opens the store next, and finds exceptions there, may rely on them: a power
// cut later does not take them back.
func TestKilledInCommit(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t, seeded(t), 1100, 8)
		must(t, w.open())
		must(t, w.commit(250))
		w.dev.FailAt(n, errors.New("killed"))
		err := w.commit(10)
		must(t, w.open())
		if len(w.list) == 260 && err != nil {
			// The last sync was the one that did not happen.
			w.powerOn(0)
			must(t, w.open())
			return
		}
		if err == nil {
			t.Fatal("no commit was killed between its last write and its last sync")
		}
	}
}

func TestCrashDropTail(t *testing.T) {
	for _, c := range []struct{ have, drop int }{
		{1, 1}, {100, 60}, {256, 1}, {257, 2}, {512, 257}, {600, 600},
	} {
		t.Run(fmt.Sprintf("%d-%d", c.have, c.drop), func(t *testing.T) {
			everyCut(t,
				func(w *world) { must(t, w.open()); must(t, w.commit(c.have)) },
				opened(func(w *world) error { return w.drop(c.drop) }),
				func(w *world, done bool) {
					left := w.copy()
					must(t, w.open())
					if done && len(w.list) != c.have-c.drop {
						t.Errorf("%d exceptions after a drop that returned, want %d", len(w.list), c.have-c.drop)
					}
					must(t, w.drop(len(w.list))) // the merge goes on
					if u := w.s.Usage(); !u.Merged() {
						t.Errorf("usage %v after the merge", u)
					}
					goesOn(left) // and the store can be a snapshot's again
				})
		})
	}
}

// A store is valid or it is not, whole in either case.
func TestCrashInvalidate(t *testing.T) {
	everyCut(t,
		func(w *world) { must(t, w.open()); must(t, w.commit(300)) },
		opened(func(w *world) error { return w.s.Invalidate() }),
		func(w *world, done bool) {
			s, err := Open(w.dev, 8)
			must(t, err)
			if s.Valid() {
				must(t, w.open())
			}
			if done && s.Valid() {
				t.Error("an invalidation that returned is lost")
			}
		})
}

// Until a store is formatted anew the old one is there, its data too; after
// that an empty one of the new chunk size is.
func TestCrashFormat(t *testing.T) {
	for _, chunk := range []dmcore.Sectors{8, 64} {
		t.Run(fmt.Sprint(chunk), func(t *testing.T) {
			everyCut(t,
				func(w *world) { must(t, w.open()); must(t, w.commit(300)) },
				func(w *world) error { return Format(w.dev, chunk) },
				func(w *world, done bool) {
					now, _, _, err := Read(w.dev)
					must(t, err)
					if now == 8 && !done && chunk != 8 {
						must(t, w.open())
						return
					}
					s, err := Open(w.dev, chunk)
					must(t, err)
					if s.Len() == 300 && !done && chunk == 8 {
						must(t, w.open())
						return
					}
					if s.Len() != 0 || s.ChunkSize() != chunk || !s.Valid() {
						t.Errorf("%d exceptions, chunk size %d, valid %t", s.Len(), s.ChunkSize(), s.Valid())
					}
				})
		})
	}
}

// A device that held something else gives a new store when its first sector is
// zeroed, as lvm2 does; what was there does not shine through.
func TestCrashFormatByOpen(t *testing.T) {
	everyCut(t, func(*world) {}, (*world).open, func(w *world, _ bool) { goesOn(w) })
}

// A torn write left exceptions behind the end of the list. They do not come
// back when the list grows up to them, and another power cut does not bring
// them back either.
func TestLitter(t *testing.T) {
	for _, c := range []struct {
		chunk             dmcore.Sectors
		have, add, litter int // litter is the place of one exception that is left
	}{{8, 30, 2, 32}, {8, 150, 10, 160}, {8, 10, 22, 255}, {16, 200, 56, 256}, {64, 60, 4, 2047}} {
		t.Run(fmt.Sprintf("%d: %d+%d, %d", c.chunk, c.have, c.add, c.litter), func(t *testing.T) {
			base := newWorld(t, seeded(t), 300, c.chunk)
			must(t, base.open())
			must(t, base.commit(c.have))
			area := make([]byte, exceptionSize)
			putException(area, 0, Exception{1 << 30, 290})
			must(t, writeSync(base.dev, area, base.chunk.Bytes()+int64(c.litter)*exceptionSize))
			for n := range 6 {
				for range 6 {
					w := base.copy()
					must(t, w.open())
					if n > 0 {
						w.dev.CutAt(n)
					}
					if err := w.commit(c.add); err != nil && !errors.Is(err, blockdev.ErrPowerCut) {
						t.Fatal(err)
					}
					w.powerOn(50)
					must(t, w.open())
				}
			}
		})
	}
}

// An error that is no power cut stops the store: what it holds is the list up
// to there, and opening it again gives that or what the failed change reached.
func TestErrorsStick(t *testing.T) {
	rng := seeded(t)
	boom := errors.New("boom")
	for name, change := range map[string]func(w *world) error{
		"commit": func(w *world) error { return w.commit(300) },
		"drop":   func(w *world) error { return w.drop(150) },
	} {
		for n := 1; ; n++ {
			w := newWorld(t, rng, 1100, 8)
			must(t, w.open())
			must(t, w.commit(300))
			before := w.s.Tail(300)
			w.dev.FailAt(n, boom)
			err := change(w)
			if err == nil {
				break
			}
			if !errors.Is(err, boom) {
				t.Fatalf("%s, error at %d: %v", name, n, err)
			}
			if w.s.Len() != 300 || len(w.s.Tail(400)) != 300 {
				t.Errorf("%s, error at %d: %d exceptions", name, n, w.s.Len())
			}
			for _, e := range before {
				if c, ok := w.s.Lookup(e.Old); !ok || c != e.New {
					t.Errorf("%s, error at %d: Lookup(%d) = %d, %t", name, n, e.Old, c, ok)
				}
			}
			if w.more != nil { // else it was the data that failed
				_, aerr := w.s.Allocate()
				for _, err := range []error{aerr, w.s.Commit(nil), w.s.DropTail(1)} {
					if !errors.Is(err, boom) {
						t.Errorf("%s, error at %d: then %v", name, n, err)
					}
				}
			}
			w.powerOn(50)
			goesOn(w)
			if err := w.s.Invalidate(); err != nil {
				t.Error(err)
			}
		}
	}
}
