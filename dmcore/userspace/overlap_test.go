package userspace_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// listDisk is memory whose syncs of the exception list, in the second chunk of
// 4 KiB, wait for a turn of hold; those of data are counted and pass.
type listDisk struct {
	*blockdev.Mem
	data, list atomic.Int64
	hold       chan struct{}
}

func (d *listDisk) SyncRange(off, _ int64) error {
	if off != 4096 {
		d.data.Add(1)
		return nil
	}
	d.list.Add(1)
	<-d.hold
	return nil
}

// TestBatchesOverlap: while the list of one batch is committed the data of the
// next is made durable, and no more than that: nothing is acknowledged before
// its own commit, nor before those that came first.
func TestBatchesOverlap(t *testing.T) {
	for _, name := range []string{"o", "s"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				d := &listDisk{Mem: blockdev.NewMem(8 << 20), hold: make(chan struct{})}
				r.files["pv"], r.files["cow"] = blockdev.NewMem(4<<20), d
				real := r.device("o-real", "0 8192 linear pv 0")
				r.device("s", fmt.Sprintf("0 8192 snapshot %s %s P 8", real, dmcore.Dev("cow")))
				r.device("o", fmt.Sprintf("0 8192 snapshot-origin %s", real))
				h := r.handle(name)

				var done atomic.Int64
				for i := range 3 {
					go func() {
						if _, err := h.WriteAt(make([]byte, 512), int64(i)*8192); err != nil {
							t.Error(err)
						}
						done.Add(1)
					}()
					synctest.Wait()
				}
				for turn, want := range []struct{ data, list, done int64 }{{2, 1, 0}, {3, 2, 1}, {3, 3, 2}} {
					if data, list, n := d.data.Load(), d.list.Load(), done.Load(); data != want.data || list != want.list || n != want.done {
						t.Fatalf("turn %d: %d syncs of data, %d of the list, %d writes acknowledged; want %+v", turn, data, list, n, want)
					}
					d.hold <- struct{}{}
					synctest.Wait()
				}
				if n := done.Load(); n != 3 {
					t.Fatalf("%d writes acknowledged in the end", n)
				}
				if err := r.m.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
