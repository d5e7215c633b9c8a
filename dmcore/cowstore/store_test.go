package cowstore

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// commitNext allocates for each of olds and commits all at once.
func commitNext(t testing.TB, s *Store, olds ...uint64) []Exception {
	t.Helper()
	ex := make([]Exception, len(olds))
	for i, old := range olds {
		new, err := s.Allocate()
		must(t, err)
		ex[i] = Exception{old, new}
	}
	must(t, s.Commit(ex))
	return ex
}

func count(from, n uint64) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = from + uint64(i)
	}
	return out
}

// What a fresh store is, for each chunk size lvm2 makes.
func TestFormat(t *testing.T) {
	for chunk := dmcore.Sectors(8); chunk <= 1024; chunk *= 2 {
		dev := blockdev.NewMem(8 << 20)
		s, err := Open(dev, chunk)
		must(t, err)
		if got, want := s.Usage(), (dmcore.SnapshotStatus{Allocated: 2 * chunk, Total: 16384, Metadata: 2 * chunk}); got != want {
			t.Errorf("chunk %d: usage %v, want %v", chunk, got, want)
		}
		want := []byte{'S', 'n', 'A', 'p', 1, 0, 0, 0, 1, 0, 0, 0, byte(chunk), byte(chunk >> 8), 0, 0}
		if got := contents(t, dev)[:16]; !slices.Equal(got, want) {
			t.Errorf("chunk %d: header % x, want % x", chunk, got, want)
		}
		if got, valid, ex, err := Read(dev); got != chunk || !valid || len(ex) != 0 || err != nil {
			t.Errorf("chunk %d: Read = %d, %t, %v, %v", chunk, got, valid, ex, err)
		}
		ex := commitNext(t, s, 10, 30, 50, 70)
		if diff := cmp.Diff([]Exception{{10, 2}, {30, 3}, {50, 4}, {70, 5}}, ex); diff != "" {
			t.Errorf("chunk %d: allocated (-want +got)\n%s", chunk, diff)
		}
		if again, err := Open(dev, 8); err != nil || again.ChunkSize() != chunk || again.Usage() != s.Usage() || again.Len() != 4 {
			t.Errorf("chunk %d: reopened: %v", chunk, err)
		}
	}
	for _, chunk := range []dmcore.Sectors{1, 4, 7, 9, 24, 2048, 1 << 40} {
		dev := blockdev.NewMem(8 << 20)
		_, err := Open(dev, chunk)
		if ferr := Format(dev, chunk); !errors.Is(err, dmcore.ErrInvalid) || !errors.Is(ferr, dmcore.ErrInvalid) {
			t.Errorf("chunk %d: %v, %v", chunk, err, ferr)
		}
	}
	if s, err := Open(blockdev.NewMem(8<<20), 0); err != nil || s.ChunkSize() != 32 {
		t.Errorf("chunk size 0: %v", err)
	}
	if _, err := Open(blockdev.NewMem(8192), 8); !errors.Is(err, ErrFull) {
		t.Errorf("a device of two chunks: %v", err)
	}
	if chunk, valid, ex, err := Read(blockdev.NewMem(8192)); chunk != 0 || !valid || len(ex) != 0 || err != nil {
		t.Errorf("Read of a new device = %d, %t, %v, %v", chunk, valid, ex, err)
	}
}

// Allocate gives every data chunk once, and stops where the kernel must: with
// 1+k*(epa+1) chunks the last one has no area behind it.
func TestAllocateToTheEnd(t *testing.T) {
	const epa = 256
	for _, chunks := range []int64{3, 100, 257, 258, 259, 260, 514, 515, 516, 517, 1 + 3*(epa+1)} {
		dev := blockdev.NewMem(chunks*4096 + 4095) // a part of a chunk is none
		s, err := Open(dev, 8)
		must(t, err)
		want := chunks - 1 - (chunks+epa-1)/(epa+1) // less the header and the areas
		if (chunks-1)%(epa+1) == 0 {
			want--
		}
		var got []uint64
		for {
			c, err := s.Allocate()
			if errors.Is(err, ErrFull) {
				break
			}
			must(t, err)
			got = append(got, c)
		}
		if int64(len(got)) != want {
			t.Errorf("%d chunks: allocated %d, want %d", chunks, len(got), want)
		}
		for i, c := range got {
			if c < 2 || c >= uint64(chunks) || c%257 == 1 || i > 0 && c <= got[i-1] {
				t.Errorf("%d chunks: allocated %d after %d", chunks, c, got[:i])
			}
		}
		for i, c := range got {
			must(t, s.Commit([]Exception{{uint64(i), c}}))
		}
		again, err := Open(dev, 8)
		must(t, err)
		if _, err := again.Allocate(); again.Len() != len(got) || !errors.Is(err, ErrFull) {
			t.Errorf("%d chunks: %d exceptions after opening, want %d; Allocate: %v", chunks, again.Len(), len(got), err)
		}
		dev.Resize((chunks + 2) * 4096)
		for _, s := range []*Store{s, again} {
			if c, err := s.Allocate(); err != nil || c <= got[len(got)-1] || c%257 == 1 {
				t.Errorf("%d chunks, grown by two: Allocate = %d, %v", chunks, c, err)
			}
		}
	}
}

func TestCommitRefuses(t *testing.T) {
	dev := blockdev.NewMem(8 << 20)
	s, err := Open(dev, 8)
	must(t, err)
	commitNext(t, s, 1, 2, 3)
	a, err := s.Allocate()
	must(t, err)
	b, err := s.Allocate()
	must(t, err)
	before := contents(t, dev)
	for name, ex := range map[string][]Exception{
		"a chunk not allocated":   {{9, b + 1}},
		"a chunk committed":       {{9, 2}},
		"the header":              {{9, 0}},
		"an area":                 {{9, 258}},
		"an exception twice":      {{9, a}, {9, b}},
		"a chunk twice":           {{9, a}, {10, a}},
		"an exception that is":    {{2, a}},
		"an impossible origin":    {{1 << 60, a}},
		"the second of two wrong": {{9, a}, {1, b}},
	} {
		if err := s.Commit(ex); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !slices.Equal(before, contents(t, dev)) {
		t.Error("a commit that was refused wrote")
	}
	for _, n := range []int{-1, 4} {
		if err := s.DropTail(n); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("DropTail(%d): %v", n, err)
		}
	}
	must(t, s.Commit([]Exception{{9, a}, {10, b}}))
	if s.Len() != 5 {
		t.Errorf("%d exceptions, want 5", s.Len())
	}
}

func TestInvalidate(t *testing.T) {
	dev := blockdev.NewMem(8 << 20)
	s, err := Open(dev, 8)
	must(t, err)
	commitNext(t, s, 1, 2, 3)
	new, err := s.Allocate()
	must(t, err)
	must(t, s.Invalidate())
	again, err := Open(dev, 8)
	must(t, err)
	for _, s := range []*Store{s, again} {
		_, aerr := s.Allocate()
		for _, err := range []error{aerr, s.Commit([]Exception{{9, new}}), s.DropTail(1)} {
			if !errors.Is(err, ErrInvalidated) {
				t.Errorf("an invalid store: %v", err)
			}
		}
		if s.Valid() || s.Usage().String() != "Invalid" {
			t.Errorf("valid %t, usage %v", s.Valid(), s.Usage())
		}
	}
	if again.Len() != 0 {
		t.Errorf("%d exceptions of an invalid store", again.Len())
	}
	if chunk, valid, ex, err := Read(dev); chunk != 8 || valid || len(ex) != 0 || err != nil {
		t.Errorf("Read = %d, %t, %v, %v", chunk, valid, ex, err)
	}
	must(t, Format(dev, 16)) // a new life
	if s, err := Open(dev, 8); err != nil || !s.Valid() || s.Len() != 0 || s.ChunkSize() != 16 {
		t.Errorf("formatted anew: %v", err)
	}
}

// What is damaged is refused, by Open and by Read, and left as it is.
func TestCorrupt(t *testing.T) {
	whole := contents(t, golden(t))
	le := binary.LittleEndian
	pair := func(b []byte, i int, e Exception) { putException(b[4096:], uint64(i), e) }
	for name, damage := range map[string]func(b []byte) []byte{
		"no magic":            func(b []byte) []byte { copy(b, "snAP"); return b },
		"version 0":           func(b []byte) []byte { le.PutUint32(b[8:], 0); return b },
		"version 2":           func(b []byte) []byte { le.PutUint32(b[8:], 2); return b },
		"chunk size 0":        func(b []byte) []byte { le.PutUint32(b[12:], 0); return b },
		"chunk size 12":       func(b []byte) []byte { le.PutUint32(b[12:], 12); return b },
		"chunk size 1 GiB":    func(b []byte) []byte { le.PutUint32(b[12:], 1<<21); return b },
		"chunk size 2^31":     func(b []byte) []byte { le.PutUint32(b[12:], 1<<31); return b },
		"half a header":       func(b []byte) []byte { return b[:100] },
		"nothing":             func(b []byte) []byte { return nil },
		"cut in area 0":       func(b []byte) []byte { return b[:8000] },
		"cut before area 1":   func(b []byte) []byte { return b[:258*4096] },
		"cut before data":     func(b []byte) []byte { return b[:265*4096] },
		"points at header":    func(b []byte) []byte { pair(b, 3, Exception{5, 1}); return b },
		"points at area 1":    func(b []byte) []byte { pair(b, 3, Exception{5, 258}); return b },
		"points past the end": func(b []byte) []byte { pair(b, 3, Exception{5, 1024}); return b },
		"points far":          func(b []byte) []byte { pair(b, 3, Exception{5, 1 << 63}); return b },
		"origin far":          func(b []byte) []byte { pair(b, 3, Exception{1 << 51, 5}); return b },
		"one origin twice":    func(b []byte) []byte { pair(b, 3, Exception{100, 5}); return b },
		"one chunk twice":     func(b []byte) []byte { pair(b, 3, Exception{5, 9}); return b },
	} {
		b := damage(slices.Clone(whole))
		dev := blockdev.NewMemBytes(b)
		if _, _, _, err := Read(dev); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Read: %v", name, err)
		}
		if _, err := Open(dev, 8); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Open: %v", name, err)
		}
		if !slices.Equal(b, contents(t, dev)) {
			t.Errorf("%s: it was changed", name)
		}
	}
}

// Older kernels committed out of order and leaked chunks; that is no damage.
func TestReadPermuted(t *testing.T) {
	dev := golden(t)
	area := make([]byte, 4096)
	want := []Exception{{100, 5}, {101, 3}, {102, 9}, {7, 2}}
	for i, e := range want {
		putException(area, uint64(i), e)
	}
	must(t, writeSync(dev, area, 4096))
	s, err := Open(dev, 8)
	must(t, err)
	slices.Reverse(want)
	if diff := cmp.Diff(want, s.Tail(100)); diff != "" {
		t.Errorf("tail (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want[:2], s.Tail(2)); diff != "" {
		t.Errorf("tail of two (-want +got)\n%s", diff)
	}
	if new, err := s.Allocate(); new != 10 || err != nil {
		t.Errorf("Allocate = %d, %v; want 10", new, err)
	}
}

// Lookups run beside commits and drops: what was committed before is found all
// the time, what comes and goes is found right or not at all.
func TestLookupBesideCommit(t *testing.T) {
	s, err := Open(blockdev.NewMem(64<<20), 8)
	must(t, err)
	const stay, come = 1000, 3000
	at := map[uint64]uint64{}
	for _, e := range commitNext(t, s, count(0, stay)...) {
		at[e.Old] = e.New
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for r := range 3 {
		wg.Go(func() {
			for i := uint64(r); ; i++ {
				old := i * 7919 % (stay + come)
				new, ok := s.Lookup(old)
				if old < stay && (!ok || new != at[old]) || ok && (new < 2 || s.g.isArea(new)) {
					t.Errorf("Lookup(%d) = %d, %t", old, new, ok)
					return
				}
				s.Usage()
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range 3 {
		for i := uint64(0); i < come; i += 300 {
			commitNext(t, s, count(stay+i, 300)...)
		}
		must(t, s.DropTail(come))
	}
	close(done)
	wg.Wait()
	if s.Len() != stay {
		t.Errorf("%d exceptions, want %d", s.Len(), stay)
	}
}

// A commit costs two syncs and a write for each area it touches; a drop one
// sync, or two.
func TestCost(t *testing.T) {
	dev := blockdev.NewCrash(8 << 20)
	s, err := Open(dev, 8)
	must(t, err)
	next := uint64(0)
	for i, c := range []struct{ add, drop, ops int }{
		{add: 1, ops: 3}, {add: 100, ops: 3}, {drop: 1, ops: 2}, {add: 156, ops: 4}, // area 0 is full
		{add: 600, ops: 5}, {drop: 10, ops: 2}, {drop: 300, ops: 4},
	} {
		before := dev.Ops()
		if c.add > 0 {
			commitNext(t, s, count(next, uint64(c.add))...)
			next += uint64(c.add)
		} else {
			must(t, s.DropTail(c.drop))
		}
		if got := dev.Ops() - before; got != c.ops {
			t.Errorf("step %d, %d exceptions: %d writes and syncs, want %d", i, s.Len(), got, c.ops)
		}
	}
}
