package userspace_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// discarding is a device that remembers what was discarded.
type discarding struct {
	*blockdev.Mem
	mu  sync.Mutex
	log []string
}

func (d *discarding) Discard(off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, fmt.Sprint(off/thinBlock, "+", n/thinBlock))
	return d.Mem.Discard(off, n)
}

func (d *discarding) said() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { d.log = nil }()
	return fmt.Sprint(d.log)
}

// Blocks are discarded below when it is committed that nobody has them, which is
// soon.
func TestThinPassesDiscardsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := &discarding{Mem: blockdev.NewMem(16 * thinBlock)}
		r := bootThin(t, blockdev.NewMem(thinMeta), data, "0")
		r.thin("a", 1, 16)
		r.put("a", 0, 6*thinBlock, 1)
		r.suspend("a")
		r.send(dmcore.CreateThinSnapshot(2, 1))
		r.resume("a")
		r.put("a", 2*thinBlock, thinBlock, 2) // is block 6 now
		h := r.handle("a")
		if err := h.Discard(0, 8*thinBlock); err != nil {
			t.Fatal(err)
		}
		if got := data.said(); got != "[]" {
			t.Errorf("discarded before a commit: %s", got)
		}
		r.put("a", 9*thinBlock, 512, 3) // commits; the snapshot has all but one
		if got := data.said(); got != "[6+1]" {
			t.Errorf("discarded %s, want block 6", got)
		}
		r.mapThin("s", 2, 16)
		if err := r.handle("s").Discard(thinBlock, 3*thinBlock); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got := data.said(); got != "[1+3]" {
			t.Errorf("discarded %s, want blocks 1 to 3", got)
		}
		r.holds("s", 0, thinBlock, 1)
		r.holds("s", thinBlock, 3*thinBlock, 0)
		r.put("s", thinBlock, 6*thinBlock, 4) // may take them again
		r.holds("s", thinBlock, 6*thinBlock, 4)
		checkThin(t, r.files["meta"])
	})
}

// Blocks that two devices shared, and that both let go before a commit, are discarded
// once: after that they may be somebody's again.
func TestThinDiscardsWhatWasSharedOnce(t *testing.T) {
	data := &discarding{Mem: blockdev.NewMem(16 * thinBlock)}
	r := bootThin(t, blockdev.NewMem(thinMeta), data, "0")
	r.thin("a", 1, 16)
	r.put("a", 0, 6*thinBlock, 1)
	r.suspend("a")
	r.send(dmcore.CreateThinSnapshot(2, 1))
	r.resume("a")
	r.mapThin("s", 2, 16)
	for name, n := range map[string]int64{"a": 6, "s": 3} {
		if err := r.handle(name).Discard(thinBlock, n*thinBlock); err != nil {
			t.Fatal(err)
		}
	}
	r.sync("a")
	if got := data.said(); got != "[1+3]" {
		t.Errorf("discarded %s, want blocks 1 to 3, once", got)
	}
	checkThin(t, r.files["meta"])
}

func TestThinZero(t *testing.T) {
	r := newThinRig(t, 16, "0")
	r.thin("a", 1, 16)
	r.put("a", 0, 4*thinBlock, 1)
	h := r.handle("a")
	if err := h.Zero(512, 6*thinBlock, true); err != nil {
		t.Fatal(err)
	}
	r.holds("a", 0, 512, 1)
	r.holds("a", 512, 6*thinBlock, 0)
	r.sync("a")
	if s := r.status(); s.UsedData != 1 {
		t.Errorf("%d blocks are mapped, want that with the rest", s.UsedData)
	}
	if err := h.Zero(0, thinBlock, false); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("zeroes that are to take room: %v", err)
	}
	ext, err := h.Extents(0, 16*thinBlock)
	if want := []blockdev.Extent{{Length: thinBlock}}; err != nil || len(ext) != 1 || ext[0] != want[0] {
		t.Errorf("extents %v, %v", ext, err)
	}
	ext, err = h.Extents(thinBlock, 15*thinBlock)
	if want := (blockdev.Extent{Length: 15 * thinBlock, Hole: true, Zero: true}); err != nil || len(ext) != 1 || ext[0] != want {
		t.Errorf("extents %v, %v", ext, err)
	}
}
