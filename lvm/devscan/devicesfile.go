package devscan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// DevicesFile is lvm2's list of devices, /etc/lvm/devices/system.devices.
type DevicesFile struct {
	SystemID string
	Version  string
	Entries  []Entry
}

// Entry is a device that lvm2 uses.
type Entry struct {
	Line    int
	IDType  IDType
	IDName  string // "": none, as after lvm2 found another PV at the name
	DevName string // where it was last seen; a hint
	PVID    string
	Part    int // number of the partition, 0: the device as a whole
}

func (e Entry) String() string {
	s := fmt.Sprintf("%s %s", e.IDType, e.IDName)
	if e.Part > 0 {
		s += fmt.Sprintf(" partition %d", e.Part)
	}
	if e.PVID != "" {
		s += ", PV " + e.PVID
	}
	if e.DevName != "" && e.DevName != e.IDName {
		s += ", last seen on " + e.DevName
	}
	return s
}

// IDType says what identifies a device.
type IDType string

// The kinds of identification of lvm2 2.03.16 (lib/device/device_id.c).
const (
	IDSysWWID   IDType = "sys_wwid"
	IDSysSerial IDType = "sys_serial"
	IDMpathUUID IDType = "mpath_uuid"
	IDCryptUUID IDType = "crypt_uuid"
	IDLVUUID    IDType = "lvmlv_uuid"
	IDMDUUID    IDType = "md_uuid"
	IDLoopFile  IDType = "loop_file"
	IDDevname   IDType = "devname"
)

var idTypes = []IDType{IDSysWWID, IDSysSerial, IDMpathUUID, IDCryptUUID, IDLVUUID, IDMDUUID, IDLoopFile, IDDevname}

// ParseDevicesFile reads the list as device_ids_read does: of each line that
// has IDTYPE and IDNAME a few fields, and of all else nothing. Problems are
// lines that cannot match any device.
func ParseDevicesFile(text []byte) (f DevicesFile, problems []error) {
	number := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		number++
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, "SYSTEMID"):
			f.SystemID = fieldValue(line)
			continue
		case strings.HasPrefix(line, "VERSION"):
			f.Version = fieldValue(line)
			continue
		}
		idType, typed := field(line, "IDTYPE")
		idName, named := field(line, "IDNAME")
		if !typed || !named {
			continue
		}
		e := Entry{Line: number, IDType: IDType(idType), IDName: idName}
		e.DevName, _ = field(line, "DEVNAME")
		e.PVID, _ = field(line, "PVID")
		if part, ok := field(line, "PART"); ok && part != "" {
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 {
				problems = append(problems, fmt.Errorf("line %d: PART=%s: want a number: %w", number, part, ErrInvalid))
				continue
			}
			e.Part = n
		}
		if !slices.Contains(idTypes, e.IDType) {
			problems = append(problems, fmt.Errorf("line %d: IDTYPE=%s: lvm2 2.03.16 does not know it: %w", number, e.IDType, ErrInvalid))
			continue
		}
		f.Entries = append(f.Entries, e)
	}
	return f, problems
}

// field returns what follows the first mention of a name; "." means none.
func field(line, name string) (value string, ok bool) {
	i := strings.Index(line, name)
	if i < 0 {
		return "", false
	}
	if value = fieldValue(line[i:]); strings.HasPrefix(value, ".") {
		value = ""
	}
	return value, true
}

// fieldValue is what is between '=' and the next blank.
func fieldValue(s string) string {
	_, value, _ := strings.Cut(s, "=")
	value, _, _ = strings.Cut(strings.TrimLeft(value, " "), " ")
	return value
}

// id is what identifies the device in this way, "" if nothing does
// (device_id_system_read).
func (b *Block) id(t IDType, name string) string {
	value := ""
	switch t {
	case IDSysWWID:
		if value = b.DeviceWWID; value == "" {
			value = b.WWID
		}
		if strings.Contains(value, "QEMU HARDDISK") { // all of QEMU's disks have it
			value = ""
		}
	case IDSysSerial:
		value = b.Serial
	case IDMpathUUID, IDCryptUUID, IDLVUUID:
		if b.DM != nil {
			value = b.DM.UUID
		}
	case IDMDUUID:
		if b.MD != nil {
			value = b.MD.UUID
		}
	case IDLoopFile:
		if value = b.BackingFile; strings.Contains(value, "(deleted)") {
			value = ""
		}
	case IDDevname:
		return name
	}
	clean := []byte(value) // it may be no UTF-8
	for i, c := range clean {
		if c <= ' ' || c == 0x7f {
			clean[i] = '_'
		}
	}
	return string(clean)
}

// mayHave reports whether a device of this kind is identified in this way
// (_idtype_compatible_with_major_number).
func (t *Types) mayHave(major uint32, id IDType) bool {
	dm, md, loop := t.is(major, "device-mapper"), t.is(major, "md"), t.is(major, "loop")
	switch id {
	case IDDevname:
		return true
	case IDMpathUUID, IDCryptUUID, IDLVUUID:
		return dm
	case IDMDUUID:
		return md
	case IDLoopFile:
		return loop
	}
	return !dm && !md && !loop
}

// is reports whether the entry names this device, whose first name is given.
// aka tells the device of another name.
func (e *Entry) is(b *Block, name string, types *Types, aka func(path string) (Dev, bool)) bool {
	if e.IDName == "" || e.Part != b.Partition || !types.mayHave(b.Major, e.IDType) {
		return false
	}
	if b.id(e.IDType, name) == e.IDName {
		return true
	}
	// A device of the device mapper is known by either of its names.
	if e.IDType == IDDevname && types.is(b.Major, "device-mapper") &&
		(strings.HasPrefix(e.IDName, "/dev/dm-") || strings.HasPrefix(e.IDName, "/dev/mapper/")) {
		other, ok := aka(e.IDName)
		return ok && other == b.Dev
	}
	return false
}

// stable reports whether lvm2 would identify the device by more than its name
// (_dev_has_stable_id).
func (b *Block) stable(types *Types) bool {
	switch {
	case b.id(IDSysWWID, "") != "", b.id(IDSysSerial, "") != "":
		return true
	case types.is(b.Major, "loop") && b.id(IDLoopFile, "") != "":
		return true
	case types.is(b.Major, "device-mapper") && b.DM != nil:
		for _, prefix := range []string{"mpath-", "CRYPT-", "LVM-"} {
			if hasUUIDPrefix(b.DM.UUID, prefix) {
				return true
			}
		}
	}
	return types.is(b.Major, "md") && b.MD != nil && b.MD.UUID != ""
}

// hasUUIDPrefix looks behind the "partN-" that kpartx puts in front, too.
func hasUUIDPrefix(uuid, prefix string) bool {
	if strings.HasPrefix(uuid, prefix) {
		return true
	}
	if !strings.HasPrefix(uuid, "part") {
		return false
	}
	_, rest, _ := strings.Cut(uuid, "-")
	return strings.HasPrefix(rest, prefix)
}
