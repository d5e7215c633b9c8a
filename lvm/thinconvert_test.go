package lvm

import (
	"errors"
	"testing"

	"cowhand/dmcore"
)

// A volume in use becomes thin under its user: name and ID stay, and what it held is
// below, read-only.
func TestConvertThin(t *testing.T) {
	ctx := t.Context()
	w := freshThinWorld(t)
	must(t, makePool.do(ctx, w))
	_, err := w.Create(ctx, "vg", StripedSpec{LinearSpec: LinearSpec{Name: "root", Size: extents(6)}}, true)
	must(t, err)
	was := w.rig.load(t, "vg").LV("root")
	w.opened("root", 1)
	origin, err := w.ConvertThin(ctx, "vg", ThinConversion{LV: "root", Pool: "pool", Origin: "base"})
	must(t, err)
	vg := w.rig.load(t, "vg")
	root, base := vg.LV("root"), vg.LV("base")
	if origin != "base" || root.ID != was.ID || root.Thin() == nil || root.Thin().ExternalOrigin != "base" || base.Writable() || base.ID == was.ID || layout(base) != layout(was) {
		t.Fatalf("%s: %+v on %+v", origin, root, base)
	}
	d := w.devs[vg.uuid(root, "")]
	real := w.devs[vg.uuid(base, layerReal)]
	if d == nil || real == nil || !real.ro || d.ro {
		t.Fatalf("%+v on %+v", d, real)
	}
	if target, ok := d.live[0].Target.(dmcore.Thin); !ok || target.ExternalOrigin != vg.uuid(base, layerReal).Dev() {
		t.Errorf("root is mapped to %v", d.live)
	}
	w.opened("root", 0)
	w.settled("converted")
	// The origin again: who read from it goes on reading what it was.
	_, err = w.ConvertThin(ctx, "vg", ThinConversion{LV: "base", Pool: "pool", Origin: "older"})
	must(t, err)
	vg = w.rig.load(t, "vg")
	if vg.LV("root").Thin().ExternalOrigin != "older" || vg.LV("base").Thin().ExternalOrigin != "older" || !vg.LV("base").Writable() {
		t.Errorf("root reads from %s, base from %s", vg.LV("root").Thin().ExternalOrigin, vg.LV("base").Thin().ExternalOrigin)
	}
	d = w.devs[vg.uuid(vg.LV("root"), "")]
	if target, ok := d.live[0].Target.(dmcore.Thin); !ok || target.ExternalOrigin != vg.uuid(vg.LV("older"), layerReal).Dev() {
		t.Errorf("root is mapped to %v", d.live)
	}
	w.settled("converted again")
	for _, c := range []struct {
		c   ThinConversion
		err error
	}{
		{ThinConversion{LV: "nobody", Pool: "pool"}, ErrNotFound},
		{ThinConversion{LV: "root", Pool: "pool"}, ErrUnsupported},
		{ThinConversion{LV: "pool", Pool: "pool"}, ErrInvalid},
		{ThinConversion{LV: "older", Pool: "root"}, ErrInvalid},
		{ThinConversion{LV: "older", Pool: "pool", Origin: "base"}, ErrExists},
	} {
		before := says(w.rig.load(t, "vg"))
		if _, err := w.ConvertThin(ctx, "vg", c.c); !errors.Is(err, c.err) {
			t.Errorf("%+v: %v", c.c, err)
		}
		if after := says(w.rig.load(t, "vg")); after != before {
			t.Errorf("%+v left %s, was %s", c.c, after, before)
		}
	}
}

// Whoever dies on the way leaves the volume as it was, perhaps with an empty thin one
// beside it, or as it is to be.
func TestConvertThinCrash(t *testing.T) {
	ctx := t.Context()
	start := freshThinWorld(t)
	must(t, makePool.do(ctx, start))
	_, err := start.Create(ctx, "vg", StripedSpec{LinearSpec: LinearSpec{Name: "root", Size: extents(6)}}, true)
	must(t, err)
	was := start.rig.load(t, "vg").LV("root")
	for n := 0; ; n++ {
		w := start.again(t, 100, true)
		w.die = n
		_, err := w.ConvertThin(ctx, "vg", ThinConversion{LV: "root", Pool: "pool", Origin: "base"})
		if err == nil {
			return
		}
		for _, devices := range []bool{true, false} {
			again := w.again(t, 100, devices)
			vg := again.rig.load(t, "vg")
			root, base := vg.LV("root"), vg.LV("base")
			switch {
			case root.ID != was.ID:
				t.Fatalf("step %d: root is another", n)
			case root.Thin() == nil && (!root.Writable() || layout(root) != layout(was) || base != nil && base.Thin() == nil):
				t.Fatalf("step %d: %+v, %+v", n, root, base)
			case root.Thin() != nil && (base == nil || layout(base) != layout(was) || base.Writable()):
				t.Fatalf("step %d: %+v, %+v", n, root, base)
			}
			must(t, again.Activate(ctx, Ref{"vg", "root"}))
		}
	}
}
