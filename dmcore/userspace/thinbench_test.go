package userspace_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// benchThin makes a pool with room for a device and a copy of it.
func benchThin(b *testing.B, file bool, size int) *thinRig {
	device := func(name string, size int) blockdev.Device {
		if !file {
			return blockdev.NewMem(int64(size))
		}
		path := filepath.Join(b.TempDir(), name)
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			b.Fatal(err)
		}
		d, err := blockdev.OpenFile(path, false)
		if err != nil {
			b.Fatal(err)
		}
		return d
	}
	r := bootThin(b, device("meta", 8<<20), device("data", 2*size), "0")
	b.Cleanup(func() {
		if err := r.m.Close(); err != nil {
			b.Error(err)
		}
	})
	r.thin("a", 1, size/thinBlock)
	return r
}

// eachBlock is each4K with one page for each block.
func eachBlock(b *testing.B, workers, size int, f func(off int64) error) {
	order := rand.New(rand.NewPCG(1, 1)).Perm(size / thinBlock)
	var next atomic.Int64
	b.SetBytes(4096)
	b.SetParallelism(workers)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := next.Add(1)
			if err := f(int64(order[i%int64(len(order))]) * thinBlock); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkThin(b *testing.B) {
	const size = 128 << 20 // 2048 blocks: run with -benchtime=2000x to write each but once
	full := func(b *testing.B, r *thinRig) {
		if _, err := r.handle("a").WriteAt(make([]byte, size), 0); err != nil {
			b.Fatal(err)
		}
	}
	for _, file := range []bool{false, true} {
		kind := map[bool]string{false: "mem", true: "file"}[file]
		for _, workers := range []int{1, 16} {
			name := func(what string) string { return fmt.Sprintf("%s/%s/goroutines=%dx", what, kind, workers) }
			b.Run(name("read"), func(b *testing.B) {
				r := benchThin(b, file, size)
				full(b, r)
				each4K(b, workers, size, read4K(r.handle("a")))
			})
			b.Run(name("rewrite"), func(b *testing.B) {
				r := benchThin(b, file, size)
				full(b, r)
				each4K(b, workers, size, write4K(r.handle("a"), 4096))
			})
			b.Run(name("first-write"), func(b *testing.B) {
				r := benchThin(b, file, size)
				eachBlock(b, workers, size, write4K(r.handle("a"), 4096))
			})
			b.Run(name("break-sharing"), func(b *testing.B) {
				r := benchThin(b, file, size)
				full(b, r)
				r.suspend("a")
				r.send(dmcore.CreateThinSnapshot(2, 1))
				r.resume("a")
				eachBlock(b, workers, size, write4K(r.handle("a"), 4096))
			})
		}
		for _, workers := range []int{1, 8} {
			sequential := func(what string, prepare func(b *testing.B, r *thinRig)) {
				b.Run(fmt.Sprintf("%s/%s/goroutines=%dx", what, kind, workers), func(b *testing.B) {
					r := benchThin(b, file, size)
					prepare(b, r)
					h, p := r.handle("a"), make([]byte, 1<<20)
					var next atomic.Int64
					b.SetBytes(1 << 20)
					b.SetParallelism(workers)
					b.ResetTimer()
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if _, err := h.WriteAt(p, (next.Add(1)-1)%(size>>20)<<20); err != nil {
								b.Error(err)
								return
							}
						}
					})
				})
			}
			sequential("fill-1M", func(*testing.B, *thinRig) {})
			sequential("break-sharing-1M", func(b *testing.B, r *thinRig) {
				full(b, r)
				r.suspend("a")
				r.send(dmcore.CreateThinSnapshot(2, 1))
				r.resume("a")
			})
		}
	}
}
