package lvm_test

import (
	"errors"
	"testing"

	"cowhand/lvm"
)

// Merges that are wanted at once are recorded all or none.
func TestStartMergeNow(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	a, b := w.create("a", "8m"), w.create("b", "8m")
	sa, sb := w.snapshot(a, "sa"), w.snapshot(b, "sb")
	w.fill(a, 0, 8, 2)
	h, err := w.machine.Open("vg-b", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.StartMergeNow(t.Context(), []lvm.Ref{sa, sb}); !errors.Is(err, lvm.ErrInUse) {
		t.Errorf("with one of them open: %v", err)
	}
	vg, err := w.Group(t.Context(), "vg")
	if err != nil {
		t.Fatal(err)
	}
	if vg.Merging("a") != nil || vg.Merging("b") != nil {
		t.Error("a merge is recorded")
	}
	w.expect(a, 0, 2)
	h.Close()
	if err := w.StartMergeNow(t.Context(), []lvm.Ref{sa, sb}); err != nil {
		t.Fatal(err)
	}
	w.expect(a, 0, 0)
}
