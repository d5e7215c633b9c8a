package lvm_test

import (
	"errors"
	"testing"
	"time"

	"cowhand/dmcore"
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

// What lvm2's rule for metadata gives: 75 of less than 16 MiB, 4 MiB free of more.
func TestMetadataGrowth(t *testing.T) {
	const mib = 1 << 11
	for _, c := range []struct {
		threshold, amount int
		used              float64
		size              dmcore.Sectors
		want              int
	}{
		{70, 20, 70, 4 * mib, 0}, {70, 20, 71, 4 * mib, 21}, {70, 20, 98, 4 * mib, 41},
		{90, 20, 75, 4 * mib, 0}, {90, 20, 75.5, 4 * mib, 21}, {90, 20, 75.5, 16 * mib, 21},
		{90, 20, 83, 24 * mib, 0}, {90, 20, 83.5, 24 * mib, 21}, // 16.7 % free
		{99, 20, 89.9, 40 * mib, 0}, {99, 20, 90.5, 40 * mib, 21},
		{95, 20, 96, 1024 * mib, 21}, {0, 20, 99, 4 * mib, 0}, {100, 20, 99, 4 * mib, 0}, {30, 5, 55, 4 * mib, 11},
	} {
		if got := (lvm.ExtendPolicy{Threshold: c.threshold, Amount: c.amount}).MetadataGrowth(c.used, c.size); got != c.want {
			t.Errorf("threshold %d, amount %d, %.2f%% of %d MiB used: %d%%, want %d%%", c.threshold, c.amount, c.used, c.size/mib, got, c.want)
		}
	}
}

func TestPace(t *testing.T) {
	fills := func(a, b float64) []lvm.Fill {
		pool := lvm.Ref{VG: "vg", LV: "pool"}
		return []lvm.Fill{{Space: lvm.Space{Ref: pool, Part: lvm.PoolData}, Used: a}, {Space: lvm.Space{Ref: pool, Part: lvm.PoolMetadata}, Used: b}}
	}
	lost := []lvm.Fill{{Space: fills(0, 0)[0].Space, Used: 100, Lost: true}}
	const s = time.Second
	for _, c := range []struct {
		looks [][]lvm.Fill // ten seconds apart
		want  time.Duration
	}{
		{[][]lvm.Fill{fills(99, 0)}, 10 * s},
		{[][]lvm.Fill{fills(40, 0), fills(40, 0)}, 10 * s},
		{[][]lvm.Fill{fills(70, 0), fills(30, 0)}, 10 * s}, // it was extended
		{[][]lvm.Fill{fills(40, 0), fills(60, 0)}, 5 * s},  // full in 20 s
		{[][]lvm.Fill{fills(40, 80), fills(60, 92)}, 5 * s / 3},
		{[][]lvm.Fill{fills(1, 0), fills(99.5, 0)}, s / 10},
		{[][]lvm.Fill{fills(40, 0), lost}, 10 * s},
		{[][]lvm.Fill{fills(40, 0), fills(80, 0), fills(80, 0)}, 5 * s / 3},                // it may go on as it did
		{[][]lvm.Fill{fills(40, 0), fills(80, 0), fills(80, 0), fills(80, 0)}, 20 * s / 9}, // or not
	} {
		var p lvm.Pace
		var got time.Duration
		for i, look := range c.looks {
			spent := 10 * s
			if i == 0 {
				spent = 0
			}
			got = p.Next(look, spent, 10*s)
		}
		if (got - c.want).Abs() > time.Millisecond {
			t.Errorf("%v: %v, want %v", c.looks, got, c.want)
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
		if len(fills.Spaces) != 2 || len(fills.Events) != 2 || fills.Groups["vg"] == nil {
			t.Errorf("fills %v, want those of two snapshots", fills)
		}
		return done
	}
	if done := extend(); len(done) != 0 {
		t.Errorf("empty snapshots were extended: %+v", done)
	}
	w.fill(watched, 0, 3<<11, 7) // 3 of 4 MiB
	done := extend()
	if len(done) != 1 || done[0].Ref != watched || done[0].Err != nil || done[0].Was != 4<<11 || done[0].Is != 6<<11 || done[0].Used < 75 {
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
