package lvm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"cowhand/dmcore"
)

func TestConvertPool(t *testing.T) {
	fresh := func() *VG {
		vg := testVG(t, 100, 100)
		add(t, vg, "data", 20)
		add(t, vg, "meta", 2)
		add(t, vg, "small", 1)
		add(t, vg, "origin", 2)
		snap(t, vg, "origin", "cow", 2)
		must(t, vg.AddTags("data", "mine"))
		vg.LV("data").setFlag(flagSkipActivation, true)
		return vg
	}
	stamp := testStamp(80)
	vg := fresh()
	id := vg.LV("data").ID
	pool, _, err := vg.ConvertPool(PoolConversion{LV: "data", Spec: ThinPoolSpec{Discards: DiscardsNoPassdown, Stamp: stamp}})
	must(t, err)
	if pool.ID != id || !pool.HasTag("mine") || pool.SkipsActivation() || pool.ThinPool() == nil || vg.LV("data_tdata").Extents() != 20 {
		t.Errorf("%+v", pool)
	}
	if got := layout(vg.LV("data_tmeta")); got != "0+1 pv1:0" {
		t.Errorf("metadata at %s", got)
	}
	must(t, vg.Validate())
	if again := reread(t, vg); again.LV("lvol0_pmspare") == nil || again.LV("data").ThinPool().Discards != DiscardsNoPassdown {
		t.Errorf("%s", text(t, vg))
	}
	vg = fresh()
	old := layout(vg.LV("meta"))
	_, _, err = vg.ConvertPool(PoolConversion{LV: "data", Metadata: "meta", Spec: ThinPoolSpec{Discards: DiscardsPassdown, NoSpare: true, Stamp: stamp}})
	must(t, err)
	if m := vg.LV("data_tmeta"); vg.LV("meta") != nil || m == nil || m.Visible() || layout(m) != old {
		t.Errorf("metadata is %+v", m)
	}
	must(t, vg.Validate())
	reread(t, vg)
	// And exchanged for another's extents: names and IDs stay.
	add(t, vg, "other", 3)
	meta, other := vg.LV("data_tmeta").ID, layout(vg.LV("other"))
	must(t, vg.SwapPoolMetadata("data", "other"))
	if m := vg.LV("data_tmeta"); m.ID != meta || layout(m) != other || layout(vg.LV("other")) != old {
		t.Errorf("metadata at %s, the other at %s", layout(m), layout(vg.LV("other")))
	}
	must(t, vg.Validate())
	reread(t, vg)
	for _, c := range []struct {
		lv, meta string
		err      error
	}{
		{"nobody", "", ErrNotFound}, {"data", "", ErrInvalid}, {"data_tdata", "", ErrInvalid}, {"small", "small", ErrInvalid},
		{"small", "data_tmeta", ErrInvalid}, {"origin", "", ErrInUse}, {"cow", "", ErrInUse}, {"small", "cow", ErrInUse}, {"snapshot0", "", ErrInvalid},
	} {
		if _, _, err := vg.ConvertPool(PoolConversion{LV: c.lv, Metadata: c.meta, Spec: ThinPoolSpec{Discards: DiscardsPassdown, Stamp: stamp}}); !errors.Is(err, c.err) {
			t.Errorf("%s with %q: %v", c.lv, c.meta, err)
		}
	}
	for pool, other := range map[string]string{"small": "other", "data": "origin"} {
		if err := vg.SwapPoolMetadata(pool, other); err == nil {
			t.Errorf("%s for %s", other, pool)
		}
	}
}

// The devices of a volume that becomes a pool go first, and come back if it does not.
func TestConvertPoolDevices(t *testing.T) {
	ctx := t.Context()
	w := freshThinWorld(t)
	for _, name := range []string{"data", "meta"} {
		_, err := w.Create(ctx, "vg", StripedSpec{LinearSpec: LinearSpec{Name: name, Size: extents(40)}}, true)
		must(t, err)
	}
	c := PoolConversion{LV: "data", Metadata: "meta", Spec: ThinPoolSpec{Discards: DiscardsPassdown}}
	uuid := func(name string) dmcore.UUID {
		vg := w.rig.load(t, "vg")
		return vg.uuid(vg.LV(name), "")
	}
	w.devs[uuid("meta")].info.OpenCount = 1
	if _, err := w.ConvertPool(ctx, "vg", c); !errors.Is(err, ErrInUse) {
		t.Errorf("metadata is open: %v", err)
	}
	if w.devs[uuid("data")] == nil || w.devs[uuid("meta")] == nil {
		t.Error("what was refused took a device down")
	}
	w.devs[uuid("meta")].info.OpenCount = 0
	var zeroed []string
	w.Trace = func(step string) error {
		if strings.Contains(step, ": zero") {
			zeroed = append(zeroed, strings.Fields(step)[0])
		}
		return nil
	}
	_, err := w.ConvertPool(ctx, "vg", c)
	must(t, err)
	if !slices.Equal(zeroed, []string{"vg/data_tmeta:", "vg/lvol0_pmspare:"}) {
		t.Errorf("zeroed %q", zeroed)
	}
	vg := w.rig.load(t, "vg")
	d := w.devs[vg.uuid(vg.LV("data"), layerTPool)]
	if d == nil || d.info.Name != "vg-data" || d.live[0].Target.Type() != "thin-pool" {
		t.Errorf("the pool is %+v", d)
	}
	_, err = w.CreateThins(ctx, "vg", []ThinSpec{{Pool: "data", Name: "t", Size: extents(2)}}, thinOn)
	must(t, err)
	_, err = w.Create(ctx, "vg", StripedSpec{LinearSpec: LinearSpec{Name: "other", Size: extents(40)}}, true)
	must(t, err)
	swap := func() error { return w.SwapPoolMetadata(ctx, "vg", "data", "other") }
	if err := swap(); !errors.Is(err, ErrInUse) {
		t.Errorf("an active pool: %v", err)
	}
	must(t, errors.Join(w.Deactivate(ctx, Ref{"vg", "t"}), w.Deactivate(ctx, Ref{"vg", "data"})))
	w.devs[uuid("other")].info.OpenCount = 1
	if err := swap(); !errors.Is(err, ErrInUse) || w.devs[uuid("other")] == nil {
		t.Errorf("a volume that is open: %v", err)
	}
	w.devs[uuid("other")].info.OpenCount = 0
	must(t, swap())
	must(t, swap()) // and back
	if len(w.devs) > 0 {
		t.Errorf("left %v", w.devs)
	}
	must(t, w.Activate(ctx, Ref{"vg", "t"}))
	w.settled("in the end")
}
