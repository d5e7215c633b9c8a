package dmtest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"cowhand/dmcore"
)

var merges = map[string]func(*bench){
	"MergeBringsBack":      mergeBringsBack,
	"MergeAfterActivation": mergeAfterActivation,
	"HandoverNeedsSuspend": handoverNeedsSuspend,
	"HandoverCancelled":    handoverCancelled,
	"OneMergeAtATime":      oneMergeAtATime,
	"MergeWithSiblings":    mergeWithSiblings,
	"MergeOverflowsOther":  mergeOverflowsOther,
	"MergeUnderWrites":     mergeUnderWrites,
	"MergeGoesOn":          mergeGoesOn,
	"MergeOfInvalid":       mergeOfInvalid,
}

// startMerge turns a snapshot that is in use into a merge, as lvm2 does: the
// merge target takes the origin's place, and the snapshot's device fails.
func (b *bench) startMerge(origin, snap string, real, cow dmcore.Dev, size, chunk dmcore.Sectors) {
	b.Helper()
	b.load(origin, "0 %d snapshot-merge %s %s P %d", size, real, cow, chunk)
	b.load(snap, "0 %d error", size)
	b.suspend(origin, snap)
	b.resume(origin, snap)
}

// merged waits until the merge is complete. A kernel raises no event for that,
// so it asks again after a while.
func (b *bench) merged(short string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		nr := b.info(short).EventNr
		s := b.snapshotStatus(short)
		if s.Merged() {
			return
		}
		if s.State != dmcore.SnapshotOK || ctx.Err() != nil {
			b.Fatalf("%s: merge has status %v", short, s)
		}
		soon, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		b.c.Wait(soon, b.uuid(short), nr)
		cancel()
	}
}

// mergeBringsBack: the origin shows the snapshot's contents from the first
// moment, and holds them itself in the end.
func mergeBringsBack(b *bench) {
	b.eachChunk(func(b *bench, chunk dmcore.Sectors) {
		size := 11 * chunk
		real := b.volume("o", size)
		snap := pattern(1, size)
		b.put("o", 0, snap)
		cow := b.cow("s", 20*chunk)
		b.snapshot("s", "o", real, cow, size, chunk)
		b.put("o", 3, pattern(2, 8*chunk))
		b.put("s", 5*chunk+1, pattern(3, 5*chunk))
		copy(snap[(5*chunk+1).Bytes():], pattern(3, 5*chunk))
		b.put("o", 10*chunk, pattern(4, 1))
		b.startMerge("o", "s", real, cow, size, chunk)
		b.holds("o", 0, snap)
		b.merged("o")
		b.holds("o", 0, snap)
		b.holds("o-real", 0, snap)
		b.is("the old snapshot", second(b.tryGet("s", 0, 1)), dmcore.ErrIO)
		if s := b.snapshotStatus("o"); s.Allocated != 2*chunk || s.Metadata != 2*chunk {
			b.Errorf("status %v, want allocated and metadata of two chunks", s)
		}
		b.load("o", "0 %d linear %s 0", size, real)
		b.resume("o")
		b.holds("o", 0, snap)
	})
}

// mergeAfterActivation: no snapshot was live before; the merge opens the store.
func mergeAfterActivation(b *bench) {
	const size, chunk = 512, 8
	real := b.volume("o", size)
	snap := pattern(1, size)
	b.put("o", 0, snap)
	cow := b.cow("s", 1024)
	b.snapshot("s", "o", real, cow, size, chunk)
	b.put("o", 0, pattern(2, size/2))
	b.ok("remove", b.c.Remove(b.ctx, b.uuid("s")))
	b.ok("remove", b.c.Remove(b.ctx, b.uuid("o")))
	b.device("o", "0 %d snapshot-merge %s %s P %d", size, real, cow, chunk)
	b.holds("o", 0, snap)
	b.merged("o")
	b.holds("o-real", 0, snap)
}

// handoverNeedsSuspend: the merge does not start before the snapshot is
// suspended, and the snapshot does not go on before the merge has started.
func handoverNeedsSuspend(b *bench) {
	const size, chunk = 256, 8
	real := b.volume("o", size)
	snap := pattern(1, size)
	b.put("o", 0, snap)
	cow := b.cow("s", 512)
	b.snapshot("s", "o", real, cow, size, chunk)
	b.put("o", 0, pattern(2, 100))
	b.load("o", "0 %d snapshot-merge %s %s P %d", size, real, cow, chunk)
	b.suspend("o")
	b.is("resume of the merge", b.tryResume("o"), dmcore.ErrInvalid)
	b.suspend("s")
	b.is("resume of the snapshot", b.tryResume("s"), dmcore.ErrInvalid)
	b.resume("o")
	b.load("s", "0 %d error", size)
	b.resume("s")
	b.merged("o")
	b.holds("o", 0, snap)
}

// handoverCancelled: the snapshot that goes away before the merge resumed takes
// its exceptions along. The merge is invalid, and the origin is as it was.
func handoverCancelled(b *bench) {
	const size, chunk = 256, 8
	real := b.volume("o", size)
	b.put("o", 0, pattern(1, size))
	cow := b.cow("s", 512)
	b.snapshot("s", "o", real, cow, size, chunk)
	now := pattern(2, size)
	b.put("o", 0, now)
	b.load("o", "0 %d snapshot-merge %s %s P %d", size, real, cow, chunk)
	b.load("s", "0 %d error", size)
	b.suspend("o", "s")
	b.resume("s", "o")
	if s := b.snapshotStatus("o"); s.State != dmcore.SnapshotInvalid {
		b.Errorf("status %v, want Invalid", s)
	}
	b.holds("o", 0, now)
	b.put("o", 0, pattern(3, 8))
	b.holds("o", 0, pattern(3, 8))
}

func oneMergeAtATime(b *bench) {
	const size, chunk = 256, 8
	real := b.volume("o", size)
	b.put("o", 0, pattern(1, size))
	cow, other := b.cow("s", 512), b.cow("t", 512)
	b.snapshot("s", "o", real, cow, size, chunk)
	b.snapshot("t", "o", real, other, size, chunk)
	b.startMerge("o", "s", real, cow, size, chunk)
	b.create("p")
	b.is("a second merge", b.tryLoad("p", "0 %d snapshot-merge %s %s P %d", size, real, other, chunk), dmcore.ErrInvalid)
	b.merged("o")
}

// mergeWithSiblings: the other snapshots of the origin show the same bytes
// before, during and after.
func mergeWithSiblings(b *bench) {
	const size, chunk = 1024, 8
	real := b.volume("o", size)
	now := pattern(1, size)
	b.put("o", 0, now)
	var was [][]byte
	var cows []dmcore.Dev
	for i := range 3 {
		was = append(was, bytes.Clone(now))
		cows = append(cows, b.cow(fmt.Sprint("s", i), 4096))
		b.snapshot(fmt.Sprint("s", i), "o", real, cows[i], size, chunk<<i)
		data := pattern(uint64(10+i), 600)
		at := dmcore.Sectors(100 * i)
		b.put("o", at, data)
		copy(now[at.Bytes():], data)
	}
	b.startMerge("o", "s1", real, cows[1], size, chunk<<1)
	for _, i := range []int{0, 2} {
		b.holds(fmt.Sprint("s", i), 0, was[i])
	}
	b.put("o", 7, pattern(77, 30))
	copy(was[1][7*512:], pattern(77, 30))
	b.holds("o", 0, was[1])
	b.merged("o")
	b.holds("o-real", 0, was[1])
	for _, i := range []int{0, 2} {
		b.holds(fmt.Sprint("s", i), 0, was[i])
	}
}

// mergeOverflowsOther: another snapshot can be lost to a merge; the merge goes on.
func mergeOverflowsOther(b *bench) {
	const size, chunk = 1024, 8
	real := b.volume("o", size)
	snap := pattern(1, size)
	b.put("o", 0, snap)
	cow := b.cow("s", 4096)
	b.snapshot("s", "o", real, cow, size, chunk)
	b.put("o", 0, pattern(2, size))
	b.snapshot("late", "o", real, b.cow("late", 8*chunk), size, chunk)
	b.startMerge("o", "s", real, cow, size, chunk)
	b.merged("o")
	b.holds("o", 0, snap)
	b.invalid("late")
}

// mergeUnderWrites: what is written while a merge runs is there afterwards.
func mergeUnderWrites(b *bench) {
	const size, chunk = 4096, 8
	real := b.volume("o", size)
	snap := pattern(1, size)
	b.put("o", 0, snap)
	cow := b.cow("s", 4*size)
	b.snapshot("s", "o", real, cow, size, chunk)
	for at := dmcore.Sectors(0); at < size; at += 2 * chunk {
		b.put("o", at, pattern(2, 1))
	}
	h := b.open("o")
	b.startMerge("o", "s", real, cow, size, chunk)
	var all sync.WaitGroup
	errs := make(chan error, 4)
	for w := range dmcore.Sectors(4) {
		for at := w * 5; at < size-5; at += 20 {
			copy(snap[at.Bytes():], pattern(uint64(at), 5))
		}
		all.Go(func() {
			for at := w * 5; at < size-5; at += 20 {
				want := pattern(uint64(at), 5)
				if _, err := h.WriteAt(want, at.Bytes()); err != nil {
					errs <- err
					return
				}
				got := make([]byte, len(want))
				if _, err := h.ReadAt(got, at.Bytes()); err != nil {
					errs <- err
					return
				}
				if !bytes.Equal(got, want) {
					errs <- fmt.Errorf("sector %d does not read as written", at)
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
	b.holds("o", 0, snap)
	b.merged("o")
	b.holds("o", 0, snap)
	b.holds("o-real", 0, snap)
}

// mergeGoesOn: a suspend stops the merge, a resume goes on, and so does a
// device made anew.
func mergeGoesOn(b *bench) {
	const size, chunk = 8192, 8
	real := b.volume("o", size)
	snap := pattern(1, size)
	b.put("o", 0, snap)
	cow := b.cow("s", 4*size)
	b.snapshot("s", "o", real, cow, size, chunk)
	b.put("o", 0, pattern(2, size))
	b.startMerge("o", "s", real, cow, size, chunk)
	b.suspend("o")
	before := b.snapshotStatus("o")
	b.holds("o-real", 0, b.get("o-real", 0, size)) // time for a merge that goes on
	if after := b.snapshotStatus("o"); after != before {
		b.Errorf("a suspended merge went from %v to %v", before, after)
	}
	b.resume("o")
	b.holds("o", 0, snap)
	b.ok("remove", b.c.Remove(b.ctx, b.uuid("o")))
	b.device("o", "0 %d snapshot-merge %s %s P %d", size, real, cow, chunk)
	b.holds("o", 0, snap)
	b.merged("o")
	b.holds("o-real", 0, snap)
}

// mergeOfInvalid: I/O goes straight to the origin.
func mergeOfInvalid(b *bench) {
	const size, chunk = 256, 8
	real := b.volume("o", size)
	cow := b.cow("s", 8*chunk)
	b.snapshot("s", "o", real, cow, size, chunk)
	now := pattern(2, size)
	b.put("o", 0, now)
	b.invalid("s")
	b.startMerge("o", "s", real, cow, size, chunk)
	if s := b.snapshotStatus("o"); s.State != dmcore.SnapshotInvalid {
		b.Errorf("status %v, want Invalid", s)
	}
	b.holds("o", 0, now)
	b.put("o", 8, pattern(3, 8))
	b.holds("o", 8, pattern(3, 8))
}
