package lvm

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestID(t *testing.T) {
	const dashed = "iql4DZ-L9vi-Og2H-PoLs-hWl7-hgwI-mwasz0"
	id, err := ParseID(dashed)
	must(t, err)
	if id != "iql4DZL9viOg2HPoLshWl7hgwImwasz0" || id.Dashed() != dashed {
		t.Errorf("got %q, %q", id, id.Dashed())
	}
	if same, err := ParseID(string(id)); err != nil || same != id {
		t.Errorf("without hyphens: %q, %v", same, err)
	}
	for _, bad := range []string{"", "x", dashed[:37], dashed + "0", "iql4DZL-9vi-Og2H-PoLs-hWl7-hgwI-mwasz0",
		strings.Repeat("é", 16), strings.Repeat("-", 32), "iql4DZ-L9vi-Og2H-PoLs-hWl7-hgwI-mwas\"0"} {
		if id, err := ParseID(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %q, %v", bad, id, err)
		}
	}
	zero, err := NewID(bytes.NewReader(make([]byte, 32)))
	if err != nil || zero != ID(strings.Repeat("0", 32)) {
		t.Errorf("of zeroes: %q, %v", zero, err)
	}
	if _, err := NewID(bytes.NewReader(make([]byte, 31))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("of too few bytes: %v", err)
	}
	a, err := NewID(nil)
	must(t, err)
	b, err := NewID(nil)
	must(t, err)
	if a == b || !a.valid() || strings.ContainsAny(string(a+b), "!#") {
		t.Errorf("new ids %q and %q", a, b)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 127)
	for _, tt := range []struct {
		check func(string) error
		good  []string
		bad   []string
	}{
		{CheckName, []string{"a", "vg0", "a-b", "A+b_c.d-e", "...", long}, []string{"", "-a", ".", "..", "a b", "a/b", "ä", "a\x00", "a@b", long + "a"}},
		{CheckReserved, []string{"root", "mysnapshot", "pv", "pvx1", "pv1x", "tdata", "a_mimag"},
			[]string{"snapshot", "snapshot7", "pvmove0", "x_tdata", "lvol0_pmspare", "a_rimage_0", "s_vorigin", "pv0", "pv12"}},
		{CheckTag, []string{"a", "cowhand.set=x", "-a", "a/b:c!d&e#f+g_h.i"}, []string{"", "a b", "a@b", "é", "a\"", strings.Repeat("a", maxTagLen+1)}},
		{func(lv string) error { return CheckLVName("vg", lv) }, []string{"root", long[:117], "a" + strings.Repeat("-", 59)}, []string{"", long[:123], strings.Repeat("-", 60), "a" + strings.Repeat("-", 60)}},
	} {
		for _, s := range tt.good {
			if err := tt.check(s); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
		for _, s := range tt.bad {
			if err := tt.check(s); !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: got %v, want ErrInvalid", s, err)
			}
		}
	}
}

func TestSplitName(t *testing.T) {
	for _, tt := range []struct{ in, vg, lv string }{
		{"vg", "vg", ""},
		{"vg/root", "vg", "root"},
		{"/dev/vg/root", "vg", "root"},
		{"/dev/mapper/vg-root", "vg", "root"},
		{"/dev/mapper/my--vg-my--root", "my-vg", "my-root"},
		{"/dev/vg", "vg", ""},
	} {
		vg, lv, err := SplitName(tt.in)
		if err != nil || vg != tt.vg || lv != tt.lv {
			t.Errorf("%q: got %q, %q, %v", tt.in, vg, lv, err)
		}
	}
	for _, bad := range []string{"", "/", "vg/", "vg/a/b", "/dev/", "/dev/mapper/control", "/dev/mapper/vg-root-real", "/root", "vg/..", "-vg/x"} {
		if vg, lv, err := SplitName(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %q, %q, %v", bad, vg, lv, err)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		err  Error
		want string
	}{
		{Error{"vg0", "root", `snapshot "nightly"`, noSpace(256, 12)}, `vg0/root: snapshot "nightly": not enough free extents (need 256, have 12): no space`},
		{Error{"vg0", "", "", ErrNotFound}, "vg0: not found"},
		{Error{"", "", "", ErrNotFound}, "not found"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	if err := testVG(t, 1).fail("x", "y", ErrNoSpace); !errors.Is(err, ErrNoSpace) {
		t.Error("the cause is lost")
	}
}
