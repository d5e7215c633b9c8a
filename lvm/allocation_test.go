package lvm

import (
	"errors"
	"strings"
	"testing"
)

// What a volume may take to become longer, by its policy and its group's.
func TestPolicyExtend(t *testing.T) {
	for _, c := range []struct {
		group, volume string
		near          bool // extents behind the volume are free
		to            Extents
		pieces        int // that it has then; 0: it cannot be
	}{
		{"", "", true, 10, 1},
		{"", "", false, 10, 2},
		{"", policyContiguous, true, 10, 1},
		{"", policyContiguous, false, 10, 0},
		{policyContiguous, "", false, 10, 0},
		{policyContiguous, policyNormal, false, 10, 2},
		{"", policyCling, false, 10, 2},
		{"", policyCling, false, 60, 0}, // more than there is on its physical volume
		{policyCling, policyInherit, false, 60, 0},
		{"", policyAnywhere, false, 60, 3},
	} {
		vg := testVG(t, 50, 50)
		vg.allocation = c.group
		_, err := vg.AddLinear(LinearSpec{Name: "lv", Size: extents(4), Traits: Traits{Policy: c.volume}, Stamp: testStamp(60)})
		must(t, err)
		if !c.near {
			add(t, vg, "next", 1)
		}
		_, err = vg.ExtendLV("lv", c.to)
		if c.pieces == 0 {
			if !errors.Is(err, ErrNoSpace) || vg.LV("lv").Extents() != 4 {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		must(t, err)
		if got := len(vg.LV("lv").Segments); got != c.pieces {
			t.Errorf("%+v: %d pieces", c, got)
		}
		again := reread(t, vg)
		if again.Policy() != vg.Policy() || again.LV("lv").Policy() != vg.LV("lv").Policy() {
			t.Errorf("%+v: reads as %q, %q", c, again.Policy(), again.LV("lv").Policy())
		}
	}
}

// A new volume that must be in one piece is, or is not made.
func TestPolicyCreate(t *testing.T) {
	vg := testVG(t, 10, 10)
	spec := LinearSpec{Name: "long", Size: extents(15), Traits: Traits{Policy: policyContiguous}, Stamp: testStamp(60)}
	if _, err := vg.AddLinear(spec); !errors.Is(err, ErrNoSpace) || vg.LV("long") != nil {
		t.Errorf("%v", err)
	}
	spec.Size = extents(9)
	_, err := vg.AddLinear(spec)
	must(t, err)
	if s := string(section(text(t, vg), "long")); !strings.Contains(s, "allocation_policy = \"contiguous\"\nsegment_count") {
		t.Error(s)
	}
	must(t, vg.SetPolicy("long", policyInherit))
	if s := string(section(text(t, vg), "long")); strings.Contains(s, "policy") {
		t.Error(s)
	}
	for _, c := range []struct {
		policy string
		err    error
	}{{policyInherit, ErrInvalid}, {"none", ErrInvalid}, {policyNormal, nil}, {policyNormal, ErrInvalid}} {
		if err := vg.SetPolicy("long", c.policy); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.policy, err)
		}
	}
}
