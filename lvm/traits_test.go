package lvm

import (
	"errors"
	"slices"
	"testing"
)

// Every kind of volume can be told not to be activated by itself.
func TestTraits(t *testing.T) {
	vg := testVG(t, 100)
	left := Traits{NoAuto: true}
	stamp := func() Stamp { return testStamp(uint64(len(vg.LVs)) + 50) }
	_, err := vg.AddLinear(LinearSpec{Name: "plain", Size: Size{Count: 2}, Traits: left, Stamp: stamp()})
	must(t, err)
	_, err = vg.AddSnapshots([]SnapshotSpec{{Origin: "plain", Name: "snap", Size: Size{Count: 2}, Traits: left, Stamp: stamp()}})
	must(t, err)
	_, _, err = vg.AddVirtual(VirtualSpec{SnapshotSpec{Name: "virtual", Size: Size{Count: 2}, Traits: left, Stamp: stamp()}, Size{Count: 9}})
	must(t, err)
	_, _, err = vg.AddThinPool(ThinPoolSpec{Name: "pool", Size: Size{Count: 2}, Traits: left, Stamp: stamp()})
	must(t, err)
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "thin", Size: Size{Count: 2}, Traits: left})
	add(t, vg, "usual", 1)
	reread(t, vg)
	for _, lv := range vg.LVs {
		want := slices.Contains([]string{"plain", "snap", "virtual", "pool", "thin"}, lv.Name)
		if vg.AutoActivates(lv) == want {
			t.Errorf("%s: flags %v", lv.Name, lv.Flags)
		}
	}
	for _, step := range []struct {
		name          string
		auto, changed bool
		err           error
	}{
		{"thin", false, false, nil},
		{"thin", true, true, nil},
		{"thin", true, false, nil},
		{"pool_tmeta", false, false, ErrInvalid},
		{"nobody", false, false, ErrNotFound},
		{"", true, false, ErrInvalid},
		{"", false, true, nil},
		{"", false, false, ErrInvalid},
	} {
		if changed, err := vg.SetAutoActivation(step.name, step.auto); changed != step.changed || !errors.Is(err, step.err) {
			t.Errorf("%+v: %t, %v", step, changed, err)
		}
	}
	if vg.AutoActivates(vg.LV("thin")) {
		t.Error("a volume of a group that is not activated by itself is")
	}
}
