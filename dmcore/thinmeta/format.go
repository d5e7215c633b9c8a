package thinmeta

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// BlockSize is the size of a metadata block in bytes.
const BlockSize = 4096

// VBlock is a block of a thin device, DBlock one of the pool's data device.
type (
	VBlock uint64
	DBlock uint64
)

const (
	maxVBlock = 1<<64 - 1
	maxDBlock = 1<<40 - 1 // what fits beside the time

	mappingSize = 8
	rootSize    = 8
	detailsSize = 24
	entrySize   = 16
	countSize   = 4

	bitmapHeader  = 16
	perBitmap     = (BlockSize - bitmapHeader) * 4 // counts
	indexHeader   = 16
	indexEntries  = 255
	maxInBitmap   = 2                           // larger counts are in the count tree
	maxMetaBlocks = indexEntries * (1<<14 - 64) // DM_SM_METADATA_MAX_BLOCKS
	timeMask      = 1<<24 - 1
)

var le = binary.LittleEndian

// kind is a kind of metadata block.
type kind uint8

const (
	anyKind kind = iota
	superKind
	nodeKind
	indexKind
	bitmapKind
)

// salt makes a block of one kind none of another.
func (k kind) salt() uint32 {
	switch k {
	case superKind:
		return 160774 // dm-thin-metadata.c, SUPERBLOCK_CSUM_XOR
	case nodeKind:
		return 121107 // dm-btree-spine.c, BTREE_CSUM_XOR
	case indexKind:
		return 160478 // dm-space-map-common.c, INDEX_CSUM_XOR
	case bitmapKind:
		return 240779 // dm-space-map-common.c, BITMAP_CSUM_XOR
	}
	panic("thinmeta: internal error: a block of no kind")
}

func (k kind) String() string {
	return [...]string{"block", "superblock", "node", "index", "bitmap"}[k]
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte, k kind) uint32 {
	return ^crc32.Checksum(b[4:BlockSize], castagnoli) ^ k.salt()
}

// seal gives a block its number and checksum.
func seal(b []byte, nr uint64, k kind) {
	le.PutUint64(b[8:], nr)
	le.PutUint32(b, checksum(b, k))
}

// verify refuses a block that is not what was written to that place.
func verify(b []byte, nr uint64, k kind) error {
	if got, want := le.Uint32(b), checksum(b, k); got != want {
		return corrupt(nr, "checksum of a %s is %#x, want %#x", k, got, want)
	}
	if got := le.Uint64(b[8:]); got != nr {
		return corrupt(nr, "%s says that it is block %d", k, got)
	}
	return nil
}

// corrupt is an error about a metadata block.
func corrupt(nr uint64, format string, args ...any) error {
	return fmt.Errorf("thin metadata: block %d: %s: %w", nr, fmt.Sprintf(format, args...), ErrCorrupt)
}

// Mapping says which block of the pool holds a block of a thin device, and at
// which time of the pool it was mapped.
type Mapping struct {
	Data DBlock
	Time uint32
}

func decodeMapping(b []byte) Mapping {
	v := le.Uint64(b)
	return Mapping{DBlock(v >> 24), uint32(v & timeMask)}
}

func encodeMapping(m Mapping) []byte {
	return le.AppendUint64(nil, uint64(m.Data)<<24|uint64(m.Time&timeMask))
}

// Details are what a pool keeps of a thin device.
type Details struct {
	MappedBlocks    uint64
	TransactionID   uint64 // of the pool, when the device was made
	CreationTime    uint32
	SnapshottedTime uint32 // of the last snapshot of it
}

func decodeDetails(b []byte) Details {
	return Details{le.Uint64(b), le.Uint64(b[8:]), le.Uint32(b[16:]), le.Uint32(b[20:])}
}

func encodeDetails(d Details) []byte {
	b := le.AppendUint64(nil, d.MappedBlocks)
	b = le.AppendUint64(b, d.TransactionID)
	b = le.AppendUint32(b, d.CreationTime)
	return le.AppendUint32(b, d.SnapshottedTime)
}

// Shares reports whether a block mapped at that time may belong to a snapshot
// too, and has to be copied before it is written.
func (d Details) Shares(m Mapping) bool { return d.SnapshottedTime > m.Time }

// indexEntry is what a space map knows of one of its bitmaps.
type indexEntry struct {
	bitmap         uint64
	free           uint32
	noneFreeBefore uint32
}

func decodeIndexEntry(b []byte) indexEntry {
	return indexEntry{le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

func encodeIndexEntry(e indexEntry) []byte {
	b := le.AppendUint64(nil, e.bitmap)
	b = le.AppendUint32(b, e.free)
	return le.AppendUint32(b, e.noneFreeBefore)
}

// bitmapGet is a count in a bitmap; 3 stands for those in the count tree.
func bitmapGet(b []byte, i int) uint32 {
	two := b[bitmapHeader+i/4] >> (i % 4 * 2)
	return uint32(two&1<<1 | two>>1&1)
}

func bitmapSet(b []byte, i int, count uint32) {
	count = min(count, maxInBitmap+1)
	at, shift := bitmapHeader+i/4, i%4*2
	b[at] = b[at]&^(3<<shift) | byte(count>>1|count&1<<1)<<shift
}
