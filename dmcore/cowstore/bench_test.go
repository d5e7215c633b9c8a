package cowstore

import (
	"fmt"
	"runtime"
	"testing"

	"cowhand/dmcore/blockdev"
)

func BenchmarkLookup(b *testing.B) {
	for _, n := range []uint64{1000, 100_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			s := newStore(nil, geometry{})
			for i := range n {
				s.idx.add(Exception{i * 3, i + 2})
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			size := float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
			for _, c := range []struct {
				name string
				plus uint64
			}{{"hit", 0}, {"miss", 1}} {
				b.Run(c.name, func(b *testing.B) {
					b.RunParallel(func(pb *testing.PB) {
						for i := uint64(1); pb.Next(); i = i*6364136223846793005 + 1442695040888963407 {
							s.Lookup((i>>20)%n*3 + c.plus)
						}
					})
					b.ReportMetric(size, "bytes/exception")
				})
			}
		})
	}
}

// BenchmarkRun looks up what a write of 1 MiB does, one after another.
func BenchmarkRun(b *testing.B) {
	const n, many = 1 << 20, 256
	s := newStore(nil, geometry{})
	for i := range uint64(n) {
		s.idx.add(Exception{i, i + 2})
	}
	for _, c := range []struct {
		name string
		from uint64
	}{{"hit", 0}, {"miss", n}} {
		b.Run(c.name, func(b *testing.B) {
			for at := uint64(0); b.Loop(); at = (at + many) % n {
				if _, k, ok := s.Run(c.from+at, many); k != many || ok != (c.from == 0) {
					b.Fatal(k, ok)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*many), "ns/chunk")
		})
	}
}

// The device is memory: this is the cost without the disk's.
func BenchmarkCommit(b *testing.B) {
	for _, batch := range []uint64{1, 16, 256, 4096} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			s, err := Open(blockdev.NewMem(1<<50), 8)
			must(b, err)
			ex := make([]Exception, batch)
			old := uint64(0)
			for b.Loop() {
				for i := range ex {
					new, err := s.Allocate()
					must(b, err)
					ex[i] = Exception{old, new}
					old++
				}
				must(b, s.Commit(ex))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(uint64(b.N)*batch), "ns/exception")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	const n = 1_000_000
	dev := blockdev.NewMem(1 << 40)
	s, err := Open(dev, 8)
	must(b, err)
	commitNext(b, s, count(0, n)...)
	for b.Loop() {
		if s, err = Open(dev, 8); err != nil || s.Len() != n {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/exception")
}
