package lvm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlace(t *testing.T) {
	pv := &PV{Name: "pv0", PECount: 10}
	for ranges, want := range map[string]string{
		"": "pv0", "4": "pv0:4-4", "0-1:4-5": "pv0:0-1:4-5", "7-": "pv0:7-9", "-2": "pv0:0-2", "3+4": "pv0:3-6",
	} {
		if got, err := pv.Place(ranges); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", ranges, got, err, want)
		}
	}
	for _, ranges := range []string{"10", "5-3", "x", "1:", "4-10", "3+0", "0x1", "4294967296", "-"} {
		if got, err := pv.Place(ranges); !errors.Is(err, ErrInvalid) && ranges != "-" {
			t.Errorf("%q: got %q, %v", ranges, got, err)
		}
	}
}

func TestRanges(t *testing.T) {
	vg := testVG(t, 24, 24)
	// lvm2's lvextend-percent-extents.sh: every other two extents, then every other three.
	var created, extended []string
	for i := 0; i <= 20; i += 4 {
		created = append(created, fmt.Sprintf("pv0:%d-%d", i, i+1))
	}
	for i := 0; i <= 18; i += 6 {
		extended = append(extended, fmt.Sprintf("pv0:%d-%d", i, i+2))
	}
	_, err := vg.AddLinear(LinearSpec{Name: "lv", Size: Size{Count: 12}, PVs: created, Stamp: testStamp(50)})
	must(t, err)
	if got, want := layout(vg.LV("lv")), "0+2 pv0:0 | 2+2 pv0:4 | 4+2 pv0:8 | 6+2 pv0:12 | 8+2 pv0:16 | 10+2 pv0:20"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	n, _, err := Size{Percent: 100, Of: OfPVs}.Extents(vg, Basis{PVs: extended})
	must(t, err)
	if n != 6 {
		t.Errorf("%d extents of the ranges are free, want 6", n)
	}
	_, err = vg.ExtendLV("lv", 12+n, extended...)
	must(t, err)
	if got := vg.FreeRuns(); count(got) != 24+24-18 {
		t.Errorf("left: %v", got)
	}
	if _, err := vg.AddLinear(LinearSpec{Size: Size{Count: 1}, PVs: extended}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("nothing is left there: %v", err)
	}
	if _, err := vg.AddLinear(LinearSpec{Size: Size{Count: 1}, PVs: []string{"pv7:0-1"}}); !errors.Is(err, ErrNotFound) {
		t.Errorf("there is no such volume: %v", err)
	}
	must(t, vg.Validate())
	runs := []Run{{"pv0", 0, 10}, {"pv1", 0, 5}}
	if diff := cmp.Diff([]Run{{"pv0", 1, 4}, {"pv0", 8, 2}}, within(runs, []string{"pv0:3-4:1-2", "pv0:8-20"})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(runs, within(runs, []string{"pv0:3-4", "pv0", "pv1:0-9"})); diff != "" {
		t.Error(diff)
	}
}
