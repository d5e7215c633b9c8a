package lvm_test

import (
	"errors"
	"testing"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// A volume that another device mapper has active, the kernel's since the host
// booted, is neither changed nor mapped a second time.
func TestActiveElsewhere(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root, other := w.create("root", "16m"), w.create("other", "8m")
	s1 := w.snapshot(root, "s1")
	info, err := w.DM.Info(ctx, "vg-root")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []lvm.Ref{root, other} {
		if err := w.Deactivate(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	var there dmcore.UUID
	w.Elsewhere = func() (map[dmcore.UUID]bool, error) { return map[dmcore.UUID]bool{there: true}, nil }
	for _, there = range []dmcore.UUID{info.UUID, info.UUID + "-real"} {
		_, merge := w.StartMerge(ctx, []lvm.Ref{s1})
		_, extend := w.Extend(ctx, root, lvm.ExtendRequest{Size: lvm.Size{Bytes: 20 << 20}})
		for what, err := range map[string]error{
			"activate": w.Activate(ctx, root), "activate the snapshot": w.Activate(ctx, s1),
			"remove":   w.Remove(ctx, []lvm.Ref{root, s1}),
			"snapshot": w.Snapshot(ctx, []lvm.SnapshotRequest{{Origin: root, Name: "s2", Size: lvm.Size{Bytes: 4 << 20}}}),
			"merge":    merge, "rename": w.Rename(ctx, root, "r2"), "permission": w.SetPermission(ctx, root, false),
		} {
			if !errors.Is(err, lvm.ErrInUse) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if extend == nil {
			t.Error("it was extended")
		}
		if err := w.Restore(ctx, nil); err != nil {
			t.Errorf("restore: %v", err)
		}
		if got, want := w.names(), "vg-other "; got != want {
			t.Errorf("devices %q, want %q", got, want)
		}
	}
	w.create("third", "4m")
	there = ""
	if err := w.Activate(ctx, root); err != nil {
		t.Error(err)
	}
}
