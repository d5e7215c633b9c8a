package userspace_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cowhand/dmcore/blockdev"
)

// lazyDisk takes a millisecond to sync.
type lazyDisk struct {
	*blockdev.Mem
	syncs atomic.Int64
}

func (d *lazyDisk) Sync() error {
	d.syncs.Add(1)
	time.Sleep(time.Millisecond)
	return nil
}

// Writes that need new blocks share commits: those that come while one runs are all
// in the next.
func TestThinWritersShareCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const writers, each = 16, 10
		meta := &lazyDisk{Mem: blockdev.NewMem(thinMeta)}
		data := &lazyDisk{Mem: blockdev.NewMem(writers * each * thinBlock)}
		r := bootThin(t, meta, data, "0")
		r.thin("a", 1, writers*each)
		before, began := meta.syncs.Load(), time.Now()
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range each {
					r.put("a", (i*writers+w)*thinBlock, 512, 1)
				}
			})
		}
		all.Wait()
		// Two commits for each write of one writer, at most: the one under way and the next.
		commits, d := (meta.syncs.Load()-before)/2, time.Since(began)
		if commits > 2*each+2 || d > (4*each+4)*time.Millisecond {
			t.Errorf("%d writes are %d commits in %v", writers*each, commits, d)
		}
		t.Logf("%d writes are %d commits in %v", writers*each, commits, d)
	})
}

// A write that is many blocks long is one commit.
func TestThinLargeWriteIsOneCommit(t *testing.T) {
	meta := &lazyDisk{Mem: blockdev.NewMem(thinMeta)}
	r := bootThin(t, meta, blockdev.NewMem(64*thinBlock), "0")
	r.thin("a", 1, 64)
	before := meta.syncs.Load()
	r.put("a", 512, 63*thinBlock, 1)
	if n := meta.syncs.Load() - before; n != 2 {
		t.Errorf("%d syncs of the metadata, want 2", n)
	}
}
