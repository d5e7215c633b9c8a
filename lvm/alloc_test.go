package lvm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func layout(lv *LV) string {
	var parts []string
	for _, s := range lv.Segments {
		var areas []string
		for _, a := range s.Stripes {
			areas = append(areas, fmt.Sprintf("%s:%d", a.PV, a.Start))
		}
		parts = append(parts, fmt.Sprintf("%d+%d %s", s.Start, s.Count, strings.Join(areas, ",")))
	}
	return strings.Join(parts, " | ")
}

func TestAllocation(t *testing.T) {
	// pv0: free 4..9, 14..19; pv1: free 0..19; pv2: not allocatable; pv3: missing
	vg := testVG(t, 20, 20, 20, 20)
	for _, name := range []string{"a", "b", "c"} {
		add(t, vg, name, map[string]Extents{"a": 4, "b": 6, "c": 4}[name])
	}
	must(t, vg.Remove("b"))
	vg.PVs[2].Status = nil
	vg.PVs[3].Flags = []string{"MISSING"}
	if got, want := fmt.Sprint(vg.FreeRuns()), "[{pv0 4 6} {pv0 14 6} {pv1 0 20} {pv2 0 20} {pv3 0 20}]"; got != want {
		t.Fatalf("free %s, want %s", got, want)
	}
	if vg.FreeExtents() != 72 || vg.AllocatableExtents() != 32 || vg.TotalExtents() != 80 {
		t.Errorf("free %d, allocatable %d, total %d", vg.FreeExtents(), vg.AllocatableExtents(), vg.TotalExtents())
	}
	for _, tt := range []struct {
		name string
		spec StripedSpec
		want string
		err  error
	}{
		{"first run that holds it", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 6}}}, "0+6 pv0:4", nil},
		{"the smallest run on the first disk that has one", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 4}, PVs: []string{"pv0:4-9", "pv0:14-18", "pv1"}}}, "0+4 pv0:14", nil},
		{"contiguous before spread", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 7}}}, "0+7 pv1:0", nil},
		{"largest runs when spread", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 27}}}, "0+20 pv1:0 | 20+6 pv0:4 | 26+1 pv0:14", nil},
		{"all", StripedSpec{LinearSpec: LinearSpec{Size: Size{Percent: 100, Of: OfFree}}}, "0+20 pv1:0 | 20+6 pv0:4 | 26+6 pv0:14", nil},
		{"too much", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 33}}}, "", ErrNoSpace},
		{"named volume", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 3}, PVs: []string{"pv1"}}}, "0+3 pv1:0", nil},
		{"named volume too small", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 13}, PVs: []string{"pv0"}}}, "", ErrNoSpace},
		{"no such volume", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 3}, PVs: []string{"pv7"}}}, "", ErrNotFound},
		{"not allocatable", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 3}, PVs: []string{"pv2"}}}, "", ErrInvalid},
		{"missing", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 3}, PVs: []string{"pv3"}}}, "", ErrMissingPV},
		{"striped", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 9}}, Stripes: 2}, "0+10 pv0:4,pv1:0", nil},
		{"striped in rows", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 20}}, Stripes: 2}, "0+12 pv1:0,pv0:4 | 12+8 pv0:14,pv1:6", nil},
		{"too many stripes", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 3}}, Stripes: 3}, "", ErrNoSpace},
		{"stripe size", StripedSpec{LinearSpec: LinearSpec{Size: Size{Count: 2}}, Stripes: 2, StripeSize: 100}, "", ErrInvalid},
	} {
		c := vg.Clone()
		lv, err := c.AddStriped(tt.spec)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.err)
			continue
		}
		if err != nil {
			if len(c.LVs) != len(vg.LVs) {
				t.Errorf("%s: refused, but the group changed", tt.name)
			}
			continue
		}
		if got := layout(lv); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		must(t, c.Validate())
	}
	_, err := vg.AddLinear(LinearSpec{Name: "x", Size: Size{Count: 33}})
	if want := "vg/x: create: not enough free extents (need 33, have 32): no space"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestExtend(t *testing.T) {
	vg := testVG(t, 20, 20)
	add(t, vg, "a", 4)
	add(t, vg, "b", 4)
	_, err := vg.AddStriped(StripedSpec{LinearSpec: LinearSpec{Name: "w", Size: Size{Count: 4}, PVs: []string{"pv0", "pv1"}}, Stripes: 2})
	must(t, err)
	if got, want := layout(vg.LV("w")), "0+4 pv0:8,pv1:0"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	for _, tt := range []struct {
		name string
		lv   string
		to   Extents
		pvs  []string
		want string
		note string
		err  error
	}{
		{"elsewhere", "a", 6, nil, "0+4 pv0:0 | 4+2 pv0:10", "", nil},
		{"where told", "a", 6, []string{"pv1"}, "0+4 pv0:0 | 4+2 pv1:2", "", nil},
		{"striped, next to its end", "w", 8, nil, "0+8 pv0:8,pv1:0", "", nil},
		{"striped by odd", "w", 7, nil, "0+8 pv0:8,pv1:0", "rounding up 12 MiB to 16 MiB", nil},
		{"same", "a", 4, nil, "", "", ErrInvalid},
		{"smaller", "a", 3, nil, "", "", ErrInvalid},
		{"too large", "a", 100, nil, "", "", ErrNoSpace},
		{"beyond all", "a", 1 << 33, nil, "", "", ErrInvalid},
		{"unknown", "zzz", 3, nil, "", "", ErrNotFound},
	} {
		c := vg.Clone()
		notes, err := c.ExtendLV(tt.lv, tt.to, tt.pvs...)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.err)
			continue
		}
		must(t, c.Validate())
		if err != nil {
			continue
		}
		lv := c.LV(tt.lv)
		if layout(lv) != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, layout(lv), tt.want)
		}
		if !strings.Contains(strings.Join(notes, "\n"), tt.note) {
			t.Errorf("%s: notes %q, want %q", tt.name, notes, tt.note)
		}
	}
	must(t, vg.Remove("w"))
	for _, to := range []Extents{6, 20, 30} { // right behind, and then elsewhere too
		_, err := vg.ExtendLV("b", to)
		must(t, err)
	}
	if got, want := layout(vg.LV("b")), "0+16 pv0:4 | 16+14 pv1:0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	must(t, vg.Validate())
}

// A percentage of what is free is as much of that as can be had.
func TestExtendByPercent(t *testing.T) {
	for _, c := range []struct {
		pvs  []Extents
		want Extents
	}{
		{[]Extents{10, 10}, 20},
		{[]Extents{10, 30}, 20},     // of the second disk a third
		{[]Extents{10, 30, 15}, 50}, // its stripes go on elsewhere
	} {
		vg := testVG(t, c.pvs...)
		_, err := vg.AddStriped(StripedSpec{LinearSpec: LinearSpec{Name: "w", Size: Size{Count: 4}, PVs: []string{"pv0", "pv1"}}, Stripes: 2})
		must(t, err)
		n := vg.roomBehind(vg.LV("w"), nil)
		if n+4 != c.want {
			t.Errorf("%v: %d extents more", c.pvs, n)
		}
		if _, err := vg.ExtendLV("w", 4+n+2); !errors.Is(err, ErrNoSpace) {
			t.Errorf("%v: more than that: %v", c.pvs, err)
		}
		_, err = vg.ExtendLV("w", 4+n)
		must(t, err)
	}
}
