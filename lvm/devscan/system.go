package devscan

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"cowhand/lvm/lvmconf"
)

// ReadSystem describes the block devices of the host whose root directory is
// fsys: os.DirFS("/"), or a picture of one. It opens no device.
func ReadSystem(fsys fs.FS, conf lvmconf.Devices) (*System, error) {
	proc, err := fs.ReadFile(fsys, "proc/devices")
	if err != nil {
		return nil, err
	}
	sys := &System{}
	if sys.Types, err = ParseTypes(proc, conf.Types); err != nil {
		return nil, err
	}
	if _, err := fs.Stat(fsys, "sys/dev/block"); err != nil {
		return nil, fmt.Errorf("what devices are cannot be told: %w", err)
	}
	r := reader{fsys: fsys, names: map[Dev][]Name{}}
	for _, dir := range conf.Scan {
		r.scanDir(path.Clean(dir))
	}
	r.readBlocks(sys)
	if conf.MultipathComponentDetection {
		sys.MultipathWWIDs = r.multipathWWIDs(conf.MultipathWWIDsFile)
	}
	return sys, nil
}

type reader struct {
	fsys  fs.FS
	names map[Dev][]Name
}

// rel is a path as fs.FS wants it.
func rel(abs string) string {
	if p := strings.TrimPrefix(path.Clean(abs), "/"); p != "" {
		return p
	}
	return "."
}

// scanDir collects the names below a directory: of its file system, in ASCII
// order, without those that begin with a dot, and without entering directories
// by a link (lib/device/dev-cache.c, _insert_dir). What cannot be read is not there.
func (r *reader) scanDir(dir string) {
	info, err := fs.Stat(r.fsys, rel(dir))
	if err != nil || !info.IsDir() {
		return
	}
	r.walk(dir, fileSystem(info), 0)
}

// maxDepth is how deep directories are entered.
const maxDepth = 32

func (r *reader) walk(dir string, device uint64, depth int) {
	entries, err := fs.ReadDir(r.fsys, rel(dir))
	if err != nil || depth > maxDepth {
		return
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		abs := path.Join(dir, e.Name())
		link := e.Type()&fs.ModeSymlink != 0
		info, err := fs.Stat(r.fsys, rel(abs))
		switch {
		case err != nil:
		case info.IsDir():
			if !link && fileSystem(info) == device {
				r.walk(abs, device, depth+1)
			}
		default:
			if d, ok := blockDevice(info); ok {
				r.names[d] = append(r.names[d], Name{abs, link})
			}
		}
	}
}

func blockDevice(info fs.FileInfo) (Dev, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0 {
		return Dev{}, false
	}
	return devOf(uint64(st.Rdev)), true
}

func fileSystem(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev)
	}
	return 0
}

// devOf takes a number of glibc's (sys/sysmacros.h) apart.
func devOf(rdev uint64) Dev {
	return Dev{uint32(rdev>>8&0xfff | rdev>>32&^0xfff), uint32(rdev&0xff | rdev>>12&^0xff)}
}

// readBlocks describes what has a name, or is of the kernel's.
func (r *reader) readBlocks(sys *System) {
	known := map[Dev]bool{}
	entries, _ := fs.ReadDir(r.fsys, "sys/dev/block")
	for _, e := range entries {
		if d, ok := parseDev(e.Name()); ok {
			known[d] = true
			sys.Blocks = append(sys.Blocks, r.block(d))
		}
	}
	for d := range r.names {
		if !known[d] {
			sys.Blocks = append(sys.Blocks, Block{Dev: d, Names: r.names[d]})
		}
	}
	slices.SortFunc(sys.Blocks, func(a, b Block) int {
		if a.less(b.Dev) {
			return -1
		}
		return 1
	})
}

func parseDev(s string) (Dev, bool) {
	major, minor, ok := strings.Cut(s, ":")
	a, err := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	return Dev{uint32(a), uint32(b)}, ok && err == nil && err2 == nil
}

func (r *reader) block(d Dev) Block {
	dir := "sys/dev/block/" + d.String()
	b := Block{Dev: d, Names: r.names[d], Kernel: d.String()}
	if target, err := fs.ReadLink(r.fsys, dir); err == nil {
		b.Kernel = path.Base(target)
		if b.Partition, _ = strconv.Atoi(r.attr(dir, "partition")); b.Partition > 0 {
			// …/block/sda/sda1
			b.Parent, _ = parseDev(r.attr("sys/block/"+path.Base(path.Dir(target)), "dev"))
		}
	}
	if sectors, err := strconv.ParseInt(r.attr(dir, "size"), 10, 64); err == nil && sectors >= 0 && sectors < 1<<54 {
		b.Size = sectors << 9
	}
	holders, _ := fs.ReadDir(r.fsys, dir+"/holders")
	for _, h := range holders {
		b.Holders = append(b.Holders, Holder{h.Name(), r.attr("sys/block/"+h.Name(), "dm/uuid")})
	}
	if _, err := fs.Stat(r.fsys, dir+"/dm"); err == nil {
		b.DM = &DM{Name: r.attr(dir, "dm/name"), UUID: r.attr(dir, "dm/uuid"), Suspended: r.attr(dir, "dm/suspended") == "1"}
	}
	if _, err := fs.Stat(r.fsys, dir+"/md"); err == nil {
		b.MD = &MD{UUID: r.attr(dir, "md/uuid"), MetadataVersion: r.attr(dir, "md/metadata_version")}
	}
	b.PartScan = r.attr(dir, "loop/partscan") == "1"
	own := func(name string) string {
		value := r.attr(dir, name)
		if value == "" && b.Partition > 0 {
			value = r.attr("sys/dev/block/"+b.Parent.String(), name)
		}
		return value
	}
	b.DeviceWWID, b.WWID, b.Serial, b.BackingFile = own("device/wwid"), own("wwid"), own("device/serial"), own("loop/backing_file")
	if info, err := fs.Stat(r.fsys, rel(b.BackingFile)); err == nil && b.BackingFile != "" {
		b.Backing, _ = blockDevice(info)
	}
	return b
}

// maxAttr is more than sysfs has in a file.
const maxAttr = 64 << 10

// attr is the first line of a file of sysfs, "" if there is none.
func (r *reader) attr(dir, name string) string {
	text, err := fs.ReadFile(r.fsys, dir+"/"+name)
	if err != nil || len(text) > maxAttr {
		return ""
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(line)
}

// multipathWWIDs reads what multipath has seen as its paths, less what its
// configuration blacklists (lib/device/dev-mpath.c). A WWID's first character, the
// type that multipath puts in front, is left out.
func (r *reader) multipathWWIDs(file string) map[string]bool {
	wwids := map[string]bool{}
	if !strings.HasPrefix(file, "/") {
		return nil
	}
	r.lines(file, func(line string) {
		if strings.HasPrefix(line, "#") {
			return
		}
		line = strings.TrimPrefix(line, "/")
		if line, _, _ = strings.Cut(line, "/"); len(line) > 1 {
			wwids[line[1:]] = true
		}
	})
	if len(wwids) == 0 {
		return nil
	}
	files := []string{"/etc/multipath.conf"}
	more, _ := fs.ReadDir(r.fsys, "etc/multipath/conf.d")
	for _, f := range more {
		if !strings.HasPrefix(f.Name(), ".") {
			files = append(files, "/etc/multipath/conf.d/"+f.Name())
		}
	}
	black, exceptions := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		r.blacklist(f, black, exceptions)
	}
	for wwid := range black {
		if !exceptions[wwid] {
			delete(wwids, wwid)
		}
	}
	return wwids
}

// blacklist reads the lines wwid "3600…" of two sections, one entry to a line.
func (r *reader) blacklist(file string, black, exceptions map[string]bool) {
	var section map[string]bool
	r.lines(file, func(line string) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case strings.Contains(line, "{"):
			if strings.HasPrefix(line, "blacklist_exceptions") {
				section = exceptions
			} else if strings.HasPrefix(line, "blacklist") {
				section = black
			}
		case strings.Contains(line, "}"):
			section = nil
		case section != nil && strings.Contains(line, "wwid"):
			_, value, _ := strings.Cut(line, "wwid")
			if value = strings.TrimSpace(value); strings.HasPrefix(value, `"`) {
				value, _, _ = strings.Cut(value[1:], `"`)
			}
			if fields := strings.Fields(value); len(fields) > 0 {
				if wwid := strings.Replace(fields[0], "3", "", 1); len(wwid) >= 8 {
					section[wwid] = true
				}
			}
		}
	})
}

func (r *reader) lines(file string, each func(line string)) {
	text, err := fs.ReadFile(r.fsys, rel(file))
	if err != nil {
		return
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		each(lines.Text())
	}
}

// LoadDevicesFile reads the devices file below lvm2's directory if one is in use:
// devices/use_devicesfile is set, and it is there (lib/device/dev-cache.c,
// setup_devices). Otherwise it returns nil.
func LoadDevicesFile(fsys fs.FS, dir string, conf lvmconf.Devices) (*DevicesFile, []error, error) {
	if !conf.UseDevicesFile || dir == "" {
		return nil, nil, nil
	}
	if conf.DevicesFile != path.Base(conf.DevicesFile) || strings.HasPrefix(conf.DevicesFile, ".") {
		return nil, nil, fmt.Errorf("devices/devicesfile %q: want a file name: %w", conf.DevicesFile, ErrInvalid)
	}
	name := path.Join(dir, "devices", conf.DevicesFile)
	text, err := fs.ReadFile(fsys, rel(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	f, problems := ParseDevicesFile(text)
	for i, p := range problems {
		problems[i] = fmt.Errorf("%s: %w", name, p)
	}
	return &f, problems, nil
}
