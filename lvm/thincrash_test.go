package lvm

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

var testRand = rand.New(rand.NewPCG(1, 2))

func extents(n Extents) Size { return Size{Count: n} }

// step is a change of a group with thin pools.
type thinStep struct {
	name string
	do   func(context.Context, *thinWorld) error
}

var (
	thinOn   = ThinOptions{Activate: true}
	makePool = thinStep{"make pool", func(ctx context.Context, w *thinWorld) error {
		_, _, err := w.CreateThinPool(ctx, "vg", ThinPoolSpec{Name: "pool", Size: extents(4)}, true)
		return err
	}}
	makeFirst = thinStep{"make first", func(ctx context.Context, w *thinWorld) error {
		_, err := w.CreateThins(ctx, "vg", []ThinSpec{{Pool: "pool", Name: "t1", Size: extents(9)}}, thinOn)
		return err
	}}
	makeSnaps = thinStep{"make snapshots", func(ctx context.Context, w *thinWorld) error {
		_, err := w.CreateThins(ctx, "vg", []ThinSpec{{Pool: "pool", Name: "s1", Origin: "t1"}, {Pool: "pool", Name: "s2", Origin: "t1"}}, thinOn)
		return err
	}}
	makeSecond = thinStep{"make second", func(ctx context.Context, w *thinWorld) error {
		_, err := w.CreateThins(ctx, "vg", []ThinSpec{{Pool: "pool", Name: "s3", Origin: "s1"}}, ThinOptions{Activate: true, IgnoreSkip: true})
		return err
	}}
)

func thinRemoval(names ...string) thinStep {
	return thinStep{"remove " + strings.Join(names, " "), func(ctx context.Context, w *thinWorld) error {
		var refs []Ref
		for _, n := range names {
			refs = append(refs, Ref{"vg", n})
		}
		return w.Remove(ctx, refs)
	}}
}

// Whoever dies at any step of a change of a thin pool, with the power or alone,
// leaves what the next activation brings to the state before or after it.
func TestThinCrash(t *testing.T) {
	base := []thinStep{makePool, makeFirst, makeSnaps}
	extend := func(name string, r ExtendRequest) thinStep {
		return thinStep{"extend " + name, func(ctx context.Context, w *thinWorld) error {
			_, err := w.Extend(ctx, Ref{"vg", name}, r)
			return err
		}}
	}
	for _, tt := range []struct {
		before []thinStep
		step   thinStep
	}{
		{nil, makePool},
		{base[:1], makeFirst},
		{base[:2], makeSnaps},
		{base, makeSecond},
		{base, thinRemoval("s1")},
		{base, thinRemoval("t1", "s2")},
		{base, thinRemoval("t1", "s1", "s2", "pool")},
		{base, extend("pool", ExtendRequest{Size: extents(2), More: true})},
		{base, extend("pool", ExtendRequest{Metadata: extents(3), MoreMetadata: true})},
		{base, extend("t1", ExtendRequest{Size: extents(2), More: true})},
		{base, thinStep{"rename", func(ctx context.Context, w *thinWorld) error { return w.Rename(ctx, Ref{"vg", "pool"}, "other") }}},
		{base, thinStep{"discards", func(ctx context.Context, w *thinWorld) error {
			return w.SetThinPool(ctx, Ref{"vg", "pool"}, DiscardsNoPassdown, nil, nil)
		}}},
		{base, thinStep{"merge", func(ctx context.Context, w *thinWorld) error {
			_, err := w.MergeThin(ctx, Ref{"vg", "s1"})
			return err
		}}},
	} {
		t.Run(tt.step.name, func(t *testing.T) {
			start := freshThinWorld(t)
			for _, s := range tt.before {
				must(t, s.do(t.Context(), start))
			}
			was := start.again(t, 100, true).settled("before")
			done := start.again(t, 100, true)
			must(t, tt.step.do(t.Context(), done))
			is := done.again(t, 100, true).settled("after")
			steps := 0
			check := func(w *thinWorld, when string) {
				t.Helper()
				for _, devices := range []bool{true, false} {
					n := w.again(t, 100, devices)
					if got := n.settled(when); got != was && got != is {
						t.Fatalf("%s: %s, want %s or %s", when, got, was, is)
					}
				}
			}
			by := 1
			if testing.Short() {
				by = 5
			}
			for n := 0; ; n += by {
				w := start.again(t, 100, true)
				w.die = n
				err := tt.step.do(t.Context(), w)
				if err == nil {
					break
				}
				if !w.dead {
					t.Fatalf("step %d: %v", n, err)
				}
				check(w, tt.step.name+", died at step "+strconv.Itoa(n))
				steps++
			}
			for n := 1; ; n += by {
				w := start.again(t, 100, true)
				w.rig.power.CutAt(n)
				err := tt.step.do(t.Context(), w)
				if err == nil {
					break
				}
				if !errors.Is(err, blockdev.ErrPowerCut) && !errors.Is(err, dmcore.ErrUnavailable) {
					t.Fatalf("operation %d: %v", n, err)
				}
				check(w, tt.step.name+", power cut at operation "+strconv.Itoa(n))
				steps++
			}
			if steps*by < 10 {
				t.Errorf("only %d steps", steps)
			}
		})
	}
}

// What is refused leaves nothing behind, neither in metadata nor in the kernel.
func TestThinRefusedByKernel(t *testing.T) {
	w := freshThinWorld(t)
	for _, s := range []thinStep{makePool, makeFirst} {
		must(t, s.do(t.Context(), w))
	}
	before := w.rig.load(t, "vg")
	same := func(when string) {
		t.Helper()
		after := w.rig.load(t, "vg")
		if a, b := order(before), order(after); a != b || after.LV("pool").ThinPool().TransactionID != before.LV("pool").ThinPool().TransactionID {
			t.Errorf("%s: %s, was %s", when, b, a)
		}
		w.settled(when)
	}
	u := before.uuid(before.LV("pool_tmeta"), layerTMeta)
	// The id of the second of two is taken by somebody who does not tell lvm2.
	w.pools[u].thin[3] = 0
	err := makeSnaps.do(t.Context(), w)
	if err == nil || !strings.Contains(err.Error(), "create_snap 3 1") {
		t.Errorf("an id that is taken: %v", err)
	}
	if !w.pools[u].has(3) || w.pools[u].has(2) {
		t.Errorf("the kernel has %v", w.pools[u].thin)
	}
	delete(w.pools[u].thin, 3)
	same("an id that is taken")

	w.full = true
	if err := makeSnaps.do(t.Context(), w); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "its data is full") {
		t.Errorf("a full pool: %v", err)
	}
	w.full = false
	same("a full pool")

	w.pools[u].id += 5
	if err := makeSnaps.do(t.Context(), w); !errors.Is(err, ErrTransaction) {
		t.Errorf("a pool that somebody else changed: %v", err)
	}
	w.pools[u].id -= 5
	same("a pool that somebody else changed")
	must(t, makeSnaps.do(t.Context(), w))
	w.settled("after all")

	// Somebody has it open.
	vg := w.rig.load(t, "vg")
	w.devs[vg.uuid(vg.LV("t1"), "")].info.OpenCount = 1
	if err := thinRemoval("t1").do(t.Context(), w); !errors.Is(err, ErrInUse) {
		t.Errorf("an open volume: %v", err)
	}
	if err := thinRemoval("pool").do(t.Context(), w); !errors.Is(err, ErrInUse) {
		t.Errorf("a pool with volumes in it: %v", err)
	}
	before = vg
	same("an open volume")
}

// A pool is as active afterwards as it was before.
func TestThinPoolStaysAsItWas(t *testing.T) {
	w := freshThinWorld(t)
	names := func() string {
		var list []string
		for _, d := range w.devs {
			list = append(list, strings.TrimPrefix(string(d.info.Name), "vg-"))
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	const below = "pool-tpool pool_tdata pool_tmeta"
	off := func(name string) thinStep {
		return thinStep{"deactivate " + name, func(ctx context.Context, w *thinWorld) error { return w.Deactivate(ctx, Ref{"vg", name}) }}
	}
	for _, tt := range []struct {
		thinStep
		want string
	}{
		{makePool, "pool pool_tdata pool_tmeta"},
		{makeFirst, "pool " + below + " t1"},
		{off("pool"), below + " t1"},
		{makeSnaps, below + " t1"}, // skipped
		{off("t1"), ""},
		{thinRemoval("s2"), ""},
		{makeSecond, below + " s3"},
		{thinRemoval("s3"), ""},
	} {
		must(t, tt.do(t.Context(), w))
		if got := names(); got != tt.want {
			t.Fatalf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
