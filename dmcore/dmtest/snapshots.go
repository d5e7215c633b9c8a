package dmtest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"cowhand/dmcore"
)

var snapshots = map[string]func(*bench){
	"OriginWriteIsCopiedOut":   originWriteIsCopiedOut,
	"SnapshotWriteStaysInside": snapshotWriteStaysInside,
	"SeveralSnapshots":         severalSnapshots,
	"LastChunkIsShort":         lastChunkIsShort,
	"StatusCounts":             statusCounts,
	"OverflowByOrigin":         overflowByOrigin,
	"OverflowBySnapshot":       overflowBySnapshot,
	"COWGrows":                 cowGrows,
	"StoreOutlivesDevices":     storeOutlivesDevices,
	"SnapshotHandover":         snapshotHandover,
	"TwoTablesOneCOW":          twoTablesOneCOW,
	"ConcurrentWriters":        concurrentWriters,
	"ReadsRaceWithOrigin":      readsRaceWithOrigin,
}

// eachChunk runs a test at chunk sizes from 4 KiB to 512 KiB.
func (b *bench) eachChunk(test func(b *bench, chunk dmcore.Sectors)) {
	for _, chunk := range []dmcore.Sectors{8, 64, 1024} {
		b.Run(fmt.Sprintf("chunk%d", chunk), func(t *testing.T) {
			newBench(t, b.Lab, func(b *bench) { test(b, chunk) })
		})
	}
}

// volume makes the layers that lvm2 makes of an origin: NAME-real, linear on a
// backing device, and NAME, snapshot-origin upon it.
func (b *bench) volume(short string, size dmcore.Sectors) (real dmcore.Dev) {
	b.Helper()
	real = b.device(short+"-real", "0 %d linear %s 0", size, b.Backing(b.T, size))
	b.device(short, "0 %d snapshot-origin %s", size, real)
	return real
}

// cow makes the COW device of a snapshot, NAME-cow.
func (b *bench) cow(short string, size dmcore.Sectors) dmcore.Dev {
	b.Helper()
	return b.device(short+"-cow", "0 %d linear %s 0", size, b.Backing(b.T, size))
}

// snapshot takes one in the order of lvm2: all loaded, origin suspended, the
// snapshot resumed before the origin.
func (b *bench) snapshot(short, origin string, real, cow dmcore.Dev, size, chunk dmcore.Sectors) {
	b.Helper()
	b.create(short)
	b.load(short, "0 %d snapshot %s %s P %d", size, real, cow, chunk)
	b.suspend(origin)
	b.resume(short, origin)
}

func originWriteIsCopiedOut(b *bench) {
	b.eachChunk(func(b *bench, chunk dmcore.Sectors) {
		size := 10 * chunk
		real := b.volume("o", size)
		old := pattern(1, size)
		b.put("o", 0, old)
		b.snapshot("s", "o", real, b.cow("s", 16*chunk), size, chunk)
		b.holds("s", 0, old)
		now := bytes.Clone(old)
		for i, w := range []struct{ at, n dmcore.Sectors }{
			{0, 1}, {chunk - 1, 2}, {3 * chunk, chunk}, {5*chunk + 1, 3*chunk - 2}, {size - 1, 1}, {3 * chunk, 1},
		} {
			data := pattern(uint64(100+i), w.n)
			b.put("o", w.at, data)
			copy(now[w.at.Bytes():], data)
			b.holds("o", 0, now)
			b.holds("o-real", 0, now)
			b.holds("s", 0, old)
		}
	})
}

func snapshotWriteStaysInside(b *bench) {
	b.eachChunk(func(b *bench, chunk dmcore.Sectors) {
		size := 10 * chunk
		real := b.volume("o", size)
		old := pattern(1, size)
		b.put("o", 0, old)
		b.snapshot("s", "o", real, b.cow("s", 16*chunk), size, chunk)
		snap := bytes.Clone(old)
		for i, w := range []struct{ at, n dmcore.Sectors }{
			{1, 1}, {chunk, chunk}, {2*chunk - 1, 2}, {4*chunk + 3, 5 * chunk}, {size - 1, 1}, {0, size},
		} {
			data := pattern(uint64(200+i), w.n)
			b.put("s", w.at, data)
			copy(snap[w.at.Bytes():], data)
			b.holds("s", 0, snap)
			b.holds("o", 0, old)
		}
		b.put("o", 0, pattern(9, size))
		b.holds("s", 0, snap)
	})
}

func severalSnapshots(b *bench) {
	const size, chunk = 512, 8
	real := b.volume("o", size)
	now := pattern(1, size)
	b.put("o", 0, now)
	var was [][]byte
	for i := range 4 {
		was = append(was, bytes.Clone(now))
		// Chunk sizes may differ between the snapshots of an origin.
		b.snapshot(fmt.Sprint("s", i), "o", real, b.cow(fmt.Sprint("s", i), 2048), size, chunk<<i)
		data := pattern(uint64(10+i), 100)
		at := dmcore.Sectors(40 * i)
		b.put("o", at, data)
		copy(now[at.Bytes():], data)
	}
	for i := range was {
		b.holds(fmt.Sprint("s", i), 0, was[i])
	}
	b.put("s1", 8, pattern(50, 8))
	copy(was[1][8*512:], pattern(50, 8))
	b.ok("remove one", b.c.Remove(b.ctx, b.uuid("s2")))
	b.put("o", 0, pattern(60, size))
	for _, i := range []int{0, 1, 3} {
		b.holds(fmt.Sprint("s", i), 0, was[i])
	}
}

func lastChunkIsShort(b *bench) {
	const size, chunk = 3*32 + 5, 32
	real := b.volume("o", size)
	old := pattern(1, size)
	b.put("o", 0, old)
	b.snapshot("s", "o", real, b.cow("s", 8*chunk), size, chunk)
	b.put("o", size-2, pattern(2, 2))
	b.holds("s", 0, old)
	b.put("s", size-5, pattern(3, 5))
	copy(old[(size-5)*512:], pattern(3, 5))
	b.holds("s", 0, old)
}

// statusCounts: allocated and metadata as the kernel counts them, where the
// chunk that will be used next is already allocated.
func statusCounts(b *bench) {
	const size, chunk = 256, 8
	real := b.volume("o", size)
	b.snapshot("s", "o", real, b.cow("s", 160), size, chunk)
	want := func(s string) {
		b.Helper()
		t, err := b.c.Status(b.ctx, b.uuid("s"))
		b.ok("status", err)
		if len(t) != 1 || t[0].Type != "snapshot" || t[0].Params != s {
			b.Fatalf("status %v, want %s", t, s)
		}
	}
	want("16/160 16")
	b.put("o", 0, pattern(1, 1))
	want("24/160 16")
	b.put("o", 7, pattern(1, 1)) // the same chunk
	want("24/160 16")
	b.put("s", 64, pattern(1, 24))
	want("48/160 16")
	if t, err := b.c.Status(b.ctx, b.uuid("o")); err != nil || t[0].String() != "0 256 snapshot-origin" {
		b.Errorf("status of the origin %v, %v", t, err)
	}
}

func (b *bench) invalid(short string) {
	b.Helper()
	if s := b.snapshotStatus(short); s.State != dmcore.SnapshotInvalid {
		b.Fatalf("%s: status %v, want Invalid", short, s)
	}
	b.is("read "+short, second(b.tryGet(short, 0, 1)), dmcore.ErrIO)
	b.is("write "+short, b.tryPut(short, 0, make([]byte, 512)), dmcore.ErrIO)
}

// overflowByOrigin: the origin never notices; the full snapshot alone is lost,
// and stays lost when it is loaded again.
func overflowByOrigin(b *bench) {
	const size, chunk = 256, 8
	real := b.volume("o", size)
	old := pattern(1, size)
	b.put("o", 0, old)
	small := b.cow("small", 8*chunk)
	b.snapshot("small", "o", real, small, size, chunk)
	b.snapshot("big", "o", real, b.cow("big", 512), size, chunk)
	nr := b.info("small").EventNr
	now := pattern(2, size)
	b.put("o", 0, now)
	b.holds("o", 0, now)
	b.holds("big", 0, old)
	b.invalid("small")
	if info, err := b.c.Wait(b.ctx, b.uuid("small"), nr); err != nil || info.EventNr == nr {
		b.Errorf("no event tells of the loss: %+v, %v", info, err)
	}
	b.ok("remove", b.c.Remove(b.ctx, b.uuid("small")))
	b.device("small", "0 %d snapshot %s %s P %d", size, real, small, chunk)
	b.invalid("small")
	b.put("o", 0, old)
	b.holds("o", 0, old)
}

func overflowBySnapshot(b *bench) {
	const size, chunk = 256, 8
	real := b.volume("o", size)
	old := pattern(1, size)
	b.put("o", 0, old)
	b.snapshot("s", "o", real, b.cow("s", 8*chunk), size, chunk)
	b.put("s", 0, pattern(2, 4*chunk)) // chunks 2 to 5 of 8
	b.holds("s", 0, pattern(2, 4*chunk))
	b.is("write to a full snapshot", b.tryPut("s", 8*chunk, pattern(3, 8*chunk)), dmcore.ErrIO)
	b.invalid("s")
	b.holds("o", 0, old)
}

// cowGrows: a bigger table of the COW device is all it takes.
func cowGrows(b *bench) {
	const size, chunk = 256, 8
	real := b.volume("o", size)
	old := pattern(1, size)
	b.put("o", 0, old)
	back := b.Backing(b.T, 1024)
	cow := b.device("s-cow", "0 64 linear %s 0", back)
	b.snapshot("s", "o", real, cow, size, chunk)
	b.put("o", 0, pattern(2, 4*chunk))
	b.load("s-cow", "0 1024 linear %s 0", back)
	b.suspend("o", "s")
	b.resume("s-cow", "s", "o")
	b.put("o", 0, pattern(3, size))
	b.holds("s", 0, old)
	if s := b.snapshotStatus("s"); s.Total != 1024 {
		b.Errorf("status %v, want a total of 1024", s)
	}
}

// storeOutlivesDevices: devices removed and made again from the same backing
// show the same bytes.
func storeOutlivesDevices(b *bench) {
	b.eachChunk(func(b *bench, chunk dmcore.Sectors) {
		size := 10 * chunk
		real := b.volume("o", size)
		old := pattern(1, size)
		b.put("o", 0, old)
		cow := b.cow("s", 16*chunk)
		b.snapshot("s", "o", real, cow, size, chunk)
		b.put("o", 5, pattern(2, 5*chunk))
		b.put("s", 3*chunk+3, pattern(3, 5*chunk))
		copy(old[(3*chunk+3).Bytes():], pattern(3, 5*chunk))
		before := b.snapshotStatus("s")
		b.ok("remove", b.c.Remove(b.ctx, b.uuid("s")))
		// The store's own chunk size wins over the table's.
		b.device("s", "0 %d snapshot %s %s P %d", size, real, cow, 64)
		b.holds("s", 0, old)
		if after := b.snapshotStatus("s"); after != before {
			b.Errorf("status %v, want %v as before", after, before)
		}
		b.put("o", 0, pattern(4, size))
		b.holds("s", 0, old)
	})
}

// snapshotHandover: a second table on the same COW device takes the exceptions
// over, once the first is suspended.
func snapshotHandover(b *bench) {
	const size, chunk = 256, 8
	real := b.volume("o", size)
	old := pattern(1, size)
	b.put("o", 0, old)
	cow := b.cow("s", 512)
	b.snapshot("s", "o", real, cow, size, chunk)
	b.put("o", 0, pattern(2, 50))
	b.load("s", "0 %d snapshot %s %s P %d", size, real, cow, chunk)
	b.is("a third table", b.tryLoad("s", "0 %d snapshot %s %s P %d", size, real, cow, chunk), dmcore.ErrInvalid)
	b.resume("s")
	b.holds("s", 0, old)
	b.put("o", 100, pattern(3, 50))
	b.holds("s", 0, old)
}

func twoTablesOneCOW(b *bench) {
	const size, chunk = 256, 8
	real := b.volume("o", size)
	cow := b.cow("s", 512)
	b.create("s")
	b.load("s", "0 %d snapshot %s %s P %d", size, real, cow, chunk)
	b.create("t")
	b.is("load", b.tryLoad("t", "0 %d snapshot %s %s P %d", size, real, cow, chunk), dmcore.ErrInvalid)
	b.ok("clear", b.c.Clear(b.ctx, b.uuid("s")))
	b.load("t", "0 %d snapshot %s %s P %d", size, real, cow, chunk)
	b.resume("t")
}

// concurrentWriters: many at once on an origin and its snapshots, each in its
// own place, some of them in one chunk.
func concurrentWriters(b *bench) {
	const size, chunk = 2048, 8
	real := b.volume("o", size)
	old := pattern(1, size)
	b.put("o", 0, old)
	b.snapshot("s", "o", real, b.cow("s", 8192), size, chunk)
	b.snapshot("t", "o", real, b.cow("t", 8192), size, chunk)
	now, snap := bytes.Clone(old), bytes.Clone(old)
	var all sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for short, image := range map[string][]byte{"o": now, "s": snap} {
		h := b.open(short)
		for w := range dmcore.Sectors(8) {
			for at := w * 3; at < size-3; at += 24 {
				copy(image[at.Bytes():], pattern(uint64(at)+7, 3))
			}
			all.Go(func() {
				for at := w * 3; at < size-3; at += 24 {
					if _, err := h.WriteAt(pattern(uint64(at)+7, 3), at.Bytes()); err != nil {
						mu.Lock()
						errs = append(errs, err)
						mu.Unlock()
					}
				}
			})
		}
	}
	all.Wait()
	b.ok("writes", errors.Join(errs...))
	b.holds("o", 0, now)
	b.holds("s", 0, snap)
	b.holds("t", 0, old)
}

// readsRaceWithOrigin: who reads a snapshot never sees what the origin was
// overwritten with.
func readsRaceWithOrigin(b *bench) {
	const size, chunk = 1024, 8
	real := b.volume("o", size)
	old := pattern(1, size)
	b.put("o", 0, old)
	b.snapshot("s", "o", real, b.cow("s", 4096), size, chunk)
	h := b.open("o")
	done := make(chan error, 1)
	go func() {
		for at := dmcore.Sectors(0); at < size; at += 4 {
			if _, err := h.WriteAt(pattern(99, 4), at.Bytes()); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for running := true; running; {
		select {
		case err := <-done:
			b.ok("writes", err)
			running = false
		default:
		}
		b.holds("s", 0, old)
	}
}
