package lvm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cowhand/dmcore"
)

// Where lvm2 prints it, and what it means that it does not.
func TestReadAheadText(t *testing.T) {
	vg := testVG(t, 100)
	for _, c := range []struct {
		name  string
		ahead ReadAhead
		want  string
	}{
		{"usual", ReadAheadAuto, ""},
		{"none", ReadAheadNone, "read_ahead = -1\n"},
		{"some", 128, "read_ahead = 128\n"},
	} {
		lv, err := vg.AddLinear(LinearSpec{Name: c.name, Size: extents(1), Traits: Traits{ReadAhead: c.ahead}, Stamp: testStamp(uint64(len(vg.LVs)) + 50)})
		must(t, err)
		s := section(text(t, vg), c.name)
		if got := strings.Contains(s, c.want+"segment_count"); !got || c.want == "" && strings.Contains(s, "read_ahead") {
			t.Errorf("%s: %s", c.name, s)
		}
		if again := reread(t, vg).LV(c.name); again.ReadAhead != lv.ReadAhead {
			t.Errorf("%s: reads as %s", c.name, again.ReadAhead)
		}
	}
	vg = reread(t, vg)
	must(t, vg.SetReadAhead("some", ReadAheadAuto))
	must(t, vg.SetReadAhead("usual", 256))
	if s := text(t, vg); strings.Contains(string(section(s, "some")), "read_ahead") || !strings.Contains(string(section(s, "usual")), "\nread_ahead = 256\nsegment_count") {
		t.Errorf("%s", s)
	}
	for _, c := range []struct {
		name  string
		ahead ReadAhead
		err   error
	}{
		{"usual", 256, ErrInvalid}, {"usual", -2, ErrInvalid}, {"usual", maxReadAhead + 1, ErrInvalid}, {"nobody", 1, ErrNotFound},
	} {
		if err := vg.SetReadAhead(c.name, c.ahead); !errors.Is(err, c.err) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	bad := strings.Replace(string(text(t, vg)), "read_ahead = 256", "read_ahead = -2", 1)
	if _, err := Parse([]byte(bad)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("-2: %v", err)
	}
}

// aheads is what a kernel has set; disks and new devices have 256.
type aheads map[dmcore.DevNo]dmcore.Sectors

func (a aheads) ReadAhead(d dmcore.DevNo) (dmcore.Sectors, error) {
	if n, ok := a[d]; ok {
		return n, nil
	}
	return 256, nil
}

func (a aheads) SetReadAhead(d dmcore.DevNo, n dmcore.Sectors) error { a[d] = n; return nil }

// What is set of devices when they get a table, and when it is changed.
func TestReadAheadOfDevices(t *testing.T) {
	ctx := t.Context()
	w := freshThinWorld(t)
	set := aheads{}
	w.ReadAheads = set
	must(t, makePool.do(ctx, w))
	of := func(lv, layer string) string {
		vg := w.rig.load(t, "vg")
		d := w.devs[vg.uuid(vg.LV(lv), layer)]
		if d == nil {
			return "no device"
		}
		n, ok := set[d.info.Dev]
		return fmt.Sprint(n, ok)
	}
	_, err := w.CreateThins(ctx, "vg", []ThinSpec{
		{Pool: "pool", Name: "auto", Size: extents(2)},
		{Pool: "pool", Name: "none", Size: extents(2), Traits: Traits{ReadAhead: ReadAheadNone}},
		{Pool: "pool", Name: "some", Size: extents(2), Traits: Traits{ReadAhead: 64}},
	}, thinOn)
	must(t, err)
	got := []string{of("auto", ""), of("none", ""), of("some", ""), of("pool", layerTPool)}
	if want := []string{"0 false", "0 true", "64 true", "0 false"}; !slices.Equal(got, want) {
		t.Errorf("created: %q, want %q", got, want)
	}
	vg := w.rig.load(t, "vg")
	set[w.devs[vg.uuid(vg.LV("pool"), layerTPool)].info.Dev] = 1024
	must(t, errors.Join(w.Deactivate(ctx, Ref{"vg", "auto"}), w.Activate(ctx, Ref{"vg", "auto"})))
	must(t, w.SetReadAhead(ctx, Ref{"vg", "some"}, 512))
	must(t, w.SetReadAhead(ctx, Ref{"vg", "none"}, ReadAheadAuto))
	got = []string{of("auto", ""), of("none", ""), of("some", "")}
	if want := []string{"1024 true", "1024 true", "512 true"}; !slices.Equal(got, want) {
		t.Errorf("below is more: %q, want %q", got, want)
	}
	must(t, w.Snapshot(ctx, []SnapshotRequest{{Origin: Ref{"vg", "some"}, Name: "cow", Size: extents(1)}}))
	if got := of("some", layerReal); got != "512 true" {
		t.Errorf("below the snapshots: %s", got)
	}
}

// Striped volumes have two rows at least.
func TestReadAheadOfStripes(t *testing.T) {
	vg := testVG(t, 100, 100)
	lv, err := vg.AddStriped(StripedSpec{Stripes: 2, StripeSize: 256, LinearSpec: LinearSpec{Name: "s", Size: extents(4), Stamp: testStamp(60)}})
	must(t, err)
	acts, err := vg.Activations("s", ActivateOptions{PVDevice: vg.pvPath})
	must(t, err)
	set := aheads{}
	d := &devices{e: &Engine{ReadAheads: set}, number: map[dmcore.UUID]dmcore.DevNo{vg.uuid(lv, ""): {Major: 254, Minor: 7}}}
	d.setReadAheads(acts)
	if n := set[dmcore.DevNo{Major: 254, Minor: 7}]; n != 1024 {
		t.Errorf("%d sectors, want twice a row of 2 stripes of 256", n)
	}
}
