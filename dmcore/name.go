package dmcore

import (
	"fmt"
	"strconv"
	"strings"
)

// Name is a device-mapper name, at most 127 bytes.
type Name string

// UUID is a device-mapper UUID, at most 128 bytes; LVM's begin with "LVM-".
type UUID string

// MaxName is the longest device name (DM_NAME_LEN less its NUL,
// include/uapi/linux/dm-ioctl.h).
const MaxName = 127

// MaxUUID is the longest device UUID (DM_UUID_LEN less its NUL).
const MaxUUID = 128

// BuildName joins a volume group, a logical volume and an optional layer
// ("real", "cow") as lvm2 does: hyphens inside a part are doubled, parts are
// joined by one (libdm/libdm-string.c, dm_build_dm_name).
func BuildName(vg, lv, layer string) Name {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	name := double(vg) + "-" + double(lv)
	switch {
	case layer == "":
	case strings.HasPrefix(layer, "_"):
		name += double(layer)
	default:
		name += "-" + double(layer)
	}
	return Name(name)
}

// Split undoes [BuildName]. A name that has no single hyphen has no volume:
// ok is false.
func (n Name) Split() (vg, lv, layer string, ok bool) {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(n); i++ {
		switch {
		case n[i] != '-':
			part.WriteByte(n[i])
		case i+1 < len(n) && n[i+1] == '-':
			part.WriteByte('-')
			i++
		default:
			parts = append(parts, part.String())
			part.Reset()
		}
	}
	parts = append(parts, part.String())
	if len(parts) < 2 || len(parts) > 3 {
		return "", "", "", false
	}
	if len(parts) == 3 {
		layer = parts[2]
	}
	return parts[0], parts[1], layer, true
}

// BuildUUID makes the UUID lvm2 gives a device: "LVM-", the group's and the
// volume's 32 characters, and the layer after a hyphen
// (lib/misc/lvm-string.c, build_dm_uuid).
func BuildUUID(vgid, lvid, layer string) UUID {
	u := "LVM-" + vgid + lvid
	if layer != "" {
		u += "-" + layer
	}
	return UUID(u)
}

// DevNo is a device number. Devices of the userspace machine have major 0,
// which the kernel gives to no block device.
type DevNo struct{ Major, Minor uint32 }

// String is "major:minor", as tables write it.
func (d DevNo) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// Dev returns the number as a table's reference to the device.
func (d DevNo) Dev() Dev { return Dev(d.String()) }

// Dev is a table's reference to an underlying device: "major:minor", a path,
// or, in a table that was planned but not yet loaded, "@" and the UUID of a
// device-mapper device (see [UUID.Dev] and [Table.Resolve]).
type Dev string

// Dev returns a reference by UUID, for tables planned before the device they
// stand on has a number.
func (u UUID) Dev() Dev { return Dev("@" + string(u)) }

// Number returns the number of a reference by "major:minor".
func (d Dev) Number() (n DevNo, ok bool) {
	major, minor, ok := strings.Cut(string(d), ":")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return DevNo{}, false
	}
	return DevNo{uint32(a), uint32(b)}, true
}

// UUID returns the UUID of a reference made by [UUID.Dev].
func (d Dev) UUID() (UUID, bool) {
	if s, ok := strings.CutPrefix(string(d), "@"); ok {
		return UUID(s), true
	}
	return "", false
}
