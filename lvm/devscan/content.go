package devscan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"cowhand/lvm/ondisk"
)

// headSize is what is read of every device: the label, and what lvm2 looks for
// beside it.
const headSize = 8 << 10

// content is what a device's bytes say.
type content struct {
	pvid       string // "": there is no label, or a damaged one
	pvSize     uint64 // bytes, as the label has it
	partTable  bool
	foreign    string // "an LVM1 volume"
	mdAtStart  bool
	mdAtEnd    func() (bool, error)
	deviceSize int64
}

// readContent reads the beginning of a device. The end is read only if it is asked for.
func readContent(dev io.ReaderAt, size int64) (content, error) {
	head := make([]byte, min(headSize, size))
	if n, err := dev.ReadAt(head, 0); n < len(head) {
		return content{}, fmt.Errorf("read of %d bytes at 0 gave %d: %w", len(head), n, err)
	}
	c := content{
		partTable: hasPartitionTable(head), foreign: foreignSignature(head),
		mdAtStart: hasMDMagic(head, 0) || hasMDMagic(head, 4096), deviceSize: size,
		mdAtEnd: func() (bool, error) { return mdAtEnd(dev, size) },
	}
	if label, err := ondisk.FindLabel(head); err == nil {
		c.pvid, c.pvSize = label.ID, label.DeviceSize
	}
	return c, nil
}

// hasPartitionTable looks for a DOS partition table, which a GPT has too: its
// mark, and at least one entry with sectors. Boot indicators that are neither 0
// nor 0x80 mean that it is something else (lib/device/dev-type.c, _has_partition_table).
func hasPartitionTable(head []byte) bool {
	const table, entry = 0x1be, 16
	if len(head) < 512 || head[510] != 0x55 || head[511] != 0xaa {
		return false
	}
	found := false
	for i := range 4 {
		e := head[table+i*entry:]
		if e[0]&0x7f != 0 {
			return false
		}
		found = found || binary.LittleEndian.Uint32(e[12:]) != 0
	}
	return found
}

// foreignSignature looks for what was there before LVM2 (lib/device/dev-lvm1-pool.c).
func foreignSignature(head []byte) string {
	if len(head) < 512 {
		return ""
	}
	if v := binary.LittleEndian.Uint16(head[2:]); head[0] == 'H' && head[1] == 'M' && (v == 1 || v == 2) {
		return "an LVM1 volume"
	}
	const poolMagic, poolVersion, versionAt = 0x011670, 4<<16 | 1<<8, 16 + 256
	if binary.BigEndian.Uint64(head) == poolMagic && binary.BigEndian.Uint32(head[versionAt:])>>8 == poolVersion>>8 {
		return "a GFS pool"
	}
	return ""
}

const mdMagic = 0xa92b4efc

// hasMDMagic looks for an md superblock; that of version 0.90 is in the byte
// order of the machine that wrote it.
func hasMDMagic(b []byte, at int) bool {
	if len(b) < at+4 {
		return false
	}
	return binary.LittleEndian.Uint32(b[at:]) == mdMagic || binary.BigEndian.Uint32(b[at:]) == mdMagic
}

// mdAtEnd looks for superblocks of versions 0.90 and 1.0, of Intel's firmware
// and of DDF (lib/device/dev-md.c, _dev_is_md_component_native).
func mdAtEnd(dev io.ReaderAt, size int64) (bool, error) {
	const sector, reserved = 512, 64 << 10 / 512
	sectors := size / sector
	if sectors < 2*reserved {
		return false, nil
	}
	read := func(at int64, n int) ([]byte, error) {
		b := make([]byte, n)
		if got, err := dev.ReadAt(b, at); got < n && (err != nil && !errors.Is(err, io.EOF)) {
			return nil, fmt.Errorf("read of %d bytes at %d gave %d: %w", n, at, got, err)
		}
		return b, nil
	}
	for _, at := range []int64{sectors&^(reserved-1) - reserved, (sectors - 16) &^ 7} {
		b, err := read(at*sector, 4)
		if err != nil {
			return false, err
		}
		if hasMDMagic(b, 0) {
			return true, nil
		}
	}
	// Two sectors before the end, of the size that the device has.
	for _, at := range []int64{size - 2*sector, size - 8<<10} {
		const intel = "Intel Raid ISM Cfg Sig. "
		b, err := read(at, len(intel))
		if err != nil {
			return false, err
		}
		if string(b) == intel {
			return true, nil
		}
	}
	if size < 0x30000 {
		return false, nil
	}
	for _, at := range []int64{sectors - 1, sectors - 257} {
		b, err := read(at*sector, sector)
		if err != nil {
			return false, err
		}
		if isDDF(b) {
			return true, nil
		}
	}
	return false, nil
}

// isDDF checks a header's magic and checksum, in either byte order.
func isDDF(b []byte) bool {
	const magic = 0xde11de11
	for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
		if order.Uint32(b) != magic {
			continue
		}
		sum := bytes.Clone(b)
		copy(sum[4:8], "\xff\xff\xff\xff")
		// The standard has the usual CRC-32; lvm2 computes one that begins with 0
		// and is not inverted.
		for _, crc := range []uint32{crc32.ChecksumIEEE(sum), ondisk.AddCRC(0, sum)} {
			if binary.BigEndian.Uint32(b[4:]) == crc || binary.LittleEndian.Uint32(b[4:]) == crc {
				return true
			}
		}
	}
	return false
}
