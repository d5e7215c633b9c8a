package lvm_test

import (
	"bytes"
	"errors"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/lvm"
)

func (w *world) extend(ref lvm.Ref, size string, more bool) lvm.Extended {
	w.t.Helper()
	s, err := lvm.ParseSize(size)
	if err != nil {
		w.t.Fatal(err)
	}
	x, err := w.Extend(w.t.Context(), ref, lvm.ExtendRequest{Size: s, More: more})
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

func (w *world) sectors(ref lvm.Ref) dmcore.Sectors {
	w.t.Helper()
	vg, err := w.Group(w.t.Context(), ref.VG)
	if err != nil {
		w.t.Fatal(err)
	}
	t, err := w.DM.Table(w.t.Context(), dmcore.BuildUUID(string(vg.ID), string(vg.LV(ref.LV).ID), ""))
	if err != nil {
		w.t.Fatal(err)
	}
	return t.Len()
}

func TestExtendVolume(t *testing.T) {
	w := newWorld(t, 2, 32<<20)
	root := w.create("root", "8m")
	w.fill(root, 0, 64, 1)
	if x := w.extend(root, "12m", false); x.Was != 8 || x.Is != 12 {
		t.Errorf("extended %+v, want 8 to 12", x)
	}
	if x := w.extend(root, "30m", true); x.Was != 12 || x.Is != 42 { // onto the other disk
		t.Errorf("extended %+v, want 12 to 42", x)
	}
	if got, want := w.sectors(root), dmcore.Sectors(42*2048); got != want {
		t.Errorf("device has %d sectors, want %d", got, want)
	}
	w.expect(root, 0, 1)
	w.fill(root, 42*2048-8, 8, 5)
	w.expect(root, 42*2048-1, 5)
	w.expect(root, 63, 1)

	ctx := t.Context()
	for _, bad := range []struct {
		size lvm.Size
		more bool
		want error
	}{
		{lvm.Size{Count: 1000}, true, lvm.ErrNoSpace},
		{lvm.Size{Count: 42}, false, lvm.ErrInvalid},
		{lvm.Size{Count: 3}, false, lvm.ErrInvalid},
		{lvm.Size{}, true, lvm.ErrInvalid},
	} {
		if _, err := w.Extend(ctx, root, lvm.ExtendRequest{Size: bad.size, More: bad.more}); !errors.Is(err, bad.want) {
			t.Errorf("extend by %v (more %v): %v, want %v", bad.size, bad.more, err, bad.want)
		}
	}
	if _, err := w.Extend(ctx, lvm.Ref{VG: "vg", LV: "none"}, lvm.ExtendRequest{Size: lvm.Size{Count: 1}}); !errors.Is(err, lvm.ErrNotFound) {
		t.Errorf("extend what is not there: %v", err)
	}
	w.snapshot(root, "s1")
	if _, err := w.Extend(ctx, root, lvm.ExtendRequest{Size: lvm.Size{Count: 1}, More: true}); !errors.Is(err, lvm.ErrInUse) {
		t.Errorf("extend an origin: %v", err)
	}
	w.names()
}

// A store that grows while it is used takes more changes than it could before.
func TestExtendSnapshot(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "16m")
	w.fill(root, 0, 16*2048, 1)
	err := w.Snapshot(ctx, []lvm.SnapshotRequest{{Origin: root, Name: "s1", Size: lvm.Size{Count: 2}, Chunk: 8}})
	if err != nil {
		t.Fatal(err)
	}
	s1 := lvm.Ref{VG: "vg", LV: "s1"}
	w.fill(root, 0, 1024, 2)
	if x := w.extend(s1, "8m", false); x.Was != 2 || x.Is != 8 {
		t.Errorf("extended %+v, want 2 to 8", x)
	}
	w.fill(root, 1024, 5*2048, 3) // more than 2 MiB
	w.expect(root, 0, 2)
	w.expect(root, 1024, 3)
	for _, at := range []int64{0, 1023, 1024, 5 * 2048, 12 * 2048} {
		w.expect(s1, at, 1)
	}
	if x := w.extend(s1, "100m", true); x.Is != 17 || len(x.Notes) == 0 {
		t.Errorf("extended %+v, want 17 extents, which are all it can use, and a note", x)
	}
	if _, err := w.Extend(ctx, s1, lvm.ExtendRequest{Size: lvm.Size{Count: 1}, More: true}); !errors.Is(err, lvm.ErrInvalid) {
		t.Errorf("extend a store beyond its use: %v", err)
	}
	if err := w.Deactivate(ctx, root); err != nil {
		t.Fatal(err)
	}
	if err := w.Activate(ctx, root); err != nil {
		t.Fatal(err)
	}
	w.expect(s1, 5*2048, 1)
}

func TestRenameWhileOpen(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "8m")
	w.fill(root, 0, 8, 1)
	w.snapshot(root, "s1")
	h, err := w.machine.Open("vg-root", false)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := w.Rename(ctx, root, "base"); err != nil {
		t.Fatal(err)
	}
	if err := w.Rename(ctx, lvm.Ref{VG: "vg", LV: "s1"}, "before"); err != nil {
		t.Fatal(err)
	}
	if got, want := sorted(w.names()), "vg-base vg-base-real vg-before vg-before-cow"; got != want {
		t.Errorf("devices %q, want %q", got, want)
	}
	if _, err := h.WriteAt(bytes.Repeat([]byte{2}, 4096), 0); err != nil {
		t.Fatal(err)
	}
	w.expect(lvm.Ref{VG: "vg", LV: "base"}, 0, 2)
	w.expect(lvm.Ref{VG: "vg", LV: "before"}, 0, 1)
	for _, bad := range []struct {
		from, to string
		want     error
	}{
		{"base", "before", lvm.ErrExists}, {"none", "x", lvm.ErrNotFound}, {"base", "a/b", lvm.ErrInvalid}, {"base", "pvmove0", lvm.ErrInvalid},
	} {
		if err := w.Rename(ctx, lvm.Ref{VG: "vg", LV: bad.from}, bad.to); !errors.Is(err, bad.want) {
			t.Errorf("rename %s to %s: %v, want %v", bad.from, bad.to, err, bad.want)
		}
	}
}

func TestPermission(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "8m")
	if err := w.SetPermission(ctx, root, false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.machine.Open("vg-root", false); err == nil {
		t.Error("a read-only volume can be opened for writing")
	}
	if err := w.SetPermission(ctx, root, true); err != nil {
		t.Fatal(err)
	}
	w.fill(root, 0, 8, 1)
	w.expect(root, 0, 1)
	if err := w.SetPermission(ctx, lvm.Ref{VG: "vg", LV: "none"}, true); !errors.Is(err, lvm.ErrNotFound) {
		t.Errorf("permission of what is not there: %v", err)
	}
}

// A merge that waits goes on waiting when its volumes are renamed.
func TestRenameKeepsMergeWaiting(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "8m")
	w.fill(root, 0, 8, 1)
	s1 := w.snapshot(root, "s1")
	w.fill(root, 0, 8, 2)
	h, err := w.machine.Open("vg-root", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.StartMerge(ctx, []lvm.Ref{s1}); err != nil {
		t.Fatal(err)
	}
	if err := w.Rename(ctx, root, "base"); err != nil {
		t.Fatal(err)
	}
	base := lvm.Ref{VG: "vg", LV: "base"}
	w.expect(base, 0, 2)
	h.Close()
	if err := w.Refresh(ctx, base); err != nil {
		t.Fatal(err)
	}
	w.expect(base, 0, 1)
	if err := w.WaitMerge(ctx, []lvm.Ref{s1}, 0, nil); err != nil {
		t.Fatal(err)
	}
	w.expect(base, 0, 1)
}

func TestGroupGrowsAndShrinks(t *testing.T) {
	w := newWorld(t, 1, 32<<20)
	ctx := t.Context()
	w.disks["/more"] = blockdev.NewMem(16 << 20)
	w.Store.Devices = append(w.Store.Devices, "/more")
	if err := w.ExtendVG(ctx, "vg", "/more"); !errors.Is(err, lvm.ErrNotFound) {
		t.Errorf("extend by what is no PV: %v", err)
	}
	if _, err := w.CreatePV(ctx, "/more", lvm.PVOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.ExtendVG(ctx, "vg", "/more"); err != nil {
		t.Fatal(err)
	}
	if err := w.RemovePV(ctx, "/more"); !errors.Is(err, lvm.ErrInUse) {
		t.Errorf("remove a PV of a group: %v", err)
	}
	root := w.create("root", "40m") // on both
	if err := w.ReduceVG(ctx, "vg", "/more"); !errors.Is(err, lvm.ErrInUse) {
		t.Errorf("take away a PV in use: %v", err)
	}
	if err := w.Remove(ctx, []lvm.Ref{root}); err != nil {
		t.Fatal(err)
	}
	if err := w.ReduceVG(ctx, "vg", "/more"); err != nil {
		t.Fatal(err)
	}
	if err := w.ReduceVG(ctx, "vg", "/disk0"); !errors.Is(err, lvm.ErrInvalid) {
		t.Errorf("take away the last PV: %v", err)
	}
	if err := w.RemovePV(ctx, "/more"); err != nil {
		t.Fatal(err)
	}
	vg, err := w.Group(ctx, "vg")
	if err != nil {
		t.Fatal(err)
	}
	if len(vg.PVs) != 1 || vg.PVs[0].Device != "/disk0" {
		t.Errorf("the group has %d PVs, want /disk0 alone", len(vg.PVs))
	}
}
