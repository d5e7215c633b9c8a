package devscan

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"cowhand/lvm/lvmconf"
)

// Types says what the major numbers of block devices are.
type Types struct {
	partitions map[uint32]int // by major number, of those that may be physical volumes: minor numbers to a device
	named      map[string]uint32
	scsi       map[uint32]bool
}

// knownTypes are the kinds of device that lvm2 knows, and how many minor numbers
// one has with its partitions; 1: partitions are elsewhere
// (lib/device/device-types.h). The first that /proc/devices' name begins with counts.
var knownTypes = []lvmconf.Type{
	{Name: "sd", Partitions: 16}, {Name: "ide", Partitions: 64}, {Name: "md", Partitions: 1}, {Name: "loop", Partitions: 1},
	{Name: "ramdisk", Partitions: 1}, {Name: "device-mapper", Partitions: 1}, {Name: "mdp", Partitions: 1},
	{Name: "dasd", Partitions: 4}, {Name: "dac960", Partitions: 8}, {Name: "nbd", Partitions: 16}, {Name: "ida", Partitions: 16},
	{Name: "cciss", Partitions: 16}, {Name: "ubd", Partitions: 16}, {Name: "ataraid", Partitions: 16},
	{Name: "drbd", Partitions: 16}, {Name: "rbd", Partitions: 16}, {Name: "emcpower", Partitions: 16},
	{Name: "power2", Partitions: 16}, {Name: "i2o_block", Partitions: 16}, {Name: "iseries/vd", Partitions: 8},
	{Name: "gnbd", Partitions: 1}, {Name: "aoe", Partitions: 16}, {Name: "xvd", Partitions: 16}, {Name: "vdisk", Partitions: 8},
	{Name: "ps3disk", Partitions: 16}, {Name: "virtblk", Partitions: 8}, {Name: "mmc", Partitions: 16},
	{Name: "blkext", Partitions: 1}, {Name: "fio", Partitions: 16}, {Name: "mtip32xx", Partitions: 16},
	{Name: "vtms", Partitions: 16}, {Name: "skd", Partitions: 16}, {Name: "scm", Partitions: 8}, {Name: "bcache", Partitions: 1},
	{Name: "nvme", Partitions: 64}, {Name: "zvol", Partitions: 16}, {Name: "VxDMP", Partitions: 16},
}

// maxMajor is the highest major number.
const maxMajor = 4095

// ParseTypes reads /proc/devices; local are the kinds of devices/types, which
// come before those that are known.
func ParseTypes(proc []byte, local []lvmconf.Type) (Types, error) {
	t := Types{partitions: map[uint32]int{}, named: map[string]uint32{}, scsi: map[uint32]bool{}}
	block := false
	for lines := bufio.NewScanner(bytes.NewReader(proc)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		number, name, ok := strings.Cut(line, " ")
		major, err := strconv.ParseUint(number, 10, 32)
		if err != nil || !ok {
			if line != "" {
				block = strings.HasPrefix(line, "Block")
			}
			continue
		}
		if !block {
			continue
		}
		name, m := strings.TrimSpace(name), uint32(major)&maxMajor
		t.named[name] = m
		if name == "sd" {
			t.scsi[m] = true
		}
		for _, kinds := range [][]lvmconf.Type{knownTypes, local} {
			for _, k := range kinds {
				if strings.HasPrefix(name, k.Name) {
					t.partitions[m] = k.Partitions
					break
				}
			}
		}
	}
	if len(t.named) == 0 {
		return t, fmt.Errorf("list of device types: no block devices in it: %w", ErrInvalid)
	}
	return t, nil
}

func (t *Types) is(major uint32, name string) bool {
	m, ok := t.named[name]
	return ok && m == major
}
