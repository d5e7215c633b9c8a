package lvm

import (
	"errors"
	"strings"
	"testing"

	"cowhand/dmcore"
)

func TestParseSize(t *testing.T) {
	const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30
	for _, tt := range []struct {
		in   string
		want Size
		out  string
	}{
		{"512", Size{Bytes: 512 * mib}, "512MiB"},
		{"1.5", Size{Bytes: 3 * mib / 2}, "1536KiB"},
		{"5g", Size{Bytes: 5 * gib}, "5GiB"},
		{"5G", Size{Bytes: 5 * gib}, "5GiB"},
		{" 5GiB ", Size{Bytes: 5 * gib}, "5GiB"},
		{"4096b", Size{Bytes: 4096}, "4KiB"},
		{"4096B", Size{Bytes: 4096}, "4KiB"},
		{"3s", Size{Bytes: 1536}, "1536b"},
		{"8S", Size{Bytes: 4096}, "4KiB"},
		{"0.5k", Size{Bytes: 512}, "512b"},
		{"0.6k", Size{Bytes: 1024}, "1KiB"},
		{"4K", Size{Bytes: 4 * kib}, "4KiB"},
		{"2t", Size{Bytes: 2 << 40}, "2TiB"},
		{"1P", Size{Bytes: 1 << 50}, "1PiB"},
		{"7e", Size{Bytes: 7 << 60}, "7EiB"},
		{"25%ORIGIN", Size{Percent: 25, Of: OfOrigin}, "25%ORIGIN"},
		{"150%origin", Size{Percent: 150, Of: OfOrigin}, "150%ORIGIN"},
		{"100%free", Size{Percent: 100, Of: OfFree}, "100%FREE"},
		{"1%VG", Size{Percent: 1, Of: OfVG}, "1%VG"},
		{"50%PVS", Size{Percent: 50, Of: OfPVs}, "50%PVS"},
	} {
		got, err := ParseSize(tt.in)
		if err != nil || got != tt.want || got.String() != tt.out {
			t.Errorf("%q: got %+v (%s), %v, want %+v (%s)", tt.in, got, got, err, tt.want, tt.out)
		}
		var back Size
		text, _ := got.MarshalText()
		if err := back.UnmarshalText(text); err != nil || back != got {
			t.Errorf("%q: %s reads back as %+v, %v", tt.in, text, back, err)
		}
	}
	for _, bad := range []string{"", "g", ".", "1.2.3g", "-5g", "+5g", "0", "0g", "5x", "5gb", "5GB", "5 g", "1b", "513b", "8e", "99999999999999999999g",
		"9000p000", "0%FREE", "1.5%FREE", "101%FREE", "101%VG", "5%", "5%LV", "%FREE", "5%FREEE", "1e400g", "4294967296%ORIGIN"} {
		if got, err := ParseSize(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %+v, %v, want ErrInvalid", bad, got, err)
		}
	}
}

func TestParseExtents(t *testing.T) {
	for in, want := range map[string]Size{"10": {Count: 10}, "50%FREE": {Percent: 50, Of: OfFree}} {
		if got, err := ParseExtents(in); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "0", "1.5", "10m", "4294967296", "50%"} {
		if got, err := ParseExtents(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %+v, %v", bad, got, err)
		}
	}
	var s Size
	if err := s.UnmarshalText([]byte("7 extents")); err != nil || s.Count != 7 || s.String() != "7 extents" {
		t.Errorf("got %+v, %v", s, err)
	}
	if err := s.UnmarshalText(nil); err != nil || !s.IsZero() {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestSizeExtents(t *testing.T) {
	vg := testVG(t, 100, 50)
	root := add(t, vg, "root", 40) // 160 MiB, on pv0
	for _, tt := range []struct {
		size Size
		b    Basis
		want Extents
		note string
		err  error
	}{
		{size: Size{Bytes: 8 << 20}, want: 2},
		{size: Size{Bytes: 8<<20 + 512}, want: 3, note: "rounding up 8389120b to 12 MiB"},
		{size: Size{Bytes: 9 << 20}, want: 3, note: "rounding up 9MiB to 12 MiB"},
		{size: Size{Count: 7}, want: 7},
		{size: Size{Percent: 50, Of: OfFree}, want: 55},
		{size: Size{Percent: 10, Of: OfVG}, want: 15},
		{size: Size{Percent: 8, Of: OfFree}, want: 8}, // of 110: 8.8
		{size: Size{Percent: 8, Of: OfFree}, b: Basis{Extend: true}, want: 9},
		{size: Size{Percent: 100, Of: OfVG}, want: 110}, // no more than is free
		{size: Size{Percent: 50, Of: OfPVs}, want: 75},
		{size: Size{Percent: 50, Of: OfPVs}, b: Basis{PVs: []string{"pv1"}}, want: 25},
		{size: Size{Percent: 50, Of: OfPVs}, b: Basis{PVs: []string{"pv9"}}, err: ErrNotFound},
		// 160 MiB are 40960 chunks and 161 areas: 161 chunks and one of the
		// header are 1 extent on top.
		{size: Size{Percent: 100, Of: OfOrigin}, b: Basis{Origin: root}, want: 41},
		{size: Size{Percent: 25, Of: OfOrigin}, b: Basis{Origin: root}, want: 11},
		{size: Size{Percent: 26, Of: OfOrigin}, b: Basis{Origin: root, Extend: true}, want: 11},
		{size: Size{Percent: 100, Of: OfOrigin}, b: Basis{Origin: root, Extend: true}, want: 40},
		{size: Size{Percent: 1, Of: OfOrigin}, b: Basis{Origin: root}, want: 2},
		{size: Size{Percent: 25, Of: OfOrigin}, err: ErrInvalid},
		{size: Size{}, err: ErrInvalid},
		{size: Size{Count: 1 << 32}, err: ErrInvalid},
		{size: Size{Percent: 1}, err: ErrInvalid},
	} {
		got, note, err := tt.size.Extents(vg, tt.b)
		if !errors.Is(err, tt.err) || got != tt.want || (tt.note == "") != (note == "") || !strings.HasPrefix(note, tt.note) {
			t.Errorf("%s of %+v: got %d, %q, %v, want %d, %q, %v", tt.size, tt.b, got, note, err, tt.want, tt.note, tt.err)
		}
	}
	full := testVG(t, 1)
	add(t, full, "all", 1)
	if _, _, err := (Size{Percent: 100, Of: OfFree}).Extents(full, Basis{}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("all of nothing: %v", err)
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[dmcore.Sectors]string{0: "0 B", 1: "512 B", 8: "4 KiB", 8192: "4 MiB", 3 << 20: "1.50 GiB", 1 << 51: "1 EiB"} {
		if got := HumanSize(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
