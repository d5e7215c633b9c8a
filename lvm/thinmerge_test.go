package lvm

import (
	"errors"
	"strings"
	"testing"

	"cowhand/dmcore"
)

// mergeWorld has a pool with t1, its snapshots s1 and s2, and what they hold.
func mergeWorld(t testing.TB) (*thinWorld, *kernelPool) {
	w := freshThinWorld(t)
	for _, s := range []thinStep{makePool, makeFirst, makeSnaps} {
		must(t, s.do(t.Context(), w))
	}
	vg := w.rig.load(t, "vg")
	p := w.pools[vg.uuid(vg.LV("pool_tmeta"), layerTMeta)]
	p.thin[1], p.thin[2], p.thin[3] = 10, 20, 30
	return w, p
}

// opened counts openings of a volume's device.
func (w *thinWorld) opened(lv string, n int) {
	vg := w.rig.load(w.t, "vg")
	w.devs[vg.uuid(vg.LV(lv), "")].info.OpenCount = n
}

// id is the device id that a volume is mapped to; 0: it is not active.
func (w *thinWorld) id(lv string) uint32 {
	vg := w.rig.load(w.t, "vg")
	d := w.devs[vg.uuid(vg.LV(lv), "")]
	if d == nil || len(d.live) != 1 {
		return 0
	}
	return d.live[0].Target.(dmcore.Thin).DeviceID
}

// rememberedAs is what an engine that died knew: that volume, alone, was active.
func (w *thinWorld) rememberedAs(lv string, open bool) []Remembered {
	vg := w.rig.load(w.t, "vg")
	return []Remembered{{UUID: vg.uuid(vg.LV(lv), ""), Open: open}}
}

func (w *thinWorld) expectMerge(when, lvs string, id uint32) {
	w.t.Helper()
	if got := says(w.rig.load(w.t, "vg")); !strings.Contains(got, lvs) {
		w.t.Errorf("%s: %s, want %q", when, got, lvs)
	}
	if got := w.id("t1"); got != id {
		w.t.Errorf("%s: t1 is mapped to %d, want %d", when, got, id)
	}
}

func TestThinMergeWaits(t *testing.T) {
	const waits, merged = "s1: pool 2 t1  t1\n", "t1: pool 2   \ns2: pool 3 t1  \n"
	ctx := t.Context()
	t1, s1 := Ref{"vg", "t1"}, Ref{"vg", "s1"}
	for _, tt := range []struct {
		name string
		last func(*thinWorld) error // what lets it happen
	}{
		{"refreshed", func(w *thinWorld) error { return w.Refresh(ctx, t1) }},
		{"activated anew", func(w *thinWorld) error { return errors.Join(w.Deactivate(ctx, t1), w.Activate(ctx, t1)) }},
		{"rebooted", func(w *thinWorld) error {
			*w = *w.again(t, 100, false)
			return w.Activate(ctx, t1)
		}},
		{"engine started", func(w *thinWorld) error {
			*w = *w.again(t, 100, false)
			return w.Restore(ctx, nil)
		}},
		{"engine started again, the origin was closed", func(w *thinWorld) error {
			was := w.rememberedAs("t1", false)
			*w = *w.again(t, 100, false)
			return w.Restore(ctx, was)
		}},
	} {
		w, _ := mergeWorld(t)
		w.opened("t1", 1)
		st, err := w.MergeThin(ctx, s1)
		must(t, err)
		if st.Started || !strings.Contains(st.Why, "vg/t1 is open") {
			t.Errorf("%s: %+v", tt.name, st)
		}
		w.expectMerge(tt.name+": recorded", waits, 1)
		must(t, errors.Join(w.Activate(ctx, t1), w.Refresh(ctx, t1)))
		w.expectMerge(tt.name+": still open", waits, 1)
		if err := w.Activate(ctx, s1); !errors.Is(err, ErrMerging) {
			t.Errorf("%s: activating the snapshot: %v", tt.name, err)
		}
		if err := w.Remove(ctx, []Ref{s1}); !errors.Is(err, ErrMerging) {
			t.Errorf("%s: removing the snapshot: %v", tt.name, err)
		}
		if _, err := w.MergeThin(ctx, Ref{"vg", "s2"}); !errors.Is(err, ErrMerging) {
			t.Errorf("%s: merging another: %v", tt.name, err)
		}
		w.opened("t1", 0)
		must(t, tt.last(w))
		w.expectMerge(tt.name, merged, 2)
		w.settled(tt.name)
		vg := w.rig.load(t, "vg")
		if p := w.pools[vg.uuid(vg.LV("pool_tmeta"), layerTMeta)]; p.has(1) || p.thin[2] != 20 || p.thin[3] != 30 {
			t.Errorf("%s: the kernel has %v", tt.name, p.thin)
		}
	}
}

// Whoever had the origin or the snapshot open when its engine died finds it as it was.
func TestThinMergeWaitsAfterEngineDied(t *testing.T) {
	ctx := t.Context()
	for _, open := range []string{"t1", "s1"} {
		w, _ := mergeWorld(t)
		must(t, w.Activate(ctx, Ref{"vg", "s1"}))
		w.opened(open, 1)
		_, err := w.MergeThin(ctx, Ref{"vg", "s1"})
		must(t, err)
		was := append(w.rememberedAs("t1", false), w.rememberedAs("s1", false)...)
		for i := range was {
			was[i].Open = i == 0 == (open == "t1")
		}
		w = w.again(t, 100, false)
		must(t, w.Restore(ctx, was))
		w.expectMerge(open+" was open", "s1: pool 2 t1  t1\n", 1)
		if mapped := w.id("s1"); mapped != 0 != (open == "s1") {
			t.Errorf("%s was open: s1 is mapped to %d", open, mapped)
		}
		must(t, w.Refresh(ctx, Ref{"vg", "t1"}))
		w.expectMerge(open+" is closed", "t1: pool 2   \n", 2)
		w.settled(open + " is closed")
	}
}

// The snapshot is in use: it keeps what it holds until it is closed.
func TestThinMergeOfOpenSnapshot(t *testing.T) {
	ctx := t.Context()
	w, _ := mergeWorld(t)
	must(t, w.Activate(ctx, Ref{"vg", "s1"}))
	w.opened("s1", 1)
	st, err := w.MergeThin(ctx, Ref{"vg", "s1"})
	must(t, err)
	if st.Started || !strings.Contains(st.Why, "vg/s1 is open") {
		t.Errorf("%+v", st)
	}
	must(t, w.Refresh(ctx, Ref{"vg", "t1"}))
	w.expectMerge("the snapshot is active", "s1: pool 2 t1  t1\n", 1)
	w.opened("s1", 0)
	must(t, w.Deactivate(ctx, Ref{"vg", "s1"}))
	must(t, w.Refresh(ctx, Ref{"vg", "t1"}))
	w.expectMerge("the snapshot is closed", "t1: pool 2   \n", 2)
	w.settled("the snapshot is closed")
}

// While the snapshot is in use, its origin goes but does not come back: what is
// mapped then must be what the merge leaves.
func TestThinMergeOriginWaitsForSnapshot(t *testing.T) {
	ctx := t.Context()
	t1, s1 := Ref{"vg", "t1"}, Ref{"vg", "s1"}
	w, _ := mergeWorld(t)
	must(t, w.Activate(ctx, s1))
	w.opened("t1", 1)
	w.opened("s1", 1)
	_, err := w.MergeThin(ctx, s1)
	must(t, err)
	w.opened("t1", 0)
	must(t, w.Refresh(ctx, t1))
	if err := w.Deactivate(ctx, t1); !errors.Is(err, ErrInUse) {
		t.Errorf("the origin goes, and its snapshot cannot: %v", err)
	}
	w.expectMerge("deactivated", "s1: pool 2 t1  t1\n", 0)
	if err := w.Activate(ctx, t1); !errors.Is(err, ErrInUse) {
		t.Errorf("activating the origin: %v", err)
	}
	w.expectMerge("still in use", "s1: pool 2 t1  t1\n", 0)
	w.opened("s1", 0)
	must(t, w.Deactivate(ctx, t1))
	if w.id("s1") != 0 {
		t.Error("the snapshot stayed when its origin went")
	}
	must(t, w.Activate(ctx, t1))
	w.expectMerge("activated", "t1: pool 2   \n", 2)
	w.settled("activated")
}

// A snapshot that is active but closed does not hold its merge up.
func TestThinMergeOfClosedSnapshot(t *testing.T) {
	ctx := t.Context()
	t1, s1 := Ref{"vg", "t1"}, Ref{"vg", "s1"}
	for name, last := range map[string]func(*thinWorld) error{
		"refreshed": func(w *thinWorld) error { return w.Refresh(ctx, t1) },
		"activated": func(w *thinWorld) error {
			return errors.Join(w.dropUnit(ctx, w.rig.load(t, "vg"), "t1"), w.Activate(ctx, t1))
		},
	} {
		w, _ := mergeWorld(t)
		must(t, w.Activate(ctx, s1))
		w.opened("s1", 1)
		_, err := w.MergeThin(ctx, s1)
		must(t, err)
		w.opened("s1", 0)
		must(t, last(w))
		w.expectMerge(name, "t1: pool 2   \n", 2)
		w.settled(name)
	}
}

// Thick snapshots of a snapshot that waits are the origin's in the end.
func TestThinMergeWithThickSnapshots(t *testing.T) {
	ctx := t.Context()
	t1, s1 := Ref{"vg", "t1"}, Ref{"vg", "s1"}
	w, _ := mergeWorld(t)
	must(t, w.Snapshot(ctx, []SnapshotRequest{{Origin: s1, Name: "cow", Size: extents(1)}}))
	w.opened("t1", 1)
	st, err := w.MergeThin(ctx, s1)
	must(t, err)
	if st.Started {
		t.Errorf("%+v", st)
	}
	if err := w.Activate(ctx, Ref{"vg", "cow"}); !errors.Is(err, ErrMerging) {
		t.Errorf("the thick snapshot: %v", err)
	}
	if err := w.Snapshot(ctx, []SnapshotRequest{{Origin: s1, Name: "more", Size: extents(1)}}); err == nil {
		t.Error("a snapshot of what waits")
	}
	again := w.again(t, 100, true)
	again.opened("t1", 0)
	must(t, again.Remove(ctx, []Ref{t1, s1, {"vg", "cow"}})) // all of it can go
	w.opened("t1", 0)
	must(t, w.Refresh(ctx, t1))
	vg := w.rig.load(t, "vg")
	if o := vg.Origin("cow"); o == nil || o.Name != "t1" || vg.LV("s1") != nil || vg.LV("t1").Thin().DeviceID != 2 {
		t.Errorf("cow is of %v, t1 is %+v", o, vg.LV("t1").Thin())
	}
	if d := w.devs[vg.uuid(vg.LV("t1"), layerReal)]; d == nil || d.live[0].Target.(dmcore.Thin).DeviceID != 2 {
		t.Errorf("below the thick snapshot is %+v", d)
	}
}

// lvm2 activates the origin as the snapshot first, and notes it later.
func TestThinMergeThatLVM2Began(t *testing.T) {
	ctx := t.Context()
	w, _ := mergeWorld(t)
	w.opened("t1", 1)
	_, err := w.MergeThin(ctx, Ref{"vg", "s1"})
	must(t, err)
	vg := w.rig.load(t, "vg")
	d := w.devs[vg.uuid(vg.LV("t1"), "")]
	target := d.live[0].Target.(dmcore.Thin)
	target.DeviceID = 2
	d.live[0].Target = target
	// Whatever else changes, it is not mapped back.
	_, err = w.Extend(ctx, Ref{"vg", "pool"}, ExtendRequest{Size: extents(1), More: true})
	must(t, err)
	w.expectMerge("another change", "s1: pool 2 t1  t1\n", 2)
	must(t, w.Activate(ctx, Ref{"vg", "t1"})) // open as it is
	w.expectMerge("activated", "t1: pool 2   \n", 2)
	w.settled("activated")
}
