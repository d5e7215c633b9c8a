package lvm

import (
	"fmt"
	"math/bits"

	"cowhand/dmcore"
)

// A COW volume holds the kernel's persistent exception store: a header chunk,
// then areas of one metadata chunk and the data chunks it can point to
// (drivers/md/dm-snap-persistent.c, Linux 6.1).
const (
	DefaultChunk dmcore.Sectors = 8    // 4 KiB
	MinChunk     dmcore.Sectors = 8    // tools/lvcreate.c, lvm2 2.03.16
	MaxChunk     dmcore.Sectors = 1024 // 512 KiB

	minCOWChunks = 3 // header, metadata, data (lib/metadata/snapshot_manip.c)
)

// CheckChunk reports a chunk size a snapshot cannot have: it is a power of two
// from 4 to 512 KiB.
func CheckChunk(chunk dmcore.Sectors) error {
	if chunk < MinChunk || chunk > MaxChunk || bits.OnesCount64(uint64(chunk)) != 1 {
		return fmt.Errorf("chunk size %s: want a power of two from 4 KiB to 512 KiB: %w", HumanSize(chunk), ErrInvalid)
	}
	return nil
}

func orDefault(chunk dmcore.Sectors) dmcore.Sectors {
	if chunk == 0 {
		return DefaultChunk
	}
	return chunk
}

// perArea is how many exceptions one metadata chunk holds, 16 bytes each.
func perArea(chunk dmcore.Sectors) uint64 { return uint64(chunk) * dmcore.SectorSize / 16 }

// COWMaximum is the useful maximum of a COW volume, in extents: with it a
// snapshot can never overflow, and more is never used. lvm2 reckons the same
// (2.03.16, lib/metadata/snapshot_manip.c, cow_max_extents).
func COWMaximum(origin, chunk, extent dmcore.Sectors) Extents {
	data := (uint64(origin) + uint64(chunk) - 1) / uint64(chunk)
	area := perArea(chunk)
	sectors := (1 + data + (data+area)/area) * uint64(chunk)
	return min(Extents((sectors+uint64(extent)-1)/uint64(extent)), MaxExtents)
}

// cowTrap reports a COW volume whose last metadata area would end exactly with
// the device: when its last chunk is used, the kernel zeroes the next area,
// past the end, and invalidates the snapshot though nothing overflowed
// (persistent_commit_exception).
func cowTrap(size, chunk dmcore.Sectors) bool {
	chunks := uint64(size / chunk)
	return chunks > 1 && (chunks-1)%(perArea(chunk)+1) == 0
}

// COWExtents says how large to make a COW volume when n extents are asked for
// and free can be had: no more than the useful maximum, no less than three
// chunks, and not of a size at which the kernel gives up a snapshot that is
// merely full. The notes tell people what was changed and why.
func (vg *VG) COWExtents(n Extents, origin, chunk dmcore.Sectors, free Extents) (Extents, []string, error) {
	var notes []string
	if least := minCOWChunks * chunk; vg.Sectors(n) < least {
		return 0, nil, fmt.Errorf("size %s: smaller than the three chunks that a snapshot needs, %s: %w",
			HumanSize(vg.Sectors(n)), HumanSize(least), ErrInvalid)
	}
	most := COWMaximum(origin, chunk, vg.ExtentSize)
	if n > most {
		notes = append(notes, fmt.Sprintf("reducing the snapshot from %s to %s: more is never used",
			HumanSize(vg.Sectors(n)), HumanSize(vg.Sectors(most))))
		n = most
	}
	asked := n
	trap := func() bool { return n < most && cowTrap(vg.Sectors(n), chunk) } // at the maximum it never fills
	for trap() {
		n++
	}
	if n > free && asked <= free {
		for n = asked; trap() && vg.Sectors(n-1) >= minCOWChunks*chunk; {
			n--
		}
	}
	if n != asked {
		notes = append(notes, fmt.Sprintf("making the snapshot %s, not %s: at that size the kernel gives it up when its last chunk is used",
			HumanSize(vg.Sectors(n)), HumanSize(vg.Sectors(asked))))
	}
	return n, notes, nil
}

// SnapshotExtents says how many extents a snapshot of that origin takes when
// size is asked for, as [VG.AddSnapshots] will; the notes are for people.
func (vg *VG) SnapshotExtents(spec SnapshotSpec) (Extents, []string, error) {
	n, notes, err := vg.snapshotExtents(spec, vg.LV(spec.Origin), vg.space(spec.PVs))
	return n, notes, vg.fail(spec.Origin, "snapshot "+spec.Name, err)
}

func (vg *VG) snapshotExtents(spec SnapshotSpec, origin *LV, s *space) (Extents, []string, error) {
	chunk := orDefault(spec.Chunk)
	if origin == nil {
		return 0, nil, ErrNotFound
	}
	if err := CheckChunk(chunk); err != nil {
		return 0, nil, err
	}
	n, note, err := spec.Size.Extents(vg, Basis{Origin: origin, Chunk: chunk, PVs: spec.PVs})
	if err != nil {
		return 0, nil, err
	}
	n, notes, err := vg.COWExtents(n, vg.Size(origin), chunk, count(s.runs))
	if err == nil && note != "" {
		notes = append([]string{note}, notes...)
	}
	return n, notes, err
}
