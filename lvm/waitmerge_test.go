package lvm_test

import (
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
