package lvm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseGolden(t *testing.T) {
	vg := mustParse(t, golden(t))
	if vg.Name != "vg" || vg.ID.Dashed() != "iql4DZ-L9vi-Og2H-PoLs-hWl7-hgwI-mwasz0" || vg.Seqno != 12 || vg.ExtentSize != 8192 {
		t.Errorf("group %+v", vg)
	}
	s1 := vg.Snapshot("s1")
	if s1 == nil || s1.Origin != "root" || !s1.Merging || s1.ChunkSize != 8 || vg.Merging("root").Name != "s1" || vg.Origin("s1").Name != "root" {
		t.Errorf("snapshot s1: %+v", s1)
	}
	if got, want := fmt.Sprint(vg.FreeRuns()), "[{pv0 16 111}]"; got != want {
		t.Errorf("free %s, want %s", got, want)
	}
	var shown []string
	for _, lv := range vg.ShownLVs() {
		shown = append(shown, lv.Name)
	}
	if got, want := strings.Join(shown, " "), "root pool t1 ts1"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	good := string(golden(t))
	for _, tt := range []struct{ name, old, new string }{
		{"no contents", `contents = "Text Format Volume Group"`, ""},
		{"other contents", `contents = "Text Format`, `contents = "Binary`},
		{"other version", "version = 1\n", "version = 2\n"},
		{"no seqno", "seqno = 12\n", ""},
		{"seqno too large", "seqno = 12\n", "seqno = 4294967296\n"},
		{"negative seqno", "seqno = 12\n", "seqno = -1\n"},
		{"no extent size", "extent_size = 8192\n", ""},
		{"extent size 0", "extent_size = 8192\n", "extent_size = 0\n"},
		{"bad id", "iql4DZ-L9vi", "iql4DZL-9vi"},
		{"status no list", `status = ["RESIZEABLE", "READ", "WRITE"]`, "status = 5"},
		{"too many extents", "pe_count = 127\n", "pe_count = 4294967296\n"},
		{"too many sectors", "pe_start = 2048\n", "pe_start = 18014398509481984\n"},
		{"segment count", "segment_count = 1\n", "segment_count = 2\n"},
		{"no stripes", "stripes = [\n\"pv0\", 0\n]\n", ""},
		{"stripe without extent", "\"pv0\", 0\n", "\"pv0\"\n"},
		{"stripes as numbers", "\"pv0\", 0\n", "0, \"pv0\"\n"},
		{"two stripes of one", "\"pv0\", 0\n", "\"pv0\", 0, \"pv0\", 8\n"},
		{"snapshot without store", "merging_store = \"s1\"\n", ""},
		{"both stores", "merging_store = \"s1\"\n", "merging_store = \"s1\"\ncow_store = \"s1\"\n"},
		{"syntax", "physical_volumes {", "physical_volumes"},
		{"empty", good, ""},
	} {
		bad := strings.Replace(good, tt.old, tt.new, 1)
		if bad == good {
			t.Fatalf("%s: nothing to replace", tt.name)
		}
		if _, err := Parse([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, want ErrCorrupt", tt.name, err)
		}
	}
}
