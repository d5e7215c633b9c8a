package cowstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// seeded returns a random source, and prints its seed should the test fail.
func seeded(t testing.TB) *rand.Rand {
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

// world is a store on a device that can crash, the list it must hold, and the
// data its exceptions must point at. Each sector of a chunk begins with a number
// that no other chunk ever had.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	dev   *blockdev.Crash
	chunk dmcore.Sectors
	s     *Store
	list  []Exception       // certain
	more  []Exception       // what a commit or drop that failed leaves in doubt: list, then any first part of it
	data  map[uint64]uint64 // what chunks of the COW device hold; of those in doubt, should they be in the list
	mark  uint64
}

// newWorld makes a device full of old data but for the first sector, which says
// that it is to become a store.
func newWorld(t *testing.T, rng *rand.Rand, chunks int64, chunk dmcore.Sectors) *world {
	b := bytes.Repeat([]byte{0xa5}, int(chunks*chunk.Bytes()))
	clear(b[:dmcore.SectorSize])
	dev := blockdev.NewCrashOn(new(blockdev.Power), blockdev.NewMemBytes(b))
	return &world{t: t, rng: rng, dev: dev, chunk: chunk, data: map[uint64]uint64{}}
}

// copy returns a world of its own, as it is after a clean end.
func (w *world) copy() *world {
	c := *w
	c.data = maps.Clone(w.data)
	c.powerOn(0)
	return &c
}

// powerOn goes on with what a power cut left, keeping that much of what was not
// synced.
func (w *world) powerOn(keepPercent int) {
	w.dev = blockdev.NewCrashOn(new(blockdev.Power), w.dev.Clone(w.rng, keepPercent))
	w.s = nil
}

// open opens the store and compares it with the model.
func (w *world) open() error {
	w.t.Helper()
	s, err := Open(w.dev, w.chunk)
	if err != nil {
		return err
	}
	w.s = s
	all := append(w.list[:len(w.list):len(w.list)], w.more...)
	n := s.Len()
	if n < len(w.list) || n > len(all) {
		w.t.Fatalf("the store has %d exceptions, want %d to %d", n, len(w.list), len(all))
	}
	w.list, w.more = all[:n], nil
	w.check()
	return nil
}

// check compares the open store with the model: list, lookups, data.
func (w *world) check() {
	w.t.Helper()
	s := w.s
	tail := s.Tail(len(w.list) + 1)
	if s.Len() != len(w.list) || len(tail) != len(w.list) {
		w.t.Fatalf("the store has %d exceptions, its tail %d; want %d", s.Len(), len(tail), len(w.list))
	}
	b := make([]byte, w.chunk.Bytes())
	for i, e := range w.list {
		if got := tail[len(tail)-1-i]; got != e {
			w.t.Fatalf("exception %d of %d is %v, want %v", i, len(w.list), got, e)
		}
		if got, ok := s.Lookup(e.Old); !ok || got != e.New {
			w.t.Fatalf("Lookup(%d) = %d, %t; want %d", e.Old, got, ok, e.New)
		}
		if err := readFull(w.dev, b, s.g.offset(e.New)); err != nil {
			w.t.Fatal(err)
		}
		want := w.data[e.New]
		for j := 0; j < len(b); j += dmcore.SectorSize {
			if got := binary.LittleEndian.Uint64(b[j:]); got != want {
				w.t.Fatalf("exception %d of %d, %v: byte %d of the data is of write %d, want %d", i, len(w.list), e, j, got, want)
			}
		}
	}
	for _, old := range w.unused(20) {
		if got, ok := s.Lookup(old); ok {
			w.t.Fatalf("Lookup(%d) = %d; want none", old, got)
		}
	}
}

// unused picks n chunks of the origin that have no exception.
func (w *world) unused(n int) []uint64 {
	has := make(map[uint64]bool, len(w.list)+n)
	for _, e := range w.list {
		has[e.Old] = true
	}
	olds := make([]uint64, 0, n)
	for len(olds) < n {
		if old := w.rng.Uint64N(uint64(4 * (len(w.list) + n + 10))); !has[old] {
			has[old] = true
			olds = append(olds, old)
		}
	}
	return olds
}

// commit adds up to n exceptions, fewer if the store is full.
func (w *world) commit(n int) error {
	w.t.Helper()
	ex, err := w.allocate(n)
	if err != nil {
		return err
	}
	if err := w.write(ex); err != nil {
		return err
	}
	w.more = ex
	if w.rng.IntN(2) == 0 {
		if err := w.s.Settle(ex); err != nil {
			return err
		}
	}
	if err := w.s.Commit(ex); err != nil {
		return err
	}
	w.list, w.more = append(w.list, ex...), nil
	return nil
}

// allocate makes up to n exceptions, fewer if the store is full.
func (w *world) allocate(n int) (ex []Exception, err error) {
	for _, old := range w.unused(n) {
		new, err := w.s.Allocate()
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			return nil, err
		}
		ex = append(ex, Exception{old, new})
	}
	return ex, nil
}

// commitTwo adds up to n exceptions in two batches, of which the second is settled
// before the first is committed.
func (w *world) commitTwo(n, first int) error {
	w.t.Helper()
	ex, err := w.allocate(n)
	if err != nil {
		return err
	}
	if err := w.write(ex); err != nil {
		return err
	}
	first = min(first, len(ex))
	batches := [2][]Exception{ex[:first:first], ex[first:]}
	w.more = ex
	for _, b := range batches {
		if err := w.s.Settle(b); err != nil {
			return err
		}
	}
	for _, b := range batches {
		if err := w.s.Commit(b); err != nil {
			return err
		}
		w.list, w.more = append(w.list, b...), w.more[len(b):]
	}
	return nil
}

// write puts data where the exceptions point, a write for each run of chunks.
func (w *world) write(ex []Exception) error {
	for len(ex) > 0 {
		n := 1
		for n < len(ex) && ex[n].New == ex[0].New+uint64(n) {
			n++
		}
		chunk := int(w.chunk.Bytes())
		b := make([]byte, n*chunk)
		for i := range b[:n*chunk/dmcore.SectorSize] {
			sector := i * dmcore.SectorSize
			if sector%chunk == 0 {
				w.mark++
				w.data[ex[sector/chunk].New] = w.mark
			}
			binary.LittleEndian.PutUint64(b[sector:], w.mark)
		}
		if _, err := w.dev.WriteAt(b, w.s.g.offset(ex[0].New)); err != nil {
			return err
		}
		ex = ex[n:]
	}
	return nil
}

// drop takes the last n exceptions away.
func (w *world) drop(n int) error {
	left := len(w.list) - n
	w.more = w.list[left:]
	w.list = w.list[:left:left]
	if err := w.s.DropTail(n); err != nil {
		return err
	}
	w.more = nil
	return nil
}

// Random commits, drops, reopens and power cuts, the latter also while the
// store recovers from the one before.
func TestModel(t *testing.T) {
	rng := seeded(t)
	for _, chunk := range []dmcore.Sectors{8, 16} {
		w := newWorld(t, rng, 1100, chunk)
		epa := int(chunk.Bytes() / exceptionSize)
		cuts := 0
		for range 60 {
			cut := rng.IntN(3) == 0
			if cut {
				w.dev.CutAt(1 + rng.IntN(15))
			}
			err := w.open()
			for range rng.IntN(8) {
				if err != nil {
					break
				}
				switch rng.IntN(9) {
				case 0:
					err = w.drop(rng.IntN(len(w.list) + 1))
				case 1, 2:
					err = w.drop(rng.IntN(min(len(w.list), 30) + 1))
				case 3:
					err = w.commit(rng.IntN(3 * epa))
				case 4: // exactly up to the end of the area
					err = w.commit(epa - len(w.list)%epa)
				case 5:
					n := rng.IntN(3 * epa)
					err = w.commitTwo(n, rng.IntN(n+1))
				default:
					err = w.commit(rng.IntN(40))
				}
			}
			if err != nil && !errors.Is(err, blockdev.ErrPowerCut) {
				t.Fatal(err)
			}
			if err == nil {
				w.dev.CutAt(0)
				w.check()
				w.powerOn(0) // everything that returned is durable
			} else {
				cuts++
				w.powerOn(rng.IntN(5) * 25)
			}
		}
		if cuts == 0 {
			t.Error("no power cut")
		}
	}
}
