package lvm_test

import (
	"errors"
	"testing"
	"time"

	"cowhand/lvm"
)

// The growth that lvm2 2.03.16 computes for these, from its source's rule: at
// least the policy's amount, and enough to come below the threshold.
func TestGrowth(t *testing.T) {
	for _, c := range []struct {
		threshold, amount int
		used              float64
		want              int
	}{
		{70, 20, 70, 0}, {70, 20, 70.01, 20}, {70, 20, 84, 20}, {70, 20, 90, 29}, {70, 20, 100, 43},
		{70, 60, 100, 60}, {50, 1, 100, 100}, {50, 20, 50, 0},
		{30, 20, 45, 0}, {30, 20, 55, 20}, // below 50 lvm2 takes 50
		{100, 20, 99, 0}, {0, 20, 99, 0}, {70, 0, 99, 0}, {99, 5, 99.5, 5},
	} {
		if got := (lvm.ExtendPolicy{Threshold: c.threshold, Amount: c.amount}).Growth(c.used); got != c.want {
			t.Errorf("threshold %d, amount %d, %.2f%% used: %d%%, want %d%%", c.threshold, c.amount, c.used, got, c.want)
		}
	}
}

func TestNextLook(t *testing.T) {
	a, b := lvm.Ref{VG: "vg", LV: "a"}, lvm.Ref{VG: "vg", LV: "b"}
	for _, c := range []struct {
		before, now map[lvm.Ref]float64
		want        time.Duration
	}{
		{nil, map[lvm.Ref]float64{a: 99}, 10 * time.Second},
		{map[lvm.Ref]float64{a: 40}, map[lvm.Ref]float64{a: 40}, 10 * time.Second},
		{map[lvm.Ref]float64{a: 70}, map[lvm.Ref]float64{a: 30}, 10 * time.Second}, // it was extended
		{map[lvm.Ref]float64{a: 40}, map[lvm.Ref]float64{a: 60}, 5 * time.Second},  // full in 20 s
		{map[lvm.Ref]float64{a: 40, b: 80}, map[lvm.Ref]float64{a: 60, b: 92}, 5 * time.Second / 3},
		{map[lvm.Ref]float64{a: 10}, map[lvm.Ref]float64{a: 99}, time.Second},
	} {
		if got := lvm.NextLook(c.before, c.now, 10*time.Second, 10*time.Second); (got - c.want).Abs() > time.Millisecond {
			t.Errorf("from %v to %v in 10 s: %v, want %v", c.before, c.now, got, c.want)
		}
	}
}

func TestAutoextend(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "24m")
	watched, other := w.snapshot(root, "watched"), w.snapshot(root, "other")
	policy := func(_ *lvm.VG, snap *lvm.LV) lvm.ExtendPolicy {
		if snap.Name != watched.LV {
			return lvm.ExtendPolicy{}
		}
		return lvm.ExtendPolicy{Threshold: 70, Amount: 50}
	}
	extend := func() []lvm.Autoextended {
		t.Helper()
		done, fills, err := w.Autoextend(ctx, policy)
		if err != nil {
			t.Fatal(err)
		}
		if len(fills) != 2 {
			t.Errorf("fills %v, want those of two snapshots", fills)
		}
		return done
	}
	if done := extend(); len(done) != 0 {
		t.Errorf("empty snapshots were extended: %+v", done)
	}
	w.fill(watched, 0, 3<<11, 7) // 3 of 4 MiB
	done := extend()
	if len(done) != 1 || done[0].Snapshot != watched || done[0].Err != nil || done[0].Was != 4<<11 || done[0].Is != 6<<11 || done[0].Used < 75 {
		t.Fatalf("extended %+v, want watched from 4 to 6 MiB", done)
	}
	w.fill(watched, 3<<11, 2<<11, 7) // more than it had room for
	w.expect(watched, 5<<11-1, 7)
	w.expect(other, 0, 0)

	// Nothing is left to take: that is told, each time.
	w.create("rest", "100%FREE")
	w.fill(watched, 5<<11, 1<<10, 7)
	for range 2 {
		if done := extend(); len(done) != 1 || !errors.Is(done[0].Err, lvm.ErrNoSpace) || done[0].Is != done[0].Was {
			t.Errorf("extended %+v, want no space", done)
		}
	}

	// One that has all it can use is left alone.
	if err := w.Remove(ctx, []lvm.Ref{{VG: "vg", LV: "rest"}}); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		extend()
	}
	if done := extend(); len(done) != 0 {
		t.Errorf("extended %+v", done)
	}
}
