package orchestrator_test

import (
	"strings"
	"testing"

	"cowhand/lvm"
	"cowhand/orchestrator"
)

// A snapshot that is smaller than changes are expected to be is warned of.
func TestRoomNotes(t *testing.T) {
	h := newHost(t)
	plan := func(size lvm.Size) string {
		t.Helper()
		f, err := h.Facts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p, err := f.PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "new", CutOptions: orchestrator.CutOptions{
			Size: size, Chunk: 8, Disks: []string{"vda"}}})
		if err != nil {
			t.Fatal(err)
		}
		var notes []string
		for _, n := range p.Notes {
			if strings.Contains(n, "room for") {
				notes = append(notes, n)
			}
		}
		return strings.Join(notes, "\n")
	}
	if got := plan(lvm.Size{Percent: 50, Of: lvm.OfOrigin}); got != "" {
		t.Errorf("half of it: %s", got)
	}
	ref := lvm.Ref{VG: "vg", LV: "web1"}
	if _, err := h.volumes.Extend(t.Context(), ref, lvm.ExtendRequest{Size: lvm.Size{Bytes: 16 << 20}}); err != nil {
		t.Fatal(err)
	}
	if got := plan(lvm.Size{Bytes: 1 << 20}); !strings.Contains(got, "room for 1 MiB of changes, less than a tenth of 16 MiB") {
		t.Errorf("a sixteenth: %q", got)
	}
	if err := h.volumes.Snapshot(t.Context(), []lvm.SnapshotRequest{{Origin: ref, Name: "old", Size: lvm.Size{Bytes: 6 << 20}, Chunk: 8}}); err != nil {
		t.Fatal(err)
	}
	o, err := h.machine.Open("vg-web1", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.WriteAt(make([]byte, 3<<20), 0); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if got := plan(lvm.Size{Bytes: 2 << 20}); !strings.Contains(got, "vg/old took up 3.") {
		t.Errorf("less than another took up: %q", got)
	}
}
