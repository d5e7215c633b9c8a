package lvm_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/lvm"
)

// failing is a disk on which writes to a part fail for a while.
type failing struct {
	blockdev.Device
	from, to int64
	now      *atomic.Bool
}

func (f failing) WriteAt(b []byte, off int64) (int, error) {
	if f.now.Load() && off < f.to && off+int64(len(b)) > f.from {
		return 0, dmcore.ErrIO
	}
	return f.Device.WriteAt(b, off)
}

// A merge that fails is shown as failed, keeps everything, and goes on when the
// disk is well and its origin activated again.
func TestMergeFails(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	var bad atomic.Bool
	open := w.Store.Open
	broken := func(path string, write bool) (blockdev.Device, error) {
		d, err := open(path, write)
		return failing{d, 1 << 20, 9 << 20, &bad}, err
	}
	w.Store.Open, w.opener = broken, broken
	a := w.create("a", "8m")
	w.fill(a, 0, 1024, 1)
	sa := w.snapshot(a, "sa")
	w.fill(a, 0, 1024, 2)
	bad.Store(true)
	if _, err := w.StartMerge(ctx, []lvm.Ref{sa}); err != nil {
		t.Fatal(err)
	}
	if err := w.WaitMerge(ctx, []lvm.Ref{sa}, 0, nil); !errors.Is(err, dmcore.ErrIO) {
		t.Errorf("waiting for it: %v", err)
	}
	merges, err := w.Merges(ctx)
	if err != nil || len(merges) != 1 || merges[0].Phase != lvm.MergeStopped {
		t.Errorf("merges %+v, %v", merges, err)
	}
	if done, err := w.FinishMerges(ctx); len(done) > 0 || err != nil {
		t.Errorf("finished %v, %v", done, err)
	}
	w.expect(a, 0, 1) // from the snapshot, which has it all
	bad.Store(false)
	if err := w.Deactivate(ctx, a); err != nil {
		t.Fatal(err)
	}
	if err := w.Activate(ctx, a); err != nil {
		t.Fatal(err)
	}
	if err := w.WaitMerge(ctx, []lvm.Ref{sa}, 0, nil); err != nil {
		t.Fatal(err)
	}
	for sector := range int64(1024) {
		w.expect(a, sector, 1)
	}
	if w.group().LV("sa") != nil {
		t.Error("the snapshot is left")
	}
}
