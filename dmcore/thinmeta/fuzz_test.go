package thinmeta

import (
	"errors"
	"math/rand/v2"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// known tells an error that bad metadata may give.
func known(err error) bool {
	return err == nil || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnformatted) ||
		errors.Is(err, dmcore.ErrNotSupported) || errors.Is(err, dmcore.ErrNotFound)
}

// reseal gives every block the checksum of what it seems to be, so that what a
// fuzzer does to it is looked at.
func reseal(b []byte) {
	for nr := uint64(0); int(nr+1)*BlockSize <= len(b); nr++ {
		blk := b[nr*BlockSize:][:BlockSize]
		for _, k := range []kind{superKind, nodeKind, indexKind, bitmapKind} {
			if le.Uint64(blk[8:]) == nr && blk[0] == byte(k) {
				seal(blk, nr, k)
			}
		}
	}
}

// marked puts the kind of each block where its checksum is, for reseal, and
// leaves out all blocks behind the last in use.
func marked(t testing.TB, dev *blockdev.Mem) []byte {
	b := make([]byte, dev.Size())
	_, err := dev.ReadAt(b, 0)
	must(t, err)
	end := 0
	for nr := uint64(0); int(nr+1)*BlockSize <= len(b); nr++ {
		blk := b[nr*BlockSize:][:BlockSize]
		for _, k := range []kind{superKind, nodeKind, indexKind, bitmapKind} {
			if verify(blk, nr, k) == nil {
				blk[0] = byte(k)
				end = int(nr+1) * BlockSize
			}
		}
	}
	return b[:end]
}

// FuzzRead changes a few bytes of sound metadata: nothing reads for ever, and
// all errors are of the metadata.
func FuzzRead(f *testing.F) {
	image := marked(f, golden(f))
	f.Add([]byte{})
	f.Add([]byte{62, 0, 16, 200, 62, 0, 48, 62}) // a node that is below itself
	f.Add([]byte{0, 0, 64, 0xff, 0, 0, 71, 0xff})
	f.Add([]byte{63, 0, 20, 0xff, 17, 0, 24, 1})
	f.Fuzz(func(t *testing.T, edits []byte) {
		b := append([]byte(nil), image...)
		for ; len(edits) >= 4; edits = edits[4:] {
			at := int(edits[0])*BlockSize + int(edits[1])<<8 + int(edits[2])
			if at < len(b) {
				b[at] = edits[3]
			}
		}
		reseal(b)
		dev := blockdev.NewMemBytes(b)
		dev.Resize(4 << 20)
		readAll(t, dev)
	})
}

// FuzzBlocks reads anything.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte{})
	image := marked(f, golden(f))
	f.Add(image[:2*BlockSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		reseal(b)
		readAll(t, blockdev.NewMemBytes(b))
	})
}

// readAll reads all there is and returns whether a check was clean.
func readAll(t *testing.T, dev blockdev.Device) bool {
	rep, err := Check(dev)
	if !known(err) {
		t.Fatalf("check: %v", err)
	}
	clean := err == nil && len(rep.Problems) == 0
	r, err := Read(dev)
	if !known(err) {
		t.Fatalf("read: %v", err)
	}
	if err != nil {
		return false
	}
	for range 2 {
		devices, err := r.Devices()
		if !known(err) || clean && err != nil {
			t.Fatalf("clean %t, devices: %v", clean, err)
		}
		for _, d := range devices[:min(len(devices), 8)] {
			n := uint64(0)
			for run, err := range r.Mappings(d.ID, 0, maxVBlock) {
				if !known(err) || clean && err != nil {
					t.Fatalf("clean %t, device %d: %v", clean, d.ID, err)
				}
				n += run.Length
			}
			if clean && n != d.MappedBlocks {
				t.Fatalf("clean, but device %d has %d blocks mapped, not %d", d.ID, n, d.MappedBlocks)
			}
			for _, err := range r.Diff(devices[0].ID, d.ID) {
				if !known(err) || clean && err != nil {
					t.Fatalf("clean %t, diff: %v", clean, err)
				}
			}
			if _, _, err := r.Lookup(d.ID, 7); !known(err) {
				t.Fatal(err)
			}
			if _, _, err := r.Highest(d.ID); !known(err) {
				t.Fatal(err)
			}
		}
		if r, err = r.Held(); err != nil {
			if !known(err) {
				t.Fatal(err)
			}
			break
		}
	}
	return clean
}

// FuzzChange changes a pool whose metadata was tampered with: nothing runs for
// ever, and metadata in which Check found nothing stays so.
func FuzzChange(f *testing.F) {
	image := marked(f, golden(f))
	f.Add([]byte{}, uint64(1))
	f.Add([]byte{65, 0, 16, 0}, uint64(2)) // counts of 0 for blocks in use
	f.Add([]byte{62, 0, 16, 200}, uint64(3))
	f.Add([]byte{0, 0, 200, 0}, uint64(4))
	f.Fuzz(func(t *testing.T, edits []byte, seed uint64) {
		b := append([]byte(nil), image...)
		for ; len(edits) >= 4; edits = edits[4:] {
			if at := int(edits[0])*BlockSize + int(edits[1])<<8 + int(edits[2]); at < len(b) {
				b[at] = edits[3]
			}
		}
		reseal(b)
		dev := blockdev.NewMemBytes(b)
		dev.Resize(4 << 20)
		rep, err := Check(dev)
		sound := err == nil && rep.Clean() && rep.Miscounted == 0
		p, err := Open(dev, nil)
		if err != nil {
			if !known(err) && !errors.Is(err, dmcore.ErrReadOnly) || sound && !errors.Is(err, dmcore.ErrReadOnly) {
				t.Fatal(err)
			}
			return
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		may := func(err error) {
			if err != nil && !known(err) && !errors.Is(err, ErrMetadataFull) && !errors.Is(err, ErrDataFull) && !errors.Is(err, ErrNeedsCheck) &&
				!errors.Is(err, dmcore.ErrExists) && !errors.Is(err, dmcore.ErrBusy) && !errors.Is(err, dmcore.ErrInvalid) || sound && errors.Is(err, ErrCorrupt) {
				t.Fatalf("sound %t: %v", sound, err)
			}
			if errors.Is(err, ErrCorrupt) {
				may := p.Rollback()
				if !known(may) {
					t.Fatal(may)
				}
			}
		}
		for range 20 {
			id := rng.Uint32N(6)
			v := VBlock(rng.Uint64N(600))
			switch rng.IntN(8) {
			case 0:
				may(p.CreateSnapshot(id, rng.Uint32N(6)))
			case 1:
				may(p.Delete(id))
			case 2:
				_, err := p.Unmap(id, v, v+VBlock(rng.Uint64N(300)))
				may(err)
			case 3:
				may(p.ReleaseMetadataSnapshot())
			case 4:
				may(p.Commit())
			default:
				b, err := p.Allocate()
				may(err)
				if err == nil {
					may(p.Map(id, v, b))
				}
			}
		}
		may(p.Commit())
		if sound {
			if rep, err := Check(dev); err != nil || !rep.Clean() {
				t.Fatalf("was sound, now %+v, %v", rep, err)
			}
		}
	})
}
