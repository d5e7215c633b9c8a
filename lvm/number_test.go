package lvm

import (
	"errors"
	"strings"
	"testing"
)

func TestNumber(t *testing.T) {
	vg := testVG(t, 100)
	n := &Number{Major: 254, Minor: 300}
	_, err := vg.AddLinear(LinearSpec{Name: "fixed", Size: extents(1), Traits: Traits{Number: n, ReadAhead: 8}, Stamp: testStamp(50)})
	must(t, err)
	add(t, vg, "any", 1)
	const keys = "read_ahead = 8\nmajor = 254\nminor = 300\nsegment_count"
	if s := string(section(text(t, vg), "fixed")); !strings.Contains(s, keys) || !strings.Contains(s, `status = ["READ", "WRITE", "FIXED_MINOR", "VISIBLE"]`) {
		t.Error(s)
	}
	vg = reread(t, vg)
	if got := vg.LV("fixed").Number; got == nil || *got != *n {
		t.Errorf("reads as %v", got)
	}
	acts, err := vg.Activations("fixed", ActivateOptions{PVDevice: vg.pvPath})
	must(t, err)
	plan, err := PlanDevices(nil, acts)
	must(t, err)
	if m := plan.Prepare[0].Minor; m == nil || *m != 300 {
		t.Errorf("made with %v", m)
	}
	snap(t, vg, "fixed", "s", 2)
	acts, err = vg.Activations("fixed", ActivateOptions{PVDevice: vg.pvPath})
	must(t, err)
	for _, a := range acts {
		if (a.Minor != nil) != (a.LV == "fixed" && a.Layer == "") {
			t.Errorf("%s: minor %v", a.Name, a.Minor)
		}
	}
	for _, c := range []struct {
		name string
		n    *Number
		err  error
	}{
		{"any", nil, ErrInvalid},
		{"any", &Number{-1, maxMinor + 1}, ErrInvalid},
		{"nobody", n, ErrNotFound},
		{"any", &Number{-1, 0}, nil},
		{"fixed", nil, nil},
	} {
		if err := vg.SetNumber(c.name, c.n); !errors.Is(err, c.err) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	s := string(text(t, vg))
	if strings.Contains(string(section([]byte(s), "fixed")), "minor") || strings.Contains(string(section([]byte(s), "any")), "major") || !strings.Contains(string(section([]byte(s), "any")), "minor = 0\n") {
		t.Error(s)
	}
}
