package ondisk

import (
	"encoding/binary"
	"fmt"
)

// LabelSectors is how many sectors at the start of a device may hold the label.
const LabelSectors = 4

// DefaultLabelSector is where a new label goes.
const DefaultLabelSector = 1

// ExtVersion is the version of the header extension that has Flags.
const ExtVersion = 2

// FlagUsed says that the PV belongs to a VG, even if none can be found
// (PV_EXT_USED).
const FlagUsed = 1

// Label is a label with the PV header behind it.
//
//	 0  "LABELONE"            32  PV id, 32 characters, no hyphens
//	 8  u64 sector            64  u64 device size, bytes
//	16  u32 CRC of 20..511    72  data areas      {u64 offset, u64 size}… {0, 0}
//	20  u32 header at: 32      …  metadata areas  {…}… {0, 0}
//	24  "LVM2 001"             …  u32 extension version, u32 flags
//	                           …  bootloader areas {…}… {0, 0}
type Label struct {
	Sector     uint64 // where the label is
	ID         string // 32 characters
	DeviceSize uint64 // bytes
	Data       []Area // Size 0: up to the end of the device
	Metadata   []Area
	Extension  uint32 // version; 0: there is none, nor flags
	Flags      uint32
	Bootloader []Area
	rest       []byte // behind the last list, if it is not all zero
}

const (
	labelMagic   = "LABELONE"
	labelType    = "LVM2 001"
	headerAt     = 32
	idLen        = 32
	areaLen      = 16
	maxHeaderAt  = SectorSize - 40 // label_check_pv_layout
	labelCRCFrom = 20
)

var le = binary.LittleEndian

// FindLabel looks for a label in the first sectors of a device, the first good
// one wins. No label at all is [ErrNoLabel]; if only damaged ones are found,
// the first one's error is returned.
func FindLabel(first []byte) (Label, error) {
	var damaged error
	for i := range uint64(LabelSectors) {
		if uint64(len(first)) < (i+1)*SectorSize {
			break
		}
		sector := first[i*SectorSize : (i+1)*SectorSize]
		if string(sector[:8]) != labelMagic {
			continue
		}
		l, err := DecodeLabel(sector, i)
		if err == nil {
			return l, nil
		}
		if damaged == nil {
			damaged = err
		}
	}
	if damaged != nil {
		return Label{}, damaged
	}
	return Label{}, ErrNoLabel
}

// DecodeLabel reads the label in a sector found at that place.
func DecodeLabel(b []byte, sector uint64) (Label, error) {
	bad := func(format string, args ...any) (Label, error) {
		return Label{}, fmt.Errorf("label in sector %d: %s: %w", sector, fmt.Sprintf(format, args...), ErrCorrupt)
	}
	if len(b) != SectorSize {
		return bad("%d bytes", len(b))
	}
	if string(b[:8]) != labelMagic {
		return Label{}, fmt.Errorf("sector %d: %w", sector, ErrNoLabel)
	}
	if got := le.Uint64(b[8:]); got != sector {
		return bad("says sector %d", got)
	}
	if want, got := le.Uint32(b[16:]), CRC(b[labelCRCFrom:]); want != got {
		return bad("checksum is 0x%08x, computed 0x%08x", want, got)
	}
	if got := string(b[24:32]); got != labelType {
		return bad("type is %q", got)
	}
	at := le.Uint32(b[labelCRCFrom:])
	if at < headerAt || at > maxHeaderAt {
		return bad("PV header at %d", at)
	}
	l := Label{Sector: sector}
	r := reader{b: b[at:]}
	l.ID = string(r.take(idLen))
	l.DeviceSize = r.u64()
	l.Data, l.Metadata = r.areas(), r.areas()
	if len(r.b) >= 8 && !r.short {
		if l.Extension, l.Flags = r.u32(), r.u32(); l.Extension != 0 {
			l.Bootloader = r.areas()
		}
	}
	if r.short {
		return bad("PV header ends beyond the sector")
	}
	for _, c := range r.b {
		if c != 0 {
			l.rest = append([]byte(nil), r.b...)
			break
		}
	}
	if err := l.Check(); err != nil {
		return Label{}, err
	}
	return l, nil
}

// Encode returns the label's sector.
func (l Label) Encode() ([]byte, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	b := make([]byte, 0, SectorSize)
	b = append(b, labelMagic...)
	b = le.AppendUint64(b, l.Sector)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, headerAt)
	b = append(b, labelType...)
	b = append(b, l.ID...)
	b = le.AppendUint64(b, l.DeviceSize)
	b = appendAreas(b, l.Data)
	b = appendAreas(b, l.Metadata)
	b = le.AppendUint32(b, l.Extension)
	b = le.AppendUint32(b, l.Flags)
	if l.Extension != 0 {
		b = appendAreas(b, l.Bootloader)
	}
	b = append(b, l.rest...)
	if len(b) > SectorSize {
		return nil, fmt.Errorf("label: %d bytes, a sector has %d: %w", len(b), SectorSize, ErrLayout)
	}
	b = append(b, make([]byte, SectorSize-len(b))...)
	le.PutUint32(b[16:], CRC(b[labelCRCFrom:]))
	return b, nil
}

// Check reports values that no label can have.
func (l Label) Check() error {
	if l.Sector >= LabelSectors || len(l.ID) != idLen {
		return fmt.Errorf("label: sector %d, id %q: %w", l.Sector, l.ID, ErrCorrupt)
	}
	if len(l.Metadata) > MaxAreas {
		return fmt.Errorf("label: %d metadata areas, at most %d: %w", len(l.Metadata), MaxAreas, ErrCorrupt)
	}
	for _, list := range [][]Area{l.Data, l.Metadata, l.Bootloader} {
		for _, a := range list {
			if a.Offset == 0 || a.End() < a.Offset {
				return fmt.Errorf("label: area of %d bytes at %d: %w", a.Size, a.Offset, ErrCorrupt)
			}
		}
	}
	for i, a := range l.Metadata {
		if (a.Offset|a.Size)%SectorSize != 0 || a.Size == 0 || a.End() > l.DeviceSize ||
			i > 0 && a.Offset < l.Metadata[0].End() && l.Metadata[0].Offset < a.End() {
			return fmt.Errorf("label: metadata area of %d bytes at %d on a device of %d: %w", a.Size, a.Offset, l.DeviceSize, ErrCorrupt)
		}
	}
	return nil
}

// Used reports the flag of a PV that belongs to a VG.
func (l Label) Used() bool { return l.Extension >= ExtVersion && l.Flags&FlagUsed != 0 }

// SetUsed returns a label with that flag set or cleared, and an extension to
// hold it.
func (l Label) SetUsed(used bool) Label {
	l.Extension = max(l.Extension, ExtVersion)
	l.Flags &^= FlagUsed
	if used {
		l.Flags |= FlagUsed
	}
	return l
}

func appendAreas(b []byte, list []Area) []byte {
	for _, a := range list {
		b = le.AppendUint64(b, a.Offset)
		b = le.AppendUint64(b, a.Size)
	}
	return append(b, make([]byte, areaLen)...)
}

// reader takes fields off b; short says that there were not enough bytes.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.short = true
		return make([]byte, n)
	}
	f := r.b[:n]
	r.b = r.b[n:]
	return f
}

func (r *reader) u32() uint32 { return le.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return le.Uint64(r.take(8)) }

// areas reads a list; the entry with offset 0 ends it.
func (r *reader) areas() []Area {
	var list []Area
	for !r.short {
		a := Area{r.u64(), r.u64()}
		if a.Offset == 0 {
			break
		}
		list = append(list, a)
	}
	return list
}
