package lvm_test

import (
	"errors"
	"testing"

	"cowhand/lvm"
)

// Several may wait for one merge, as a command and the process that finishes
// merges behind another do: one of them drops the snapshot, all see it done.
func TestSeveralWaitForOneMerge(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "16m")
	w.fill(root, 0, 64, 1)
	s1 := w.snapshot(root, "s1")
	w.fill(root, 0, 64, 2)
	if _, err := w.StartMerge(ctx, []lvm.Ref{s1}); err != nil {
		t.Fatal(err)
	}
	results := make(chan error)
	const waiters = 4
	for range waiters {
		go func() { results <- w.WaitMerge(ctx, []lvm.Ref{s1}, 0, nil) }()
	}
	for range waiters {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	w.expect(root, 0, 1)
}

// A snapshot is dropped only if the merge that is complete is its own.
func TestFinishMergeOfAnother(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "16m")
	w.fill(root, 0, 64, 1)
	s1 := w.snapshot(root, "s1")
	w.fill(root, 0, 64, 2)
	w.snapshot(root, "s2")
	w.fill(root, 0, 64, 3)
	if _, err := w.StartMerge(ctx, []lvm.Ref{s1}); err != nil {
		t.Fatal(err)
	}
	vg := w.group().Clone()
	uuid := vg.DeviceUUID(vg.LV("root"))
	for {
		info, err := w.DM.Info(ctx, "vg-root")
		if err != nil {
			t.Fatal(err)
		}
		st, err := w.DM.SnapshotStatus(ctx, uuid)
		if err != nil {
			t.Fatal(err)
		}
		if st.Merged() {
			break
		}
		if _, err := w.DM.Wait(ctx, uuid, info.EventNr); err != nil {
			t.Fatal(err)
		}
	}
	vg.Snapshot("s1").Merging, vg.Snapshot("s2").Merging = false, true // somebody else's idea
	a, b := vg.LV("snapshot0"), vg.LV("snapshot1")
	a.Status, b.Status = b.Status, a.Status
	p, err := w.Store.Prepare(ctx, vg)
	if err == nil {
		err = p.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	done, err := w.FinishMerges(ctx)
	if !errors.Is(err, lvm.ErrInvalid) || len(done) > 0 {
		t.Errorf("finished %v, %v", done, err)
	}
	if w.group().LV("s2") == nil {
		t.Error("s2 is gone, and nothing of it was merged")
	}
}
