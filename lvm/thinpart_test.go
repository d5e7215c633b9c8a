package lvm

import (
	"errors"
	"testing"
)

// A part of a pool is there by itself only while the pool is not, and the other way
// round.
func TestThinParts(t *testing.T) {
	ctx := t.Context()
	w := freshThinWorld(t)
	must(t, makePool.do(ctx, w))
	must(t, makeFirst.do(ctx, w))
	pool, t1, meta, data := Ref{"vg", "pool"}, Ref{"vg", "t1"}, Ref{"vg", "pool_tmeta"}, Ref{"vg", "pool_tdata"}
	device := func(r Ref) *fakeDev {
		vg := w.rig.load(t, "vg")
		return w.devs[vg.DeviceUUID(vg.LV(r.LV))]
	}
	if err := w.ActivatePart(ctx, meta, true); !errors.Is(err, ErrInUse) {
		t.Errorf("of an active pool: %v", err)
	}
	if err := w.ActivatePart(ctx, t1, true); !errors.Is(err, ErrInvalid) {
		t.Errorf("no part: %v", err)
	}
	down := func() { must(t, errors.Join(w.Deactivate(ctx, t1), w.Deactivate(ctx, pool))) }
	down()
	for range 2 { // the second time it is there
		must(t, w.ActivatePart(ctx, meta, true))
	}
	must(t, w.ActivatePart(ctx, data, true))
	if d := device(meta); d == nil || !d.ro || d.info.Name != "vg-pool_tmeta" {
		t.Fatalf("%+v", d)
	}
	refused := map[string]func() error{
		"a volume": func() error { return w.Activate(ctx, t1) },
		"the pool": func() error { return w.Activate(ctx, pool) },
		"a new one": func() error {
			_, err := w.CreateThins(ctx, "vg", []ThinSpec{{Pool: "pool", Name: "t2", Size: extents(1)}}, thinOn)
			return err
		},
		"removal of a volume": func() error { return w.Remove(ctx, []Ref{t1}) },
	}
	for what, do := range refused {
		if err := do(); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: %v", what, err)
		}
		if d := device(meta); d == nil || !d.ro {
			t.Errorf("%s: the part is %+v", what, d)
		}
	}
	device(meta).info.OpenCount = 1
	if err := w.Remove(ctx, []Ref{t1, pool}); !errors.Is(err, ErrInUse) {
		t.Errorf("the pool goes, and somebody looks at its metadata: %v", err)
	}
	device(meta).info.OpenCount = 0
	must(t, w.ActivatePart(ctx, data, false))
	if device(data) != nil {
		t.Error("the data stayed")
	}
	down()
	if device(meta) != nil {
		t.Error("the metadata stayed when the pool went")
	}
	must(t, w.Activate(ctx, t1))
	w.settled("in the end")
	down()
	must(t, w.ActivatePart(ctx, meta, true))
	must(t, w.Remove(ctx, []Ref{t1, pool}))
	if len(w.devs) > 0 {
		t.Errorf("left: %v", w.devs)
	}
}

// The spare can go, by name; the next pool makes another.
func TestThinSpareGoes(t *testing.T) {
	ctx := t.Context()
	w := freshThinWorld(t)
	must(t, makePool.do(ctx, w))
	must(t, makeFirst.do(ctx, w))
	spare := Ref{"vg", "lvol0_pmspare"}
	for range 2 {
		if !w.rig.load(t, "vg").Spare(spare.LV) {
			t.Fatal("no spare")
		}
		must(t, w.Remove(ctx, []Ref{spare}))
		if w.rig.load(t, "vg").LV(spare.LV) != nil {
			t.Fatal("it is there still")
		}
		_, _, err := w.CreateThinPool(ctx, "vg", ThinPoolSpec{Size: extents(4)}, true)
		must(t, err)
	}
	if w.id("t1") == 0 {
		t.Error("t1 went with it")
	}
}

// Who extends a part extends its pool.
func TestThinPartsGrow(t *testing.T) {
	ctx := t.Context()
	w := freshThinWorld(t)
	must(t, makePool.do(ctx, w))
	must(t, makeFirst.do(ctx, w))
	sizes := func() [3]Extents {
		vg := w.rig.load(t, "vg")
		return [3]Extents{vg.LV("pool").Extents(), vg.LV("pool_tdata").Extents(), vg.LV("pool_tmeta").Extents()}
	}
	was := sizes()
	for _, c := range []struct {
		part string
		r    ExtendRequest
		more [3]Extents
		err  error
	}{
		{"pool_tmeta", ExtendRequest{Metadata: extents(2), MoreMetadata: true}, [3]Extents{0, 0, 2}, nil},
		{"pool_tmeta", ExtendRequest{Size: extents(2), More: true}, [3]Extents{0, 0, 2}, nil},
		{"pool_tdata", ExtendRequest{Size: extents(3), More: true}, [3]Extents{3, 3, 0}, nil},
		{"pool_tdata", ExtendRequest{Metadata: extents(3), MoreMetadata: true}, [3]Extents{}, ErrInvalid},
		{"pool_tmeta", ExtendRequest{Size: extents(1), More: true, Metadata: extents(3), MoreMetadata: true}, [3]Extents{}, ErrInvalid},
	} {
		if _, err := w.Extend(ctx, Ref{"vg", c.part}, c.r); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.part, err)
		}
		is := sizes()
		for i := range is {
			if is[i] != was[i]+c.more[i] {
				t.Errorf("%+v: %v, were %v", c, is, was)
			}
		}
		was = is
	}
	w.settled("in the end")
}
