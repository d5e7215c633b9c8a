package thinmeta

import (
	"math/rand/v2"
	"sync"
	"testing"

	"cowhand/dmcore/blockdev"
)

// bigPool has one device of that many blocks, in order.
func bigPool(b *testing.B, blocks int) (*Pool, *blockdev.Mem) {
	dev := blockdev.NewMem(32768 * BlockSize)
	must(b, Format(dev, 128, 4<<20))
	fillPool(b, dev, 1, blocks)
	p, err := Open(dev, nil)
	must(b, err)
	return p, dev
}

func BenchmarkLookup(b *testing.B) {
	p, _ := bigPool(b, 200000)
	for b.Loop() {
		if _, ok, err := p.Lookup(1, VBlock(rand.IntN(200000))); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// Blocks mapped in order, a commit after each thousand.
func BenchmarkMap(b *testing.B) {
	p, _ := bigPool(b, 1)
	v := VBlock(1)
	for b.Loop() {
		provision(b, p, 1, v)
		if v++; v%1000 == 0 {
			must(b, p.Commit())
		}
	}
}

// Blocks mapped anywhere, a commit after each thousand.
func BenchmarkMapRandom(b *testing.B) {
	p, _ := bigPool(b, 1)
	n := 0
	for b.Loop() {
		provision(b, p, 1, VBlock(rand.Uint64N(1<<20)))
		if n++; n%1000 == 0 {
			must(b, p.Commit())
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	p, _ := bigPool(b, 200000)
	v := VBlock(200000)
	for b.Loop() {
		provision(b, p, 1, v)
		v++
		must(b, p.Commit())
	}
}

func BenchmarkSnapshotDelete(b *testing.B) {
	p, _ := bigPool(b, 200000)
	for b.Loop() {
		must(b, p.CreateSnapshot(2, 1))
		must(b, p.Commit())
		must(b, p.Delete(2))
		must(b, p.Commit())
	}
}

func BenchmarkCheck(b *testing.B) {
	_, dev := bigPool(b, 200000)
	for b.Loop() {
		rep, err := Check(dev)
		must(b, err)
		if !rep.Clean() {
			b.Fatal(rep)
		}
	}
}

// Lookups and changes go on beside one another; the race detector looks on.
func TestBesideOneAnother(t *testing.T) {
	p, dev := newPool(t, 4096, 100000)
	p.c.maxClean, p.c.maxDirty = 20, 20
	must(t, p.CreateThin(1))
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, _, err := p.Lookup(1, VBlock(rand.IntN(3000))); err != nil {
					t.Error(err)
				}
				if _, err := p.Devices(); err != nil {
					t.Error(err)
				}
				p.Usage()
			}
		})
	}
	for i := range 3000 {
		provision(t, p, 1, VBlock(rand.IntN(3000)))
		switch {
		case i%500 == 7:
			must(t, p.CreateSnapshot(uint32(2+i), 1))
		case i%500 == 9:
			must(t, p.ReserveMetadataSnapshot())
		case i%500 == 307:
			must(t, p.Delete(uint32(2+i-300)))
			must(t, p.ReleaseMetadataSnapshot())
		case i%50 == 0:
			must(t, p.Commit())
		}
	}
	close(done)
	readers.Wait()
	must(t, p.Commit())
	accepted(t, dev)
}
