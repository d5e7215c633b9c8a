package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// area is a part of a device that a segment maps.
type area struct {
	dev           dmcore.Dev
	start, length dmcore.Sectors
}

// areas lists what the kernel wants to lie within the devices
// (drivers/md/dm-table.c, device_area_is_invalid).
func areas(t dmcore.Table) []area {
	var out []area
	for _, s := range t {
		switch target := s.Target.(type) {
		case dmcore.Linear:
			out = append(out, area{target.Dev, target.Start, s.Length})
		case dmcore.Striped:
			for _, a := range target.Areas {
				out = append(out, area{a.Dev, a.Start, s.Length / dmcore.Sectors(max(1, len(target.Areas)))})
			}
		case dmcore.SnapshotOrigin:
			out = append(out, area{target.Dev, 0, s.Length})
		case dmcore.Snapshot:
			out = append(out, area{target.Origin, 0, s.Length})
		case dmcore.ThinPool:
			out = append(out, area{target.Data, 0, s.Length})
		case dmcore.SnapshotMerge:
			out = append(out, area{target.Origin, 0, s.Length})
		}
	}
	return out
}

// checkAreas refuses a table that reaches past the end of a device. For the
// first table of a device the kernel does; for any other it finds out when the
// device is resumed, drops the table, and leaves the device suspended
// (drivers/md/dm.c, dm_swap_table): in the middle of a window. A device that
// has no size yet fits everything, here as there; one with another table loaded
// may be going to be larger, as it is when what stands on it is resumed.
func checkAreas(t dmcore.Table, size, coming func(dmcore.Dev) dmcore.Sectors) error {
	for _, a := range areas(t) {
		n := size(a.dev)
		short := func() bool { return n != 0 && (a.start+a.length < a.start || a.start+a.length > n) }
		if short() {
			n = max(n, coming(a.dev))
		}
		if short() {
			return fmt.Errorf("%s: area of %d sectors at %d, device has %d: %w", a.dev, a.length, a.start, n, dmcore.ErrInvalid)
		}
	}
	return nil
}

// comingSize is how long a device will be once the table that is loaded is live; 0
// if there is none.
func (c *Control) comingSize(d dmcore.Dev) dmcore.Sectors {
	var major, minor uint32
	if n, err := fmt.Sscanf(string(d), "%d:%d", &major, &minor); err != nil || n != 2 {
		return 0
	}
	q := call{dev: unix.Mkdev(major, minor)}.as(unix.DM_TABLE_STATUS, flagStatusTable|flagNoFlush|flagSecureData|flagQueryInactive)
	q.answers = true
	a, err := c.ask(q)
	if err != nil {
		return 0
	}
	lines, err := a.segments()
	if err != nil || len(lines) == 0 {
		return 0
	}
	last := lines[len(lines)-1]
	clear(a.data)
	return last.Start + last.Length
}

// deviceSize asks sysfs for the size of a device; 0 if it does not know.
func deviceSize(d dmcore.Dev) dmcore.Sectors {
	number := string(d)
	if filepath.IsAbs(number) {
		var st unix.Stat_t
		if unix.Stat(number, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return 0
		}
		number = dmcore.DevNo{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}.String()
	}
	b, err := os.ReadFile(filepath.Join("/sys/dev/block", number, "size"))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return dmcore.Sectors(n)
}
