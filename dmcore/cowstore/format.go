package cowstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"cowhand/dmcore"
)

// What a store refuses with, beside the errors of its device.
var (
	ErrFull        = errors.New("cow store is full")
	ErrCorrupt     = errors.New("cow store is corrupt")
	ErrInvalidated = errors.New("cow store was invalidated")
)

// Exception says that chunk Old of the origin is found in chunk New of the COW
// device.
type Exception struct{ Old, New uint64 }

const (
	magic         = 0x70416e53 // "SnAp"
	version       = 1
	headerSize    = 16
	exceptionSize = 16
	firstFree     = 2 // after the header and area 0

	minChunk     = 8    // sectors; lvm2 makes 4 KiB to 512 KiB
	maxChunk     = 1024 //
	defaultChunk = 32   // of a table that says 0 (dm-exception-store.c)

	// maxExceptions keeps positions in the list within 32 bits: 16 TiB of 4
	// KiB chunks.
	maxExceptions = math.MaxUint32 - 1
)

type header struct {
	magic, valid, version, chunk uint32
}

func decodeHeader(b []byte) header {
	le := binary.LittleEndian
	return header{le.Uint32(b[0:]), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

// encodeHeader returns a header's sector.
func encodeHeader(valid bool, chunk dmcore.Sectors) []byte {
	b := make([]byte, dmcore.SectorSize)
	le := binary.LittleEndian
	le.PutUint32(b[0:], magic)
	if valid {
		le.PutUint32(b[4:], 1)
	}
	le.PutUint32(b[8:], version)
	le.PutUint32(b[12:], uint32(chunk))
	return b
}

// geometry is where things are for one chunk size.
type geometry struct {
	chunk  dmcore.Sectors
	bytes  int64  // of a chunk
	epa    uint64 // exceptions per area
	stride uint64 // chunks from an area to the next
}

// newGeometry refuses a chunk size that is no power of two from 4 KiB to 512
// KiB. 0 stands for 16 KiB.
func newGeometry(chunk dmcore.Sectors) (geometry, error) {
	if chunk == 0 {
		chunk = defaultChunk
	}
	if chunk < minChunk || chunk > maxChunk || chunk&(chunk-1) != 0 {
		return geometry{}, fmt.Errorf("cow store: chunk size of %d sectors is no power of two from %d to %d: %w",
			chunk, minChunk, maxChunk, dmcore.ErrInvalid)
	}
	epa := uint64(chunk.Bytes() / exceptionSize)
	return geometry{chunk, chunk.Bytes(), epa, epa + 1}, nil
}

// area is the chunk in which area i lies.
func (g geometry) area(i uint64) uint64 { return 1 + i*g.stride }

// isArea reports whether a chunk is metadata.
func (g geometry) isArea(chunk uint64) bool { return chunk%g.stride == 1 }

// after is the data chunk that follows a chunk.
func (g geometry) after(chunk uint64) uint64 {
	chunk++
	if g.isArea(chunk) {
		chunk++
	}
	return chunk
}

// chunks is how many whole chunks a device of that many bytes has.
func (g geometry) chunks(size int64) uint64 { return uint64(size / g.bytes) }

// offset is where a chunk begins on the COW device.
func (g geometry) offset(chunk uint64) int64 { return int64(chunk) * g.bytes }

func getException(area []byte, i uint64) Exception {
	b := area[i*exceptionSize:]
	return Exception{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

func putException(area []byte, i uint64, e Exception) {
	b := area[i*exceptionSize:]
	binary.LittleEndian.PutUint64(b, e.Old)
	binary.LittleEndian.PutUint64(b[8:], e.New)
}

// check refuses an exception that no kernel writes: data that is outside the
// device or in its metadata, or an origin larger than any device.
func (g geometry) check(e Exception, chunks uint64) error {
	switch {
	case e.New < firstFree || g.isArea(e.New):
		return fmt.Errorf("exception %d → %d points at metadata: %w", e.Old, e.New, ErrCorrupt)
	case e.New >= chunks:
		return fmt.Errorf("exception %d → %d points past the last of %d chunks: %w", e.Old, e.New, chunks, ErrCorrupt)
	case e.Old >= uint64(math.MaxInt64/g.bytes):
		return fmt.Errorf("exception %d → %d is outside any origin: %w", e.Old, e.New, ErrCorrupt)
	}
	return nil
}
