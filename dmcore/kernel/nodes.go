package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// link is a name below the device directory and the device it stands for. If it
// is not wanted, dev is the device it stood for: a name that stands for another
// one is somebody else's.
type link struct {
	path   string
	name   string // in mapper
	dev    dmcore.DevNo
	wanted bool
}

// plan says which names a touched device must have, being what it is now, and
// which not. Names are those that udev's rules make (udev/10-dm.rules.in and
// 11-dm-lvm.rules.in of lvm2 2.03.16): /dev/mapper/NAME for every device that has
// a table, /dev/VG/LV for a volume that is no layer of another.
func plan(t touch, now *dmcore.Info) []link {
	if unsafeName(t.name) {
		return nil
	}
	var links []link
	add := func(path string, wanted bool) {
		l := link{path: path, name: t.name, dev: t.dev, wanted: wanted}
		if wanted {
			l.dev = now.Dev
		}
		links = append(links, l)
	}
	if volume, ok := volumePath(t); ok { // before the node that it may lead to goes
		add(volume, now != nil && now.UUID == t.uuid && !t.hidden)
	}
	add(filepath.Join("mapper", t.name), now != nil)
	return links
}

// volumePath is VG/LV. It may be asked for a device that is hidden now and was
// not before. A thin pool has a path as long as nothing was made in it: its lower
// layer has the name of the volume then. So may its parts, see udevFlags.
func volumePath(t touch) (string, bool) {
	id, ok := strings.CutPrefix(string(t.uuid), "LVM-")
	if _, suffix, _ := strings.Cut(id, "-"); !ok || !slices.Contains([]string{"", "tpool", "pool", "tdata", "tmeta"}, suffix) {
		return "", false
	}
	vg, lv, layer, ok := dmcore.Name(t.name).Split()
	switch {
	case !ok, layer != "", unsafeName(vg), unsafeName(lv), vg == "mapper":
		return "", false
	case strings.HasPrefix(lv, "pvmove"), strings.HasSuffix(lv, "_vorigin"):
		return "", false
	}
	return filepath.Join(vg, lv), true
}

// unsafeName reports a name that as a path would lead elsewhere.
func unsafeName(s string) bool {
	return s == "" || s == "." || s == ".." || s == "control" || strings.Contains(s, "/")
}

// nodes is the device directory.
type nodes struct{ dir string }

func (n nodes) put(links []link) error {
	var errs []error
	for _, l := range links {
		do := n.remove
		if l.wanted {
			do = n.make
		}
		if err := do(l); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// stands reports whether the name, a link or a node, is there and of the device.
func (n nodes) stands(l link) (bool, error) {
	path := filepath.Join(n.dir, l.path)
	if to, err := os.Readlink(path); err == nil {
		return filepath.Base(to) == kernelName(l.dev) || n.isDevice(path, l.dev), nil
	}
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case fi.Mode().Type() != fs.ModeDevice:
		return false, fmt.Errorf("%s: is no device: %w", path, dmcore.ErrExists)
	}
	return n.isDevice(path, l.dev), nil
}

func (n nodes) isDevice(path string, d dmcore.DevNo) bool {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && unix.Major(st.Rdev) == d.Major && unix.Minor(st.Rdev) == d.Minor
}

func kernelName(d dmcore.DevNo) string { return fmt.Sprintf("dm-%d", d.Minor) }

// make makes a link to the kernel's own node where devtmpfs has it; else it
// makes a node in mapper, for root alone as lvm2 does (libdm/libdm-common.c,
// DM_DEVICE_MODE), and elsewhere a link to that.
func (n nodes) make(l link) error {
	same, err := n.stands(l)
	if same || err != nil {
		return err
	}
	path := filepath.Join(n.dir, l.path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	own := n.isDevice(filepath.Join(n.dir, kernelName(l.dev)), l.dev)
	tmp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	os.Remove(tmp) // of a process that died and had our number
	switch {
	case own:
		err = os.Symlink("../"+kernelName(l.dev), tmp)
	case filepath.Dir(l.path) == "mapper":
		err = unix.Mknod(tmp, unix.S_IFBLK|0o600, int(unix.Mkdev(l.dev.Major, l.dev.Minor)))
	default:
		err = os.Symlink("../mapper/"+l.name, tmp)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// remove removes a name that stands for the device, and a group's directory
// with its last.
func (n nodes) remove(l link) error {
	same, err := n.stands(l)
	if !same || err != nil {
		return nil // gone, or of somebody else
	}
	path := filepath.Join(n.dir, l.path)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if dir := filepath.Dir(path); dir != filepath.Join(n.dir, "mapper") {
		os.Remove(dir) // fails unless it is empty, as it should
	}
	return nil
}
