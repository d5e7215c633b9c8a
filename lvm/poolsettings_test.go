package lvm

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// The metadata of a pool lies apart from its data where it can.
func TestPoolMetadataApart(t *testing.T) {
	for _, c := range []struct {
		name       string
		pvs        []Extents
		spec       ThinPoolSpec
		separate   bool
		data, meta string
		err        error
	}{
		{"one disk", []Extents{100}, ThinPoolSpec{Size: extents(8)}, false, "0+8 pv0:1", "0+1 pv0:9", nil},
		{"one disk, and that is not allowed", []Extents{100}, ThinPoolSpec{Size: extents(8)}, true, "", "", ErrNoSpace},
		{"two disks", []Extents{100, 100}, ThinPoolSpec{Size: extents(8)}, false, "0+8 pv0:1", "0+1 pv1:0", nil},
		{"two disks", []Extents{100, 100}, ThinPoolSpec{Size: extents(8)}, true, "0+8 pv0:1", "0+1 pv1:0", nil},
		{"three disks: the last", []Extents{100, 100, 100}, ThinPoolSpec{Size: extents(8)}, false, "0+8 pv0:1", "0+1 pv2:0", nil},
		{"three disks: the smallest", []Extents{100, 5, 100}, ThinPoolSpec{Size: extents(8)}, false, "0+8 pv0:1", "0+1 pv1:0", nil},
		{"striped over all", []Extents{100, 100}, ThinPoolSpec{Size: extents(8), Stripes: 2}, false, "0+8 pv0:1,pv1:0", "0+1 pv0:5", nil},
		{"striped over some", []Extents{100, 100, 100}, ThinPoolSpec{Size: extents(8), Stripes: 2}, false, "0+8 pv0:1,pv1:0", "0+1 pv2:0", nil},
		{"other disks are too small", []Extents{100, 3}, ThinPoolSpec{Size: extents(8), Metadata: extents(4)}, false, "0+8 pv0:4", "0+4 pv0:12", nil},
		{"chosen disks", []Extents{100, 100, 100}, ThinPoolSpec{Size: extents(8), PVs: []string{"pv1"}}, false, "0+8 pv1:1", "0+1 pv1:9", nil},
	} {
		vg := testVG(t, c.pvs...)
		vg.settings.SeparateMetadata = c.separate
		c.spec.Name, c.spec.Stamp = "pool", testStamp(60)
		_, _, err := vg.AddThinPool(c.spec)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.err != nil {
			continue
		}
		if data, meta := layout(vg.LV("pool_tdata")), layout(vg.LV("pool_tmeta")); data != c.data || meta != c.meta {
			t.Errorf("%s: data %q, metadata %q, want %q and %q", c.name, data, meta, c.data, c.meta)
		}
	}
}

// Metadata that older versions of lvm2 would crop bears a flag that says so, or says
// that it is whole.
func TestPoolMetadataCrop(t *testing.T) {
	for _, c := range []struct {
		crop     bool
		asked    Extents
		metadata Extents
		flagged  bool
	}{
		{false, 4048, 4048, false},
		{false, 5000, 4065, true},
		{true, 5000, 4048, false},
	} {
		vg := testVG(t, 20000)
		vg.settings.CropMetadata = c.crop
		_, _, err := vg.AddThinPool(ThinPoolSpec{Name: "pool", Size: extents(8), Metadata: extents(c.asked), Stamp: testStamp(60)})
		must(t, err)
		if n := vg.LV("pool_tmeta").Extents(); n != c.metadata {
			t.Errorf("%+v: %d extents", c, n)
		}
		s := string(section(text(t, vg), "pool"))
		if strings.Contains(s, `type = "thin-pool+CROP_METADATA"`) != c.flagged || strings.Contains(s, "crop_metadata = 0") != c.flagged {
			t.Errorf("%+v: %s", c, s)
		}
		reread(t, vg)
	}
	vg := testVG(t, 20000)
	addPool(t, vg, "pool", 8)
	_, err := vg.ExtendThinMetadata("pool", 4048)
	must(t, err)
	if p := vg.LV("pool").ThinPool(); p.Whole {
		t.Error("flagged although nobody would crop it")
	}
	_, err = vg.ExtendThinMetadata("pool", 4060)
	must(t, err)
	if p := reread(t, vg).LV("pool").ThinPool(); !p.Whole || p.Crop {
		t.Errorf("%+v", p)
	}
}

// How much of new metadata is zeroed.
func TestPoolMetadataKept(t *testing.T) {
	for keep, want := range map[bool]string{false: "zero 2048 sectors", true: "zero 8 sectors"} {
		w := freshThinWorld(t)
		w.Store.Pools.KeepMetadata = keep
		var zeroed []string
		w.Trace = func(step string) error {
			if _, what, ok := strings.Cut(step, ": zero"); ok {
				zeroed = append(zeroed, "zero"+what)
			}
			return nil
		}
		must(t, makePool.do(t.Context(), w))
		if len(zeroed) != 2 || slices.ContainsFunc(zeroed, func(s string) bool { return (s == "zero 8 sectors") != keep }) {
			t.Errorf("keep %t: %q, want twice %q", keep, zeroed, want)
		}
	}
}

// Where the kernel cannot map part of a chunk to an external origin.
func TestPoolWholeExternal(t *testing.T) {
	vg := testVG(t, 100)
	vg.settings.WholeExternal = true
	_, _, err := vg.AddThinPool(ThinPoolSpec{Name: "pool", Size: extents(8), Chunk: 3 * 8192, Stamp: testStamp(60)})
	must(t, err)
	for name, n := range map[string]Extents{"two": 2, "three": 3} {
		add(t, vg, name, n)
		must(t, vg.SetPermission(name, false))
	}
	spec := ThinSpec{Pool: "pool", Name: "t", Origin: "two", Stamp: testStamp(70)}
	if _, err := vg.AddThins([]ThinSpec{spec}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("two thirds of a chunk: %v", err)
	}
	spec.Origin = "three"
	_, err = vg.AddThins([]ThinSpec{spec})
	must(t, err)
	if _, err := vg.ExtendLV("t", 4); !errors.Is(err, ErrUnsupported) {
		t.Errorf("longer than its origin: %v", err)
	}
	vg.settings.WholeExternal = false
	_, err = vg.ExtendLV("t", 4)
	must(t, err)
}
