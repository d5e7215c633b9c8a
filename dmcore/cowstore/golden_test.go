package cowstore

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore/blockdev"
)

// testdata/cow-266-exceptions-4m.img.gz was written by Linux 6.1.192 for a
// snapshot of 4 KiB chunks made by lvm2 2.03.16; its data chunks are blanked.
// The origin had chunks 100-102, 7, 2000-2259 and 50-51 overwritten, and the
// status line was "2152/8192 24".
func golden(t *testing.T) *blockdev.Mem {
	t.Helper()
	f, err := os.Open("testdata/cow-266-exceptions-4m.img.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return blockdev.NewMemBytes(b)
}

func goldenExceptions() []Exception {
	var ex []Exception
	next := uint64(2)
	for _, run := range [][2]uint64{{100, 102}, {7, 7}, {2000, 2259}, {50, 51}} {
		for old := run[0]; old <= run[1]; old++ {
			if next == 258 { // area 1
				next++
			}
			ex = append(ex, Exception{old, next})
			next++
		}
	}
	return ex
}

func TestGoldenRead(t *testing.T) {
	dev := golden(t)
	chunk, valid, got, err := Read(dev)
	if err != nil {
		t.Fatal(err)
	}
	if chunk != 8 || !valid {
		t.Errorf("chunk %d, valid %t; want 8, true", chunk, valid)
	}
	if diff := cmp.Diff(goldenExceptions(), got); diff != "" {
		t.Errorf("exceptions (-want +got)\n%s", diff)
	}
	s, err := Open(dev, 32) // the size on disk wins
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Usage().String(), "2152/8192 24"; got != want || s.ChunkSize() != 8 {
		t.Errorf("usage %q, chunk %d; want %q, 8", got, s.ChunkSize(), want)
	}
	for _, e := range got {
		if c, ok := s.Lookup(e.Old); !ok || c != e.New {
			t.Errorf("Lookup(%d) = %d, %t; want %d", e.Old, c, ok, e.New)
		}
	}
	if c, ok := s.Lookup(103); ok {
		t.Errorf("Lookup(103) = %d; want none", c)
	}
}

// The same commits on a fresh device make the same bytes, however they are
// batched.
func TestGoldenWrite(t *testing.T) {
	want := contents(t, golden(t))
	for _, batch := range []int{1, 3, 256, 1000} {
		dev := blockdev.NewMem(int64(len(want)))
		s, err := Open(dev, 8)
		if err != nil {
			t.Fatal(err)
		}
		for ex := goldenExceptions(); len(ex) > 0; {
			n := min(batch, len(ex))
			for _, e := range ex[:n] {
				if c, err := s.Allocate(); err != nil || c != e.New {
					t.Fatalf("Allocate = %d, %v; want %d", c, err, e.New)
				}
			}
			if err := s.Commit(ex[:n]); err != nil {
				t.Fatal(err)
			}
			ex = ex[n:]
		}
		if !bytes.Equal(contents(t, dev), want) {
			t.Errorf("batches of %d: bytes differ from the kernel's", batch)
		}
		if got, want := s.Usage().String(), "2152/8192 24"; got != want {
			t.Errorf("usage %q, want %q", got, want)
		}
	}
}

// Merging all of it as the kernel does, run by run, ends with allocated equal
// to metadata and no exception on disk.
func TestGoldenMerge(t *testing.T) {
	dev := golden(t)
	s, err := Open(dev, 8)
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for s.Len() > 0 {
		tail := s.Tail(s.Len())
		run := 1
		for run < len(tail) && tail[run].Old+uint64(run) == tail[0].Old && tail[run].New+uint64(run) == tail[0].New {
			run++
		}
		if err := s.DropTail(run); err != nil {
			t.Fatal(err)
		}
		states = append(states, s.Usage().String())
	}
	// 50-51; 2252-2259 of area 1; 2000-2251 of area 0; 7; 100-102.
	if diff := cmp.Diff([]string{"2136/8192 24", "2072/8192 24", "48/8192 16", "40/8192 16", "16/8192 16"}, states); diff != "" {
		t.Errorf("usage (-want +got)\n%s", diff)
	}
	once := golden(t)
	if s, err = Open(once, 8); err != nil {
		t.Fatal(err)
	}
	if err := s.DropTail(s.Len()); err != nil {
		t.Fatal(err)
	}
	empty := blockdev.NewMem(dev.Size())
	if err := Format(empty, 8); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(contents(t, dev), contents(t, empty)) {
		t.Error("the store merged run by run is not an empty one")
	}
	if !bytes.Equal(contents(t, once), contents(t, empty)) {
		t.Error("the store merged at once is not an empty one")
	}
}

func contents(t *testing.T, dev blockdev.Device) []byte {
	t.Helper()
	b := make([]byte, dev.Size())
	if err := readFull(dev, b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}
