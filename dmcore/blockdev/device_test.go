package blockdev

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	_ = []Device{(*File)(nil), (*Mem)(nil), (*Crash)(nil), (*Section)(nil)}
	_ = []Zeroer{(*File)(nil), (*Mem)(nil), (*Crash)(nil), (*Section)(nil)}
	_ = []Discarder{(*File)(nil), (*Mem)(nil), (*Crash)(nil), (*Section)(nil)}
	_ = []RangeSyncer{(*File)(nil), (*Crash)(nil), (*Section)(nil)}
	_ = []Mapper{(*File)(nil), (*Mem)(nil), (*Section)(nil)}
)

// seeded returns a random source, and prints its seed should the test fail.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("COWHAND_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// imageFile makes an image file of size zero bytes.
func imageFile(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func openImage(t *testing.T, path string, readOnly bool) *File {
	t.Helper()
	f, err := OpenFile(path, readOnly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// each runs a test on a zeroed device of every kind.
func each(t *testing.T, size int64, test func(t *testing.T, dev Device)) {
	t.Run("file", func(t *testing.T) { test(t, openImage(t, imageFile(t, size), false)) })
	t.Run("mem", func(t *testing.T) { test(t, NewMem(size)) })
	t.Run("crash", func(t *testing.T) { test(t, NewCrash(size)) })
	for name, below := range map[string]Device{"mem": NewMem(size + 2000), "file": openImage(t, imageFile(t, size+512), false)} {
		t.Run("section of "+name, func(t *testing.T) {
			s, err := NewSection(below, 512, size)
			if err != nil {
				t.Fatal(err)
			}
			test(t, s)
		})
	}
}

// What a device holds is what a plain slice of bytes would.
func TestModel(t *testing.T) {
	const size = 40960 + 512
	each(t, size, func(t *testing.T, dev Device) {
		rng := seeded(t)
		want := make([]byte, size)
		for range 300 {
			off := rng.Int64N(size)
			n := rng.Int64N(min(size-off, 10000) + 1)
			switch rng.IntN(6) {
			case 0, 1, 2:
				p := make([]byte, n)
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				copy(want[off:], p)
				if got, err := dev.WriteAt(p, off); got != int(n) || err != nil {
					t.Fatalf("WriteAt(%d, %d) = %d, %v", n, off, got, err)
				}
			case 3:
				clear(want[off : off+n])
				if err := dev.(Zeroer).Zero(off, n, true); err != nil {
					t.Fatalf("Zero(%d, %d): %v", off, n, err)
				}
			case 4:
				if err := dev.Sync(); err != nil {
					t.Fatal(err)
				}
			case 5:
				got := make([]byte, n)
				if k, err := dev.ReadAt(got, off); k != int(n) || err != nil && err != io.EOF {
					t.Fatalf("ReadAt(%d, %d) = %d, %v", n, off, k, err)
				}
				if !bytes.Equal(got, want[off:off+n]) {
					t.Fatalf("ReadAt(%d, %d) differs", n, off)
				}
			}
		}
		got := make([]byte, size)
		if _, err := io.ReadFull(io.NewSectionReader(dev, 0, size), got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("contents differ: %v", err)
		}
		if m, ok := dev.(Mapper); ok {
			checkExtents(t, m, want)
		}
	})
}

// checkExtents walks the map: it ends where the device does, and what it says
// is zero is zero.
func checkExtents(t *testing.T, m Mapper, want []byte) {
	t.Helper()
	for off := int64(0); off < int64(len(want)); {
		extents, err := m.Extents(off, int64(len(want))-off)
		if err != nil || len(extents) == 0 {
			t.Fatalf("Extents(%d) = %v, %v", off, extents, err)
		}
		for _, e := range extents {
			if e.Length <= 0 || e.Length > int64(len(want))-off {
				t.Fatalf("extent of %d bytes at %d of %d", e.Length, off, len(want))
			}
			if part := want[off : off+e.Length]; e.Zero && !bytes.Equal(part, make([]byte, len(part))) {
				t.Errorf("%d bytes at %d are said to be zero", e.Length, off)
			}
			off += e.Length
		}
	}
}

func TestBounds(t *testing.T) {
	const size = 8192
	cases := []struct {
		off, n, fit int64
	}{{0, size, size}, {size, 0, 0}, {size - 100, 100, 100}, {size - 100, 101, 100}, {0, size + 1, size},
		{size, 1, 0}, {size + 512, 512, 0}, {-1, 10, 0}, {-512, 1024, 0}, {1<<63 - 1, 100, 0}}
	each(t, size, func(t *testing.T, dev Device) {
		if got := dev.Size(); got != size {
			t.Fatalf("size %d", got)
		}
		for _, c := range cases {
			name := fmt.Sprintf("%d at %d", c.n, c.off)
			n, err := dev.WriteAt(bytes.Repeat([]byte{7}, int(c.n)), c.off)
			if int64(n) != c.fit || (err == nil) != (c.fit == c.n) || err != nil && !errors.Is(err, ErrRange) {
				t.Errorf("write %s = %d, %v; want %d", name, n, err, c.fit)
			}
			n, err = dev.ReadAt(make([]byte, c.n), c.off)
			if int64(n) != c.fit || c.fit < c.n && err == nil || c.fit == c.n && err != nil && err != io.EOF {
				t.Errorf("read %s = %d, %v; want %d", name, n, err, c.fit)
			}
			if c.fit < c.n {
				for op, err := range map[string]error{"zero": dev.(Zeroer).Zero(c.off, c.n, true), "discard": dev.(Discarder).Discard(c.off, c.n)} {
					if !errors.Is(err, ErrRange) {
						t.Errorf("%s %s: %v", op, name, err)
					}
				}
			}
		}
		if got := dev.Size(); got != size {
			t.Errorf("a write made the device %d bytes long", got)
		}
	})
}

// Concurrent writes of one range leave one of them in each sector.
func TestConcurrentWrites(t *testing.T) {
	each(t, 8192, func(t *testing.T, dev Device) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if _, err := dev.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, 8192), 0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got := make([]byte, 8192)
		if _, err := dev.ReadAt(got, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		for off := 0; off < len(got); off += sectorSize {
			if s := got[off : off+sectorSize]; s[0] == 0 || !bytes.Equal(s, bytes.Repeat(s[:1], sectorSize)) {
				t.Errorf("the sector at %d is a mixture", off)
			}
		}
	})
}

func TestMemExtents(t *testing.T) {
	m := NewMem(10 * pageSize)
	for _, off := range []int64{2*pageSize + 5, 3 * pageSize, 7 * pageSize} {
		if _, err := m.WriteAt([]byte{1}, off); err != nil {
			t.Fatal(err)
		}
	}
	got, err := m.Extents(100, 9*pageSize)
	want := []Extent{{2*pageSize - 100, true, true}, {2 * pageSize, false, false}, {3 * pageSize, true, true},
		{pageSize, false, false}, {pageSize + 100, true, true}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestMemResize(t *testing.T) {
	m := NewMemBytes(bytes.Repeat([]byte{1}, 3*pageSize))
	m.Resize(pageSize + 10)
	m.Resize(3 * pageSize)
	got := make([]byte, 3*pageSize)
	want := append(bytes.Repeat([]byte{1}, pageSize+10), make([]byte, 2*pageSize-10)...)
	if _, err := m.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("bytes cut off came back: %v", err)
	}
}
