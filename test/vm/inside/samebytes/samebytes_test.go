package samebytes

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"cowhand/dmcore"
)

const originSize = 8 << 20

// fill is how much of the store is used: exceptions for so many chunks, of as
// many as it has room for.
type fill struct {
	name string
	of   func(room int) int
}

var fills = []fill{
	{"empty", func(int) int { return 0 }},
	{"part", func(room int) int { return room/2 + 1 }},
	{"full", func(room int) int { return room }},
}

// rooms is how many exceptions a store has room for, by chunk size in KiB: for
// small chunks more than one area of its list (drivers/md/dm-snap-persistent.c),
// and never whole areas alone.
var rooms = []struct{ chunkKiB, room int }{{4, 300}, {16, 150}, {64, 40}, {256, 20}, {512, 10}}

// A store is filled on one side, used on the other, written there too, and merged
// by the first.
func TestSameBytesKernelFirst(t *testing.T)    { all(t, true) }
func TestSameBytesUserspaceFirst(t *testing.T) { all(t, false) }

func all(t *testing.T, kernelFirst bool) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("COWHAND_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, r := range rooms {
		for _, f := range fills {
			t.Run(fmt.Sprintf("%dKiB-%s", r.chunkKiB, f.name), func(t *testing.T) {
				if testing.Short() && (r.chunkKiB == 16 || r.chunkKiB == 256) {
					t.Skip("long: the smallest, the largest and one between are tried")
				}
				exchange(t, rng, int64(r.chunkKiB)<<10, r.room, f.of(r.room), kernelFirst)
			})
		}
	}
}

func exchange(t *testing.T, rng *rand.Rand, chunk int64, room, used int, kernelFirst bool) {
	origin := make([]byte, originSize)
	for i := range origin {
		origin[i] = byte(rng.Uint32())
	}
	areas := (room + int(chunk)/16 - 1) / (int(chunk) / 16)
	cowSize := int64(1+areas+room) * chunk
	old := bytes.Repeat([]byte{0xa5}, int(cowSize)) // what the disk held before
	clear(old[:2*chunk])
	originFile, cowFile := image(t, origin), image(t, old)
	one, other := userspaceSide(t, originFile, cowFile), kernelSide(t, originFile, cowFile)
	if kernelFirst {
		one, other = other, one
	}
	w := &world{T: t, rng: rng, chunk: chunk, cowSize: cowSize, origin: origin, snap: bytes.Clone(origin), touched: map[int64]bool{}}

	w.up(one)
	w.touch(one, used*2/3)
	before := w.check(one)
	w.down(one)

	w.up(other)
	if after := w.check(other); after != before {
		t.Errorf("status on %s is %v, on %s it was %v", other.name, after, one.name, before)
	}
	w.touch(other, used-len(w.touched))
	if st := w.check(other); used == room && st.Allocated != st.Total {
		t.Errorf("status %v: the store should be full", st)
	}
	w.down(other)

	w.merge(one)
	got, err := os.ReadFile(originFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, w.snap) {
		t.Error("after the merge the origin's file is not what the snapshot showed")
	}
}

// world is what both devices must hold.
type world struct {
	*testing.T
	rng          *rand.Rand
	chunk        int64
	cowSize      int64
	origin, snap []byte
	touched      map[int64]bool // chunks that have an exception
}

func (w *world) sectors() int64 { return originSize / dmcore.SectorSize }

// below makes the two lower devices.
func (w *world) below(s *side) (real, cow dmcore.Dev) {
	w.Helper()
	real = s.device("real", "0 %d linear %s 0", w.sectors(), s.origin)
	cow = s.device("cow", "0 %d linear %s 0", w.cowSize/dmcore.SectorSize, s.cow)
	return real, cow
}

func (w *world) up(s *side) {
	w.Helper()
	real, cow := w.below(s)
	s.device("snap", "0 %d snapshot %s %s P %d", w.sectors(), real, cow, w.chunk/dmcore.SectorSize)
	s.device("origin", "0 %d snapshot-origin %s", w.sectors(), real)
}

func (w *world) down(s *side) {
	w.Helper()
	s.remove("origin", "snap", "cow", "real")
}

// touch writes to n more chunks, of the origin or of the snapshot.
func (w *world) touch(s *side, n int) {
	w.Helper()
	origin, snap := s.writer("origin"), s.writer("snap")
	for range n {
		c := w.rng.Int64N(originSize / w.chunk)
		for w.touched[c] {
			c = (c + 1) % (originSize / w.chunk)
		}
		w.touched[c] = true
		p := make([]byte, 4096)
		for i := range p {
			p[i] = byte(w.rng.Uint32())
		}
		off := c*w.chunk + w.rng.Int64N(w.chunk/4096)*4096
		dev, held := origin, w.origin
		if w.rng.IntN(2) == 0 {
			dev, held = snap, w.snap
		}
		_, err := dev.WriteAt(p, off)
		s.ok(err)
		copy(held[off:], p)
	}
	s.ok(errors.Join(origin.Sync(), snap.Sync(), origin.Close(), snap.Close()))
}

// check compares both devices with what they must hold, and returns the
// snapshot's status.
func (w *world) check(s *side) dmcore.SnapshotStatus {
	w.Helper()
	for name, want := range map[string][]byte{"origin": w.origin, "snap": w.snap} {
		if !bytes.Equal(s.read(name, originSize), want) {
			w.Errorf("%s: %s differs from what was written", s.name, name)
		}
	}
	return s.status("snap")
}

// merge maps the store as a merge, which shows the snapshot from its first
// moment, and waits for its end.
func (w *world) merge(s *side) {
	w.Helper()
	real, cow := w.below(s)
	s.device("origin", "0 %d snapshot-merge %s %s P %d", w.sectors(), real, cow, w.chunk/dmcore.SectorSize)
	if !bytes.Equal(s.read("origin", originSize), w.snap) {
		w.Errorf("%s: while it merges the origin does not show the snapshot", s.name)
	}
	s.merged("origin")
	s.remove("origin", "cow", "real")
}
