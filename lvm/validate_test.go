package lvm

import (
	"errors"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		want  string
		spoil func(vg *VG)
	}{
		{"name \"-vg\" begins with a hyphen", func(vg *VG) { vg.Name = "-vg" }},
		{"group: id \"short\" is none", func(vg *VG) { vg.ID = "short" }},
		{"seqno is 0", func(vg *VG) { vg.Seqno = 0 }},
		{"extent size of 100 sectors", func(vg *VG) { vg.ExtentSize = 100 }},
		{"group: unknown status \"FROZEN\"", func(vg *VG) { vg.Status = append(vg.Status, "FROZEN") }},
		{"group: status \"READ\" is there twice", func(vg *VG) { vg.Status = append(vg.Status, "READ") }},
		{"flag \"a\\\"b\" cannot be printed", func(vg *VG) { vg.Flags = []string{"a\"b"} }},
		{"tag \"a b\"", func(vg *VG) { vg.Tags = []string{"a b"} }},
		{"tag \"a\" is there twice", func(vg *VG) { vg.Tags = []string{"a", "a"} }},
		{"no physical volume", func(vg *VG) { vg.PVs = nil }},
		{"physical volume pv0 is there twice", func(vg *VG) { vg.PVs = append(vg.PVs, vg.PVs[0]) }},
		{"unknown status \"VISIBLE\"", func(vg *VG) { vg.PVs[0].Status = []string{"VISIBLE"} }},
		{"the device at 1000", func(vg *VG) { vg.PVs[0].DevSize = 1000 }},
		{"extents are too many", func(vg *VG) { vg.PVs[0].PECount = 1 << 32 }},
		{"has the id of volume root", func(vg *VG) { vg.LV("data").ID = vg.LV("root").ID }},
		{"volume data is there twice", func(vg *VG) { vg.LVs = append(vg.LVs, vg.LV("data").clone()) }},
		{"name \"a b\": character", func(vg *VG) { vg.LV("data").Name = "a b" }},
		{"names beginning with \"pvmove\" are reserved", func(vg *VG) { vg.LV("data").Name = "pvmove0" }},
		{"names containing \"_tmeta\" are reserved", func(vg *VG) { vg.LV("data").Name = "x_tmeta" }},
		{"in metadata it is a physical volume's", func(vg *VG) { vg.LV("data").Name = "pv3" }},
		{"the device's name has", func(vg *VG) { vg.LV("data").Name = strings.Repeat("a-", 50) }},
		{"unknown status \"ALLOCATABLE\"", func(vg *VG) { vg.LV("data").Status = []string{"ALLOCATABLE"} }},
		{"volume data: has no segments", func(vg *VG) { vg.LV("data").Segments = nil }},
		{"segment 1 covers 2 extents from 1", func(vg *VG) { vg.LV("data").Segments[0].Start = 1 }},
		{"segment 1 covers 0 extents", func(vg *VG) { vg.LV("data").Segments[0].Count = 0 }},
		{"2 extents cannot be dealt to 0 stripes", func(vg *VG) { vg.LV("data").Segments[0].Stripes = nil }},
		{"2 extents cannot be dealt to 3 stripes", func(vg *VG) {
			s := vg.LV("data").Segments[0]
			s.Stripes = append(s.Stripes, s.Stripes[0], s.Stripes[0])
		}},
		{"stripe size of 3 sectors", func(vg *VG) {
			s := vg.LV("data").Segments[0]
			s.Stripes, s.StripeSize = append(s.Stripes, Area{"pv0", 50}), 3
		}},
		{"are beyond the 100 of pv0", func(vg *VG) { vg.LV("data").Segments[0].Stripes[0].Start = 99 }},
		{"\"pv9\" is neither", func(vg *VG) { vg.LV("data").Segments[0].Stripes[0].PV = "pv9" }},
		{"lies on itself", func(vg *VG) { vg.LV("data").Segments[0].Stripes[0] = Area{"data", 0} }},
		{"are beyond the 8 of root", func(vg *VG) { vg.LV("data").Segments[0].Stripes[0] = Area{"root", 7} }},
		{"pv0: extent 0 is used twice", func(vg *VG) { vg.LV("data").Segments[0].Stripes[0].Start = 0 }},
		{"its origin \"gone\" is not there", func(vg *VG) { vg.Snapshot("s1").Origin = "gone" }},
		{"its store \"gone\" is not there", func(vg *VG) { vg.Snapshot("s1").COW = "gone" }},
		{"s1 is the store of snapshot0", func(vg *VG) { vg.Snapshot("s2").COW = "s1" }},
		{"origin, store and helper must differ", func(vg *VG) { vg.Snapshot("s1").COW = "root" }},
		{"a helper is neither origin nor store", func(vg *VG) { vg.Snapshot("s1").Origin = "snapshot1" }},
		{"its origin s2 is itself a snapshot", func(vg *VG) { vg.Snapshot("s1").Origin = "s2" }},
		{"its store s1 has the status VISIBLE", func(vg *VG) { vg.LV("s1").setStatus(statusVisible, true) }},
		{"must have the status VISIBLE unless", func(vg *VG) { vg.LV("snapshot0").setStatus(statusVisible, false) }},
		{"must have the status VISIBLE unless", func(vg *VG) { vg.Snapshot("s1").Merging = true }},
		{"2 snapshots are being merged into it", func(vg *VG) { vg.Snapshot("s1").Merging, vg.Snapshot("s2").Merging = true, true }},
		{"has 7 extents, its origin root has 8", func(vg *VG) { vg.LV("snapshot0").Segments[0].Count = 7 }},
		{"chunk size 2 KiB", func(vg *VG) { vg.Snapshot("s1").ChunkSize = 4 }},
		{"less than three chunks", func(vg *VG) { vg.ExtentSize = 256; vg.Snapshot("s1").ChunkSize = 1024 }},
		{"a snapshot has one segment", func(vg *VG) {
			h := vg.LV("snapshot0")
			h.Segments = append(h.Segments, &Segment{Start: 8, Count: 1, Type: typeStriped, Stripes: []Area{{"pv0", 90}}})
		}},
	} {
		vg := snapshotted(t)
		must(t, vg.Validate())
		tt.spoil(vg)
		err := vg.Validate()
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

// All that is wrong is said at once, but not without end.
func TestValidateSaysAll(t *testing.T) {
	vg := snapshotted(t)
	vg.Seqno, vg.LV("data").Status = 0, []string{"X", "Y"}
	if err := vg.Validate(); strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("got %v", err)
	}
	for range 100 {
		vg.LV("data").Status = append(vg.LV("data").Status, "Z")
	}
	if err := vg.Validate(); strings.Count(err.Error(), "\n")+1 != maxReported {
		t.Errorf("got %v", err)
	}
}

// A name that lvm2 reserves is no reason to refuse a group that has it already.
func TestValidateAcceptsWhatWasThere(t *testing.T) {
	vg := testVG(t, 10)
	add(t, vg, "data", 1)
	raw := strings.Replace(string(text(t, vg)), "data {", "old_tdata {", 1)
	vg = mustParse(t, []byte(raw))
	must(t, vg.Validate())
}
