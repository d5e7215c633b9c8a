package blockdev

import (
	"bytes"
	"errors"
	"testing"
)

func fill(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func mustWrite(t *testing.T, d Device, b byte, off int64, n int) {
	t.Helper()
	if _, err := d.WriteAt(fill(b, n), off); err != nil {
		t.Fatal(err)
	}
}

func memBytes(t *testing.T, m *Mem) []byte {
	t.Helper()
	b := make([]byte, m.Size())
	if _, err := m.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// Synced writes survive; of the others each sector does or does not, by itself,
// and never a part of one.
func TestCrashClone(t *testing.T) {
	rng := seeded(t)
	c := NewCrash(8192)
	mustWrite(t, c, 1, 0, 8192)
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, c, 2, 256, 2048) // begins and ends within a sector
	mustWrite(t, c, 3, 4096, 1024)

	if got := memBytes(t, c.Clone(rng, 0)); !bytes.Equal(got, fill(1, 8192)) {
		t.Error("keeping nothing: not what was synced")
	}
	all := fill(1, 8192)
	copy(all[256:], fill(2, 2048))
	copy(all[4096:], fill(3, 1024))
	if got := memBytes(t, c.Clone(rng, 100)); !bytes.Equal(got, all) {
		t.Error("keeping all: not what was written")
	}
	var old, new, mixed int
	for range 200 {
		got := memBytes(t, c.Clone(rng, 50))
		kinds := map[byte]bool{}
		for off := 0; off < 8192; off += sectorSize {
			isOld := bytes.Equal(got[off:off+sectorSize], fill(1, sectorSize))
			if !isOld && !bytes.Equal(got[off:off+sectorSize], all[off:off+sectorSize]) {
				t.Fatalf("the sector at %d is neither old nor new", off)
			}
			if off >= 512 && off < 2048 {
				kinds[got[off]] = true
			}
		}
		switch {
		case len(kinds) == 2:
			mixed++
		case kinds[1]:
			old++
		default:
			new++
		}
	}
	if old == 0 || new == 0 || mixed == 0 {
		t.Errorf("of 200 cuts %d left the old, %d the new, %d a part of a write of three sectors; want some of each", old, new, mixed)
	}
}

// What was written in a range that was synced survives, newest last; what a
// write left outside of it is in danger as before.
func TestCrashSyncRange(t *testing.T) {
	rng := seeded(t)
	c := NewCrash(8192)
	mustWrite(t, c, 1, 0, 2048)
	mustWrite(t, c, 2, 1024, 4096)
	mustWrite(t, c, 3, 6144, 512)
	if err := c.SyncRange(512, 3584); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 8192)
	copy(want[512:], fill(1, 512))
	copy(want[1024:], fill(2, 3072))
	if got := memBytes(t, c.Clone(rng, 0)); !bytes.Equal(got, want) {
		t.Error("keeping nothing else: not what was synced")
	}
	copy(want, fill(1, 1024))
	copy(want[1024:], fill(2, 4096))
	copy(want[6144:], fill(3, 512))
	if got := memBytes(t, c.Clone(rng, 100)); !bytes.Equal(got, want) {
		t.Error("keeping all: not what was written")
	}
	c.FailAt(1, errors.New("no"))
	if err := c.SyncRange(0, 8192); err == nil || bytes.Equal(memBytes(t, c.Clone(rng, 0)), want) {
		t.Errorf("a sync that failed (%v) made all durable", err)
	}
	if err := c.SyncRange(4096, 4097); !errors.Is(err, ErrRange) {
		t.Errorf("past the end: %v", err)
	}
}

// A part of a device is synced wherever it lies.
func TestSyncRange(t *testing.T) {
	each(t, 3*4096, func(t *testing.T, dev Device) {
		mustWrite(t, dev, 7, 0, 3*4096)
		for _, r := range [][2]int64{{0, 0}, {0, 512}, {4096, 4096}, {4608, 5000}, {0, 3 * 4096}} {
			if err := SyncRange(dev, r[0], r[1]); err != nil {
				t.Errorf("%d bytes at %d: %v", r[1], r[0], err)
			}
		}
	})
}

// CutAt enumerates: with the cut at n, n-1 operations succeed, the n-th is in
// flight, and nothing reaches the device after.
func TestCrashCutAt(t *testing.T) {
	rng := seeded(t)
	script := func(a, b *Crash) (done int, err error) {
		for _, op := range []func() error{
			func() error { _, err := a.WriteAt(fill(1, 512), 0); return err },
			func() error { _, err := b.WriteAt(fill(2, 512), 0); return err },
			a.Sync, b.Sync,
			func() error { return a.Zero(0, 512, true) },
		} {
			if err := op(); err != nil {
				return done, err
			}
			done++
		}
		return done, nil
	}
	durable := []string{"00", "00", "00", "10", "12", "12"} // of a and b, by operations done
	reached := []string{"10", "12", "12", "12", "02", "02"}
	for n := 1; ; n++ {
		var p Power
		a, b := NewCrashOn(&p, NewMem(512)), NewCrashOn(&p, NewMem(512))
		p.CutAt(n)
		done, err := script(a, b)
		state := func(keep int) string {
			return string([]byte{'0' + memBytes(t, a.Clone(rng, keep))[0], '0' + memBytes(t, b.Clone(rng, keep))[0]})
		}
		if done != n-1 && err != nil || state(0) != durable[done] || state(100) != reached[done] {
			t.Errorf("cut at %d: %d done, %v; durable %s, reached %s; want %s, %s", n, done, err, state(0), state(100), durable[done], reached[done])
		}
		if err == nil {
			if p.Ops() != n-1 {
				t.Errorf("%d operations, want %d", p.Ops(), n-1)
			}
			return
		}
		before := state(100)
		_, werr := a.WriteAt(fill(9, 512), 0)
		_, rerr := a.ReadAt(make([]byte, 1), 0)
		for _, err := range []error{err, werr, rerr, a.Sync()} {
			if !errors.Is(err, ErrPowerCut) {
				t.Errorf("after the cut at %d: %v", n, err)
			}
		}
		if state(100) != before {
			t.Errorf("cut at %d: a write after the cut reached the device", n)
		}
	}
}

func TestCrashFailAt(t *testing.T) {
	c := NewCrash(512)
	boom := errors.New("boom")
	c.FailAt(2, boom)
	mustWrite(t, c, 1, 0, 512)
	if err := c.Sync(); err != boom {
		t.Errorf("the second operation gave %v", err)
	}
	if got := memBytes(t, c.Clone(seeded(t), 0)); got[0] != 0 {
		t.Error("a sync that failed made a write durable")
	}
	if err := c.Sync(); err != nil {
		t.Errorf("the third operation gave %v", err)
	}
	if got := memBytes(t, c.Clone(seeded(t), 0)); got[0] != 1 {
		t.Error("a sync made nothing durable")
	}
}
