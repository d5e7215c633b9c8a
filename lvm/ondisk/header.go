package ondisk

import "fmt"

// MaxAreas is how many metadata areas a PV can have (FMT_TEXT_MAX_MDAS_PER_PV).
const MaxAreas = 2

// Header is the first sector of a metadata area.
//
//	 0  u32 CRC of 4..511         40  slot 0: committed     u64 offset, u64 size,
//	 4  " LVM2 x[5A%r0N*>"        64  slot 1: precommitted  u32 checksum, u32 flags
//	20  u32 version = 1           88  (unused slots)
//	24  u64 start of the area
//	32  u64 size of the area
//
// A normal reader looks at slot 0 alone. To write, slot 1 is set to the new copy
// (precommit), then slot 0, and slot 1 is cleared (commit).
type Header struct {
	Start     uint64 // of the area, in bytes on the device
	Size      uint64 // of the area, with this header
	Committed Slot
	Precommit Slot
	rest      [SectorSize - slotsEnd]byte
}

// Slot says where in the area a copy of the metadata is.
type Slot struct {
	Offset   uint64 // from the start of the area; 0: there is no copy
	Size     uint64 // with the NUL that ends the text
	Checksum uint32 // CRC of all Size bytes
	Flags    uint32
}

// FlagIgnored in slot 0 says that the area is not in use (RAW_LOCN_IGNORED).
const FlagIgnored = 1

const (
	headerMagic   = " LVM2 x[5A%r0N*>"
	headerVersion = 1
	slotsAt       = 40
	slotLen       = 24
	slotsEnd      = slotsAt + 2*slotLen
)

// Empty reports a slot without a copy.
func (s Slot) Empty() bool { return s.Offset == 0 }

// Ignored reports an area that holds no current metadata on purpose.
func (h Header) Ignored() bool { return h.Committed.Flags&FlagIgnored != 0 }

// NewHeader returns the header of an empty area.
func NewHeader(a Area) Header { return Header{Start: a.Offset, Size: a.Size} }

// DecodeHeader reads the header of the metadata area a.
func DecodeHeader(b []byte, a Area) (Header, error) {
	bad := func(format string, args ...any) (Header, error) {
		return Header{}, fmt.Errorf("metadata area at %d: %s: %w", a.Offset, fmt.Sprintf(format, args...), ErrCorrupt)
	}
	if len(b) != SectorSize {
		return bad("header of %d bytes", len(b))
	}
	if want, got := le.Uint32(b), CRC(b[4:]); want != got {
		return bad("header checksum is 0x%08x, computed 0x%08x", want, got)
	}
	if string(b[4:20]) != headerMagic {
		return bad("header magic is %q", b[4:20])
	}
	if v := le.Uint32(b[20:]); v != headerVersion {
		return bad("header version is %d", v)
	}
	h := Header{Start: le.Uint64(b[24:]), Size: le.Uint64(b[32:])}
	if h.Start != a.Offset || h.Size != a.Size {
		return bad("header says %d bytes at %d, the label %d", h.Size, h.Start, a.Size)
	}
	h.Committed, h.Precommit = decodeSlot(b[slotsAt:]), decodeSlot(b[slotsAt+slotLen:])
	copy(h.rest[:], b[slotsEnd:])
	if err := h.Check(); err != nil {
		return Header{}, err
	}
	return h, nil
}

// Encode returns the header's sector.
func (h Header) Encode() []byte {
	b := make([]byte, 4, SectorSize)
	b = append(b, headerMagic...)
	b = le.AppendUint32(b, headerVersion)
	b = le.AppendUint64(b, h.Start)
	b = le.AppendUint64(b, h.Size)
	b = appendSlot(b, h.Committed)
	b = appendSlot(b, h.Precommit)
	b = append(b, h.rest[:]...)
	le.PutUint32(b, CRC(b[4:]))
	return b
}

// Check reports an area that is too small or a committed copy that lies outside
// the ring. What slot 1 says matters only to who wrote it.
func (h Header) Check() error {
	if h.Size < 2*SectorSize || h.Start+h.Size < h.Start || h.Size > 1<<62 {
		return fmt.Errorf("metadata area at %d: %d bytes: %w", h.Start, h.Size, ErrCorrupt)
	}
	return h.CheckSlot(h.Committed)
}

// CheckSlot reports a copy that lies outside the ring.
func (h Header) CheckSlot(s Slot) error {
	if s.Empty() {
		return nil
	}
	if s.Offset < SectorSize || s.Offset >= h.Size || s.Size == 0 || s.Size > h.Size-SectorSize || s.Size > 1<<32-1 {
		return fmt.Errorf("metadata area at %d: copy of %d bytes at %d in %d: %w", h.Start, s.Size, s.Offset, h.Size, ErrCorrupt)
	}
	return nil
}

func decodeSlot(b []byte) Slot {
	return Slot{le.Uint64(b), le.Uint64(b[8:]), le.Uint32(b[16:]), le.Uint32(b[20:])}
}

func appendSlot(b []byte, s Slot) []byte {
	b = le.AppendUint64(b, s.Offset)
	b = le.AppendUint64(b, s.Size)
	b = le.AppendUint32(b, s.Checksum)
	return le.AppendUint32(b, s.Flags)
}
