package userspace_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// tree is an origin of 64 KiB with a snapshot s in chunks of 4 KiB, over one
// device in memory.
func tree(t *testing.T) (*rig, *blockdev.Mem) {
	r := newRig(t)
	pv := blockdev.NewMem(1 << 20)
	r.files["pv"] = pv
	real := r.device("o-real", "0 128 linear pv 0")
	cow := r.device("s-cow", "0 512 linear pv 128")
	r.device("s", fmt.Sprintf("0 128 snapshot %s %s P 8", real, cow))
	r.device("o", fmt.Sprintf("0 128 snapshot-origin %s", real))
	t.Cleanup(func() {
		if err := r.m.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, pv
}

func TestHandleWantsWholeSectors(t *testing.T) {
	r, _ := tree(t)
	h := r.handle("o")
	for _, c := range []struct{ off, n int64 }{{1, 512}, {0, 100}, {511, 1}, {-512, 512}} {
		for what, err := range map[string]error{
			"read":    second(h.ReadAt(make([]byte, c.n), c.off)),
			"write":   second(h.WriteAt(make([]byte, c.n), c.off)),
			"zero":    h.Zero(c.off, c.n, true),
			"discard": h.Discard(c.off, c.n),
			"extents": second(h.Extents(c.off, c.n)),
		} {
			if !errors.Is(err, dmcore.ErrInvalid) {
				t.Errorf("%s of %d bytes at %d: %v, want %v", what, c.n, c.off, err, dmcore.ErrInvalid)
			}
		}
	}
	if n, err := h.ReadAt(nil, 0); n != 0 || err != nil {
		t.Errorf("empty read: %d, %v", n, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestHandleAfterClose(t *testing.T) {
	r, _ := tree(t)
	h := r.handle("o")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"close":   h.Close(),
		"read":    second(h.ReadAt(make([]byte, 512), 0)),
		"write":   second(h.WriteAt(make([]byte, 512), 0)),
		"sync":    h.Sync(),
		"extents": second(h.Extents(0, 512)),
	} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: %v, want %v", what, err, fs.ErrClosed)
		}
	}
	if _, err := r.m.Open("nobody", true); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, dmcore.ErrNotFound) {
		t.Errorf("open of no device: %v", err)
	}
}

func TestReadOnlyHandle(t *testing.T) {
	r, _ := tree(t)
	h, err := r.m.Open("o", true)
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"write":   second(h.WriteAt(make([]byte, 512), 0)),
		"zero":    h.Zero(0, 512, false),
		"discard": h.Discard(0, 512),
	} {
		if !errors.Is(err, dmcore.ErrReadOnly) {
			t.Errorf("%s: %v, want %v", what, err, dmcore.ErrReadOnly)
		}
	}
	if !h.ReadOnly() {
		t.Error("the handle does not say that it is read-only")
	}
}

// TestZeroAndDiscard: what goes to files goes through linear, zeroing an origin
// copies out first, and what no snapshot can do is unsupported.
func TestZeroAndDiscard(t *testing.T) {
	r, pv := tree(t)
	data := bytes.Repeat([]byte{0xaa}, 64<<10)
	o, s, real := r.handle("o"), r.handle("s"), r.handle("o-real")
	if _, err := o.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := o.Zero(8<<10, 4<<10, true); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64<<10)
	pv.ReadAt(got, 0)
	want := bytes.Clone(data)
	clear(want[8<<10 : 12<<10])
	if !bytes.Equal(got, want) {
		t.Error("the origin was not zeroed")
	}
	if _, err := s.ReadAt(got, 0); err != nil || !bytes.Equal(got, make([]byte, 64<<10)) {
		t.Errorf("the snapshot changed, or %v", err)
	}
	for what, err := range map[string]error{
		"discard of an origin":  o.Discard(0, 4096),
		"discard of a snapshot": s.Discard(0, 4096),
		"zero of a snapshot":    s.Zero(0, 4096, true),
	} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v, want %v", what, err, errors.ErrUnsupported)
		}
	}
	if err := real.Discard(0, 4096); err != nil {
		t.Errorf("discard through linear: %v", err)
	}
	if err := o.Zero(60<<10, 8<<10, true); !errors.Is(err, dmcore.ErrIO) {
		t.Errorf("zero past the end: %v, want %v", err, dmcore.ErrIO)
	}
}

// extents asks until all is told and joins what is alike.
func extents(t *testing.T, d blockdev.Mapper, n int64) (out []blockdev.Extent) {
	for off := int64(0); off < n; {
		list, err := d.Extents(off, n-off)
		if err != nil || len(list) == 0 {
			t.Fatalf("extents at %d: %v, %v", off, list, err)
		}
		for _, e := range list {
			off += e.Length
			if k := len(out); k > 0 && out[k-1].Hole == e.Hole && out[k-1].Zero == e.Zero {
				out[k-1].Length += e.Length
				continue
			}
			out = append(out, e)
		}
	}
	return out
}

func TestExtents(t *testing.T) {
	r, _ := tree(t)
	o, s := r.handle("o"), r.handle("s")
	page := make([]byte, 4096)
	hole := func(n int64) blockdev.Extent { return blockdev.Extent{Length: n, Hole: true, Zero: true} }
	data := func(n int64) blockdev.Extent { return blockdev.Extent{Length: n} }
	if _, err := s.WriteAt(page, 16<<10); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]blockdev.Extent{hole(16 << 10), data(4 << 10), hole(44 << 10)}, extents(t, s, 64<<10)); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	if _, err := o.WriteAt(page, 32<<10); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]blockdev.Extent{hole(32 << 10), data(4 << 10), hole(28 << 10)}, extents(t, o, 64<<10)); diff != "" {
		t.Errorf("origin (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]blockdev.Extent{hole(16 << 10), data(4 << 10), hole(12 << 10), data(4 << 10), hole(28 << 10)}, extents(t, s, 64<<10)); diff != "" {
		t.Errorf("snapshot after a write to the origin (-want +got):\n%s", diff)
	}
	r.device("z", "0 128 zero")
	if diff := cmp.Diff([]blockdev.Extent{hole(64 << 10)}, extents(t, r.handle("z"), 64<<10)); diff != "" {
		t.Errorf("zero (-want +got):\n%s", diff)
	}
}

// TestNoAllocations: I/O that makes no exceptions allocates nothing.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r, _ := tree(t)
	o, s := r.handle("o"), r.handle("s")
	p := make([]byte, 8192)
	for _, h := range []interface {
		WriteAt([]byte, int64) (int, error)
	}{o, s} {
		if _, err := h.WriteAt(p, 4096); err != nil {
			t.Fatal(err)
		}
	}
	for what, f := range map[string]func() (int, error){
		"read of the origin":        func() (int, error) { return o.ReadAt(p, 0) },
		"rewrite of the origin":     func() (int, error) { return o.WriteAt(p, 4096) },
		"read of a snapshot":        func() (int, error) { return s.ReadAt(p, 0) },
		"rewrite of a snapshot":     func() (int, error) { return s.WriteAt(p, 4096) },
		"read of unchanged chunks":  func() (int, error) { return s.ReadAt(p, 32<<10) },
		"read of a part of a chunk": func() (int, error) { return s.ReadAt(p[:512], 4608) },
	} {
		n := testing.AllocsPerRun(100, func() {
			if _, err := f(); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
