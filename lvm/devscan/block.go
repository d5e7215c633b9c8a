package devscan

import (
	"fmt"
	"slices"
)

// Dev is a device number.
type Dev struct{ Major, Minor uint32 }

func (d Dev) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

func (d Dev) less(e Dev) bool { return d.Major < e.Major || d.Major == e.Major && d.Minor < e.Minor }

// Block is a block device as the host describes it. What sysfs does not have is
// zero.
type Block struct {
	Dev
	Names     []Name // in the directories that are scanned, in the order they were found
	Kernel    string // its name in sysfs, "sda1"; "": sysfs has no such device
	Size      int64  // bytes
	Partition int    // its number; 0: no partition
	Parent    Dev    // of a partition
	Holders   []Holder
	DM        *DM
	MD        *MD
	PartScan  bool // of a loop device: the kernel looks for partitions on it
	Backing   Dev  // of a loop device, or a partition of one: the device that it shows; zero: a file

	// Values that identify the device; of a partition, those of its parent.
	WWID, DeviceWWID, Serial, BackingFile string
}

// Holder is a device that is made of this one.
type Holder struct {
	Kernel string // "dm-3"
	DMUUID string // "" if it is none of the device mapper
}

// DM is what the device mapper says of its device.
type DM struct {
	Name, UUID string
	Suspended  bool
	Targets    []Target // of its table; nil: not known
}

// Target is a part of a table, with its status.
type Target struct{ Type, Status string }

// MD is what the md driver says of its array.
type MD struct{ UUID, MetadataVersion string }

// System is a host's block devices.
type System struct {
	Blocks []Block // by device number
	Types  Types
	// MultipathWWIDs are those of /etc/multipath/wwids, less what
	// /etc/multipath.conf blacklists, without their first character.
	MultipathWWIDs map[string]bool
}

// inLV reports whether a device is a logical volume, or shows a part of one: as
// its partition, made by kpartx, or through a loop device.
func (s *System) inLV(b *Block) bool {
	if b.DM != nil && hasUUIDPrefix(b.DM.UUID, "LVM-") {
		return true
	}
	if below := s.At(b.Backing); below != nil && below.DM != nil {
		return hasUUIDPrefix(below.DM.UUID, "LVM-")
	}
	return false
}

// At returns the device of that number, nil if there is none.
func (s *System) At(d Dev) *Block {
	i, ok := slices.BinarySearchFunc(s.Blocks, d, func(b Block, d Dev) int {
		switch {
		case b.less(d):
			return -1
		case d.less(b.Dev):
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &s.Blocks[i]
}
