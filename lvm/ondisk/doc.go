// Package ondisk is what LVM2 writes on a physical volume, as values: the label
// with its PV header, the header of a metadata area, and where in the area's ring
// the next copy of the metadata goes. It does no I/O.
//
//	byte of the device
//	     0 ┌──────────────────────────────┐
//	   512 │ label, PV header             │ sector 1 (0 to 3 are searched)
//	  4096 ├──────────────────────────────┤ metadata area 0
//	       │ header: 512 bytes            │  slot 0 = committed copy
//	       │                              │  slot 1 = precommitted copy
//	  4608 │ ring of metadata texts       │  [512, size) of the area
//	       ├──────────────────────────────┤ data area, from 1 MiB by default
//	       │ physical extents             │
//	       ├──────────────────────────────┤
//	       │ metadata area 1 (optional)   │ at the end, same form
//	       └──────────────────────────────┘
//
// All integers are little-endian. Bytes a later version may have put behind the
// known fields are kept by Decode and written by Encode. The rules are those of
// lvm2 2.03.16, lib/label/label.h, lib/format_text/layout.h and format-text.c.
package ondisk

import (
	"errors"
	"hash/crc32"
)

// What Decode and Check refuse with.
var (
	ErrNoLabel = errors.New("no LVM2 label")
	ErrCorrupt = errors.New("corrupt on-disk structure")
	ErrFull    = errors.New("metadata area too small")
	ErrLayout  = errors.New("areas do not fit the device")
)

// SectorSize is the size in bytes of a label and of a metadata area's header.
const SectorSize = 512

// CRC is LVM2's checksum: CRC-32 without the final inversion, started from
// 0xf597a6cf (lib/misc/crc.h, INITIAL_CRC).
func CRC(b []byte) uint32 { return AddCRC(initialCRC, b) }

// AddCRC continues the checksum crc over b.
func AddCRC(crc uint32, b []byte) uint32 { return ^crc32.Update(^crc, crc32.IEEETable, b) }

const initialCRC = 0xf597a6cf

// Area is a run of bytes on a device.
type Area struct{ Offset, Size uint64 }

// End is the first byte behind the area.
func (a Area) End() uint64 { return a.Offset + a.Size }
