package lvm

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"cowhand/dmcore"

	"github.com/google/go-cmp/cmp"
)

func TestCOWMaximum(t *testing.T) {
	const kib = 2
	for _, tt := range []struct {
		origin, chunk, extent dmcore.Sectors
		want                  Extents
	}{
		{4 * kib, 8, 8, 3},             // lvm2's test suite: 12 KiB for one chunk
		{4 * kib, 128, 8, 48},          // three chunks of 64 KiB
		{128 * kib, 8, 8, 34},          // header, 32, one area
		{1024 * kib, 8, 8, 259},        // 256 chunks fill an area: one more is zeroed
		{1 << 20, 8, 8192, 129},        // 512 MiB, 4 MiB extents
		{1 << 53, 8, 1, MaxExtents},    // cannot be
		{100 << 21, 1024, 8192, 25601}, // 100 GiB in chunks of 512 KiB
	} {
		if got := COWMaximum(tt.origin, tt.chunk, tt.extent); got != tt.want {
			t.Errorf("%d sectors in chunks of %d: got %d, want %d", tt.origin, tt.chunk, got, tt.want)
		}
	}
}

// A store of exactly 1+k*(epa+1) chunks is given up by the kernel when it is
// full (seen with 258 and 515 chunks; 259 and 516 are fine).
func TestCOWTrap(t *testing.T) {
	for chunks, want := range map[dmcore.Sectors]bool{1: false, 257: false, 258: true, 259: false, 515: true, 516: false} {
		if got := cowTrap(chunks*8, 8); got != want {
			t.Errorf("%d chunks: got %v", chunks, got)
		}
		if got := cowTrap(chunks*8+7, 8); got != want {
			t.Errorf("%d chunks and a bit: got %v", chunks, got)
		}
	}
}

func TestCOWExtents(t *testing.T) {
	small := testVG(t, 1<<30)
	small.ExtentSize = 8 // 4 KiB: a chunk
	for _, tt := range []struct {
		n, free, want Extents
		note          string
		err           error
	}{
		{2, 9999, 0, "", ErrInvalid},
		{3, 9999, 3, "", nil},
		{257, 9999, 257, "", nil},
		{258, 9999, 259, "making the snapshot 1.01 MiB, not 1.01 MiB", nil},
		{258, 258, 257, "making the snapshot", nil},
		{515, 9999, 516, "making the snapshot", nil},
		{1030, 9999, 1030, "", nil},
		{5000, 9999, 1030, "reducing the snapshot from 19.53 MiB to 4.02 MiB: more is never used", nil},
	} {
		got, notes, err := small.COWExtents(tt.n, 1024*8, 8, tt.free)
		if !errors.Is(err, tt.err) || got != tt.want || !strings.Contains(strings.Join(notes, "\n"), tt.note) || (tt.note == "") != (len(notes) == 0) {
			t.Errorf("%d of %d: got %d, %q, %v, want %d, %q, %v", tt.n, tt.free, got, notes, err, tt.want, tt.note, tt.err)
		}
	}
	// With lvm2's extents of 4 MiB it hits 64 extents.
	vg := testVG(t, 1000)
	add(t, vg, "root", 400)
	n, notes, err := vg.SnapshotExtents(SnapshotSpec{Origin: "root", Size: Size{Bytes: 256 << 20}})
	if err != nil || n != 65 || len(notes) != 1 {
		t.Errorf("256 MiB: got %d extents, %v, notes %q; want 65 and why", n, err, notes)
	}
}

func TestAddSnapshots(t *testing.T) {
	vg := testVG(t, 100, 100)
	add(t, vg, "root", 10)
	add(t, vg, "data", 5)
	id, err := NewID(testStamp(90).Rand)
	must(t, err)
	vg.Historical = []*Historical{{Name: "snapshot7", ID: id}}
	lvs, err := vg.AddSnapshots([]SnapshotSpec{
		{Origin: "root", Name: "a", Size: Size{Count: 3}, Tags: []string{"z", "y"}, Stamp: testStamp(50)},
		{Origin: "data", Size: Size{Percent: 100, Of: OfOrigin}, Chunk: 16, ReadOnly: true, PVs: []string{"pv1"}},
		{Origin: "root", Name: "b", Size: Size{Count: 999}},
	})
	must(t, err)
	must(t, vg.Validate())
	var got strings.Builder
	for _, lv := range vg.LVs[2:] {
		fmt.Fprintf(&got, "%s %v %v %s", lv.Name, lv.Status, lv.Tags, layout(lv))
		if s := lv.Segments[0]; s.Type == typeSnapshot {
			fmt.Fprintf(&got, "%s of %s, chunk %d", s.COW, s.Origin, s.ChunkSize)
		}
		got.WriteString("\n")
	}
	want := `a [READ WRITE] [y z] 0+3 pv0:15
snapshot8 [READ WRITE VISIBLE] [] 0+10 a of root, chunk 8
lvol0 [READ] [] 0+6 pv1:0
snapshot9 [READ WRITE VISIBLE] [] 0+5 lvol0 of data, chunk 16
b [READ WRITE] [] 0+11 pv0:18
snapshot10 [READ WRITE VISIBLE] [] 0+10 b of root, chunk 8
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
	if len(lvs) != 3 || lvs[1].Name != "lvol0" || vg.Origin("b").Name != "root" || len(vg.Snapshots("root")) != 2 {
		t.Errorf("snapshots %v", lvs)
	}
	if lv := vg.LV("a"); !lv.CreationTime.Equal(testTime) || lv.CreationHost != "host" {
		t.Errorf("made %v on %q", lv.CreationTime, lv.CreationHost)
	}
}

func TestAddSnapshotsRefuses(t *testing.T) {
	vg := mustParse(t, golden(t))
	add(t, vg, "plain", 4)
	snap(t, vg, "plain", "p1", 2)
	add(t, vg, "moving", 1).setStatus("LOCKED", true)
	add(t, vg, "hidden", 1).setStatus(statusVisible, false)
	before := text(t, vg)
	one := Size{Count: 1}
	for _, tt := range []struct {
		name string
		spec SnapshotSpec
		want error
	}{
		{"no origin", SnapshotSpec{Origin: "none", Name: "x", Size: one}, ErrNotFound},
		{"merging origin", SnapshotSpec{Origin: "root", Name: "x", Size: one}, ErrMerging},
		{"snapshot", SnapshotSpec{Origin: "p1", Name: "x", Size: one}, ErrInvalid},
		{"merging snapshot", SnapshotSpec{Origin: "s1", Name: "x", Size: one}, ErrInvalid},
		{"helper", SnapshotSpec{Origin: "snapshot0", Name: "x", Size: one}, ErrInvalid},
		{"hidden", SnapshotSpec{Origin: "hidden", Name: "x", Size: one}, ErrInvalid},
		{"part of a pool", SnapshotSpec{Origin: "pool_tdata", Name: "x", Size: one}, ErrInvalid},
		{"spare", SnapshotSpec{Origin: "lvol0_pmspare", Name: "x", Size: one}, ErrInvalid},
		{"pool", SnapshotSpec{Origin: "pool", Name: "x", Size: one}, ErrInvalid},
		{"locked", SnapshotSpec{Origin: "moving", Name: "x", Size: one}, ErrInUse},
		{"name taken", SnapshotSpec{Origin: "plain", Name: "root", Size: one}, ErrExists},
		{"name reserved", SnapshotSpec{Origin: "plain", Name: "snapshot9", Size: one}, ErrInvalid},
		{"bad name", SnapshotSpec{Origin: "plain", Name: "a b", Size: one}, ErrInvalid},
		{"bad tag", SnapshotSpec{Origin: "plain", Name: "x", Size: one, Tags: []string{"a b"}}, ErrInvalid},
		{"bad chunk", SnapshotSpec{Origin: "plain", Name: "x", Size: one, Chunk: 9}, ErrInvalid},
		{"large chunk", SnapshotSpec{Origin: "plain", Name: "x", Size: one, Chunk: 2048}, ErrInvalid},
		{"no size", SnapshotSpec{Origin: "plain", Name: "x"}, ErrInvalid},
		{"no such PV", SnapshotSpec{Origin: "plain", Name: "x", Size: one, PVs: []string{"pv5"}}, ErrNotFound},
	} {
		good := SnapshotSpec{Origin: "plain", Name: "good", Size: one}
		if _, err := vg.AddSnapshots([]SnapshotSpec{good, tt.spec}); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := vg.AddSnapshots([]SnapshotSpec{{Origin: "plain", Name: "x", Size: one}, {Origin: "plain", Name: "x", Size: one}}); !errors.Is(err, ErrExists) {
		t.Errorf("twice the same name: %v", err)
	}
	if diff := cmp.Diff(string(before), string(text(t, vg))); diff != "" {
		t.Errorf("refused, but the group changed:\n%s", diff)
	}

	full := testVG(t, 12)
	add(t, full, "root", 8)
	_, err := full.AddSnapshots([]SnapshotSpec{{Origin: "root", Name: "a", Size: Size{Count: 3}}, {Origin: "root", Name: "b", Size: Size{Count: 2}}})
	if want := `vg/root: snapshot "b": not enough free extents (need 2, have 1): no space`; err == nil || err.Error() != want || len(full.LVs) != 1 {
		t.Errorf("got %v with %d volumes, want %s", err, len(full.LVs), want)
	}
	full.MaxLV = 2
	if _, err := full.AddSnapshots([]SnapshotSpec{{Origin: "root", Size: Size{Count: 1}}, {Origin: "root", Size: Size{Count: 1}}}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("beyond max_lv: %v", err)
	}
	full.PVs[0].Flags = []string{"MISSING"}
	if _, err := full.AddSnapshots([]SnapshotSpec{{Origin: "root", Size: Size{Count: 1}}}); !errors.Is(err, ErrMissingPV) {
		t.Errorf("origin on a missing volume: %v", err)
	}
}

func TestExtendSnapshot(t *testing.T) {
	vg := testVG(t, 1000)
	add(t, vg, "root", 100)
	snap(t, vg, "root", "s", 4)
	notes, err := vg.ExtendLV("s", 500)
	must(t, err)
	most := COWMaximum(vg.Sectors(100), 8, vg.ExtentSize)
	if got := vg.LV("s").Extents(); got != most || len(notes) != 1 {
		t.Errorf("%d extents, want %d, notes %q", got, most, notes)
	}
	// At its maximum nothing happens, and that is no error.
	notes, err = vg.ExtendLV("s", 600)
	if err != nil || vg.LV("s").Extents() != most || len(notes) != 1 {
		t.Errorf("%d extents, %v, notes %q", vg.LV("s").Extents(), err, notes)
	}
	if _, err := vg.ExtendLV("root", 200); !errors.Is(err, ErrInUse) {
		t.Errorf("an origin: %v", err)
	}
	must(t, vg.StartMerge("s"))
	if _, err := vg.ExtendLV("s", 900); !errors.Is(err, ErrMerging) {
		t.Errorf("a merging snapshot: %v", err)
	}
	must(t, vg.Validate())
}
