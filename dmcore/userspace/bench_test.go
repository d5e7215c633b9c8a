package userspace_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"cowhand/dmcore/blockdev"
)

// benchSize is the size of the origin; of one in memory whose blocks are all to
// be new, firstSize.
const (
	benchSize = 64 << 20
	firstSize = 1 << 30
)

// benchTree makes an origin with snapshots over one backing device: a file,
// whose syncs cost what the disk asks, or memory.
func benchTree(b *testing.B, file bool, snapshots int, size int) *rig {
	r := newRig(b)
	room := int64(size + snapshots*(size+size/64))
	if file {
		path := filepath.Join(b.TempDir(), "pv")
		// Written in full: what a hole costs to fill is not ours.
		if err := os.WriteFile(path, make([]byte, room), 0o600); err != nil {
			b.Fatal(err)
		}
		d, err := blockdev.OpenFile(path, false)
		if err != nil {
			b.Fatal(err)
		}
		r.files["pv"] = d
	} else {
		r.files["pv"] = blockdev.NewMem(room)
	}
	sectors := size / 512
	real := r.device("o-real", fmt.Sprintf("0 %d linear pv 0", sectors))
	for i := range snapshots {
		at := sectors + i*(sectors+sectors/64)
		cow := r.device(fmt.Sprint("cow", i), fmt.Sprintf("0 %d linear pv %d", sectors+sectors/64, at))
		r.device(fmt.Sprint("s", i), fmt.Sprintf("0 %d snapshot %s %s P 8", sectors, real, cow))
	}
	r.device("o", fmt.Sprintf("0 %d snapshot-origin %s", sectors, real))
	b.Cleanup(func() {
		if err := r.m.Close(); err != nil {
			b.Error(err)
		}
	})
	return r
}

// each4K runs f for blocks of 4 KiB, each once as long as there are any, in a
// random order, from several goroutines.
func each4K(b *testing.B, workers, size int, f func(off int64) error) {
	order := rand.New(rand.NewPCG(1, 1)).Perm(size / 4096)
	var next atomic.Int64
	b.SetBytes(4096)
	b.SetParallelism(workers)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := next.Add(1)
			if err := f(int64(order[i%int64(len(order))]) * 4096); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func read4K(d io.ReaderAt) func(off int64) error {
	return func(off int64) error {
		p := page()
		defer pages.put(p)
		_, err := d.ReadAt(p[:], off)
		return err
	}
}

func write4K(d io.WriterAt, n int) func(off int64) error {
	return func(off int64) error {
		p := page()
		defer pages.put(p)
		_, err := d.WriteAt(p[:n], off)
		return err
	}
}

// pages keeps buffers out of the count of allocations.
var pages pagePool

type pagePool struct{ free chan *[4096]byte }

func page() *[4096]byte {
	select {
	case p := <-pages.free:
		return p
	default:
		return new([4096]byte)
	}
}

func (l *pagePool) put(p *[4096]byte) {
	select {
	case l.free <- p:
	default:
	}
}

func init() { pages.free = make(chan *[4096]byte, 256) }

func Benchmark4K(b *testing.B) {
	for _, file := range []bool{false, true} {
		kind := map[bool]string{false: "mem", true: "file"}[file]
		first := map[bool]int{false: firstSize, true: benchSize}[file]
		for _, workers := range []int{1, 16} {
			name := func(what string) string { return fmt.Sprintf("%s/%s/goroutines=%dx", what, kind, workers) }
			b.Run(name("linear-read"), func(b *testing.B) {
				r := benchTree(b, file, 0, benchSize)
				each4K(b, workers, benchSize, read4K(r.handle("o-real")))
			})
			b.Run(name("linear-write"), func(b *testing.B) {
				r := benchTree(b, file, 0, benchSize)
				each4K(b, workers, benchSize, write4K(r.handle("o-real"), 4096))
			})
			for _, snapshots := range []int{1, 3} {
				b.Run(name(fmt.Sprintf("origin-first-write-%dsnap", snapshots)), func(b *testing.B) {
					r := benchTree(b, file, snapshots, first)
					each4K(b, workers, first, write4K(r.handle("o"), 4096))
				})
			}
			b.Run(name("origin-rewrite"), func(b *testing.B) {
				r := benchTree(b, file, 1, benchSize)
				all := make([]byte, benchSize)
				if _, err := r.handle("o").WriteAt(all, 0); err != nil {
					b.Fatal(err)
				}
				each4K(b, workers, benchSize, write4K(r.handle("o"), 4096))
			})
			b.Run(name("snapshot-read-origin"), func(b *testing.B) {
				r := benchTree(b, file, 1, benchSize)
				each4K(b, workers, benchSize, read4K(r.handle("s0")))
			})
			b.Run(name("snapshot-read-cow"), func(b *testing.B) {
				r := benchTree(b, file, 1, benchSize)
				all := make([]byte, benchSize)
				if _, err := r.handle("s0").WriteAt(all, 0); err != nil {
					b.Fatal(err)
				}
				each4K(b, workers, benchSize, read4K(r.handle("s0")))
			})
			b.Run(name("snapshot-first-write-512B"), func(b *testing.B) {
				r := benchTree(b, file, 1, first)
				each4K(b, workers, first, write4K(r.handle("s0"), 512))
			})
			b.Run(name("snapshot-first-write-4K"), func(b *testing.B) {
				r := benchTree(b, file, 1, first)
				each4K(b, workers, first, write4K(r.handle("s0"), 4096))
			})
		}
	}
}

// BenchmarkMerge merges a snapshot whose chunks lie in random order.
func BenchmarkMerge(b *testing.B) {
	for _, file := range []bool{false, true} {
		b.Run(map[bool]string{false: "mem", true: "file"}[file], func(b *testing.B) {
			const dirty = 16 << 20
			b.SetBytes(dirty)
			for b.Loop() {
				b.StopTimer()
				r := benchTree(b, file, 1, benchSize)
				o := r.handle("o")
				order := rand.New(rand.NewPCG(1, 1)).Perm(benchSize / 4096)
				var next atomic.Int64
				done := make(chan error, 256)
				for range 256 {
					go func() {
						for i := next.Add(1); i <= dirty/4096; i = next.Add(1) {
							if _, err := o.WriteAt(make([]byte, 4096), int64(order[i])*4096); err != nil {
								done <- err
								return
							}
						}
						done <- nil
					}()
				}
				for range 256 {
					if err := <-done; err != nil {
						b.Fatal(err)
					}
				}
				t, err := r.c.Table(b.Context(), "s0")
				if err != nil {
					b.Fatal(err)
				}
				line := t.String()
				r.load("o", "0 "+fmt.Sprint(benchSize/512)+" snapshot-merge"+line[len(fmt.Sprintf("0 %d snapshot", benchSize/512)):])
				r.load("s0", fmt.Sprintf("0 %d error", benchSize/512))
				r.suspend("o")
				r.suspend("s0")
				b.StartTimer()
				r.resume("o")
				for {
					info, err := r.c.Info(b.Context(), "o")
					if err != nil {
						b.Fatal(err)
					}
					st, err := r.c.SnapshotStatus(b.Context(), "o")
					if err != nil {
						b.Fatal(err)
					}
					if st.Merged() {
						break
					}
					if _, err := r.c.Wait(b.Context(), "o", info.EventNr); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				o.Close()
				if err := r.m.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
