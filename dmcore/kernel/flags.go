package kernel

import (
	"strings"

	"cowhand/dmcore"
)

// What udev's rules are told in the upper half of a cookie
// (libdm/libdevmapper.h and udev/10-dm.rules.in of lvm2 2.03.16).
const (
	noNode        = 0x0001 // no link in /dev/mapper
	noSubsystem   = 0x0002 // none in /dev/VG
	noDisk        = 0x0004 // none in /dev/disk, no look at the contents
	noOther       = 0x0008 // no rules of other packages
	lowPriority   = 0x0010 // its links give way to those of others
	noFallback    = 0x0020 // lvm2's libraries leave links to udev
	primarySource = 0x0040 // the event is meant, not a by-product

	hidden = noSubsystem | noDisk | noOther
)

// udevFlags says what lvm2 tells udev about a device of that name and UUID whose
// first target is of that type (lib/activate/dev_manager.c of lvm2 2.03.16,
// _get_udev_flags).
//
// A UUID with a suffix is of a layer: -real, -cow, -tdata, -tmeta, -tpool,
// -pool; it is not for users. A thin pool in which nothing was made is a layer
// with the name of the volume, and has its link. A snapshot looks like its origin from inside, so
// its links give way. A volume that fails all I/O is what a snapshot leaves
// behind that is being merged, or one about to be removed: lvm2 hides the first,
// and of the second nothing is left to see.
//
// The parts of a thin pool are for users only if they are read-only: then somebody
// asked for them, to look into, while the pool is inactive.
func udevFlags(name dmcore.Name, u dmcore.UUID, target string, readOnly bool) uint16 {
	id, ours := strings.CutPrefix(string(u), "LVM-")
	if !ours {
		return primarySource
	}
	_, layer, layered := strings.Cut(id, "-")
	f := uint16(primarySource | noFallback)
	if layered || target == "error" {
		f |= hidden
	}
	if _, _, suffix, ok := name.Split(); layer == "tpool" && ok && suffix == "" {
		f &^= noSubsystem
	}
	if readOnly && (layer == "tdata" || layer == "tmeta") {
		f &^= noSubsystem
	}
	if layer == "cow" || !layered && (target == "error" || target == "snapshot") {
		f |= lowPriority
	}
	return f
}
