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
