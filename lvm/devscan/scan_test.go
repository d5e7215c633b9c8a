package devscan

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"cowhand/lvm/lvmconf"
	"cowhand/lvm/ondisk"
)

// host is a picture of a host: its /dev, /sys and /proc, and what its disks hold.
type host struct {
	fstest.MapFS
	contents map[Dev][]byte
}

func newHost() *host {
	h := &host{fstest.MapFS{}, map[Dev][]byte{}}
	h.file("proc/devices", `Character devices:
  1 mem
Block devices:
  7 loop
  8 sd
  9 md
 11 sr
 65 sd
252 zram
253 device-mapper
254 virtblk
259 blkext
`)
	return h
}

func (h *host) file(name, text string) { h.MapFS[name] = &fstest.MapFile{Data: []byte(text)} }

func (h *host) link(name, target string) {
	h.MapFS[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
}

func (h *host) node(name string, d Dev) {
	h.MapFS[name] = &fstest.MapFile{Mode: fs.ModeDevice, Sys: &syscall.Stat_t{Rdev: uint64(d.Major)<<8 | uint64(d.Minor)}}
}

// disk adds a device: its node, and its directory in sysfs with the attributes
// ("name=value"). in is the kernel's name of the disk that it is a partition of.
func (h *host) disk(kernel string, d Dev, mib int, in string, attrs ...string) {
	h.node("dev/"+kernel, d)
	dir := "sys/devices/x/block/" + path.Join(in, kernel)
	h.link("sys/dev/block/"+d.String(), "../../devices/x/block/"+path.Join(in, kernel))
	if in == "" {
		h.link("sys/block/"+kernel, "../devices/x/block/"+kernel)
	}
	h.file(dir+"/dev", d.String()+"\n")
	h.file(dir+"/size", fmt.Sprintf("%d\n", mib<<11))
	for _, a := range attrs {
		name, value, _ := strings.Cut(a, "=")
		h.file(dir+"/"+name, value+"\n")
	}
	if h.contents[d] == nil {
		h.contents[d] = make([]byte, 1<<20)
	}
}

// dm adds a device of the device mapper.
func (h *host) dm(minor uint32, name, uuid string, mib int, attrs ...string) {
	kernel := fmt.Sprintf("dm-%d", minor)
	h.disk(kernel, Dev{253, minor}, mib, "", append([]string{"dm/name=" + name, "dm/uuid=" + uuid, "dm/suspended=0"}, attrs...)...)
	h.link("dev/mapper/"+name, "../"+kernel)
}

// pv puts a label on a device: the ID is 32 times the letter.
func (h *host) pv(d Dev, letter string, size int) {
	l := ondisk.Label{Sector: 1, ID: strings.Repeat(letter, 32), DeviceSize: uint64(size) << 20}
	sector, err := l.Encode()
	if err != nil {
		panic(err)
	}
	copy(h.contents[d][512:], sector)
}

func (h *host) open(sys *System) Opener {
	return func(name string) (Reader, error) {
		for _, b := range sys.Blocks {
			if slices.ContainsFunc(b.Names, func(n Name) bool { return n.Path == name }) {
				if h.contents[b.Dev] == nil {
					return nil, fs.ErrPermission
				}
				return &fakeDisk{bytes.NewReader(h.contents[b.Dev]), b.Size}, nil
			}
		}
		return nil, fs.ErrNotExist
	}
}

// fakeDisk is a disk of which only the first part is kept: the rest is zero.
type fakeDisk struct {
	*bytes.Reader
	size int64
}

func (c *fakeDisk) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > c.size {
		return 0, io.ErrUnexpectedEOF
	}
	clear(p)
	if _, err := c.Reader.ReadAt(p, off); err != nil && err != io.EOF {
		return 0, err
	}
	return len(p), nil
}

func (c *fakeDisk) Close() error { return nil }

func (h *host) scan(t *testing.T, conf string) (*Result, error) {
	t.Helper()
	c, err := lvmconf.Parse("/etc/lvm", lvmconf.File{Name: "lvm.conf", Text: []byte(conf)})
	if err != nil {
		t.Fatal(err)
	}
	sys, err := ReadSystem(h, c.Devices)
	if err != nil {
		return nil, err
	}
	file, problems, err := LoadDevicesFile(h, "/etc/lvm", c.Devices)
	if err != nil {
		return nil, err
	}
	rules, err := NewRules(c, file)
	if err != nil {
		return nil, err
	}
	r, err := rules.Scan(t.Context(), sys, h.open(sys))
	if err == nil {
		r.Problems = append(r.Problems, problems...)
	}
	return r, err
}

// told is a result as lines: "+ path", "- path rule", "! problem".
func told(r *Result) string {
	var lines []string
	for _, d := range r.Devices {
		lines = append(lines, "+ "+d)
	}
	for _, s := range r.Skipped {
		lines = append(lines, fmt.Sprintf("- %s %s", s.Path, s.Rule))
	}
	for _, p := range r.Problems {
		lines = append(lines, "! "+p.Error())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func sd(minor uint32) Dev { return Dev{8, minor} }

// plain is a host with a partitioned system disk, and one that is a PV as a whole.
func plain() *host {
	h := newHost()
	h.disk("sda", sd(0), 1000, "", "device/wwid=naa.5000c5001")
	copy(h.contents[sd(0)][0x1be:], "\x80\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x08")
	copy(h.contents[sd(0)][510:], "\x55\xaa")
	h.disk("sda1", sd(1), 500, "sda", "partition=1")
	h.disk("sda2", sd(2), 500, "sda", "partition=2")
	h.pv(sd(2), "a", 500)
	h.disk("sdb", sd(16), 1000, "", "device/wwid=naa.5000c5002")
	h.pv(sd(16), "b", 1000)
	h.disk("sr0", Dev{11, 0}, 700, "")
	h.disk("loop0", Dev{7, 0}, 0, "")
	h.disk("sdc", sd(32), 1, "")
	h.node("dev/stale", sd(48))
	h.link("dev/disk/by-id/wwn-2", "../../sdb")
	h.link("dev/block/8:16", "../sdb")
	return h
}

func TestScan(t *testing.T) {
	const uuid = "abcdefabcdefabcdefabcdefabcdefab"
	lv := "LVM-" + uuid + uuid
	for _, test := range []struct {
		name string
		host func(h *host)
		conf string
		want string
		bare bool // without the plain host
	}{
		{name: "plain", want: "+ /dev/sda1\n+ /dev/sda2\n+ /dev/sdb\n- /dev/loop0 size\n- /dev/sda partitioned\n- /dev/sdc size\n- /dev/sr0 type\n- /dev/stale sysfs\n"},
		{name: "filter by id", conf: `devices/filter = [ "a|by-id|", "r|.*|" ]`, want: "+ /dev/disk/by-id/wwn-2\n- /dev/loop0 filter\n" +
			"- /dev/sda filter\n- /dev/sda1 filter\n- /dev/sda2 filter\n- /dev/sdc filter\n- /dev/sr0 filter\n- /dev/stale filter\n"},
		{name: "both filters must accept", conf: `devices { global_filter = "r|sda|" filter = [ "a|sda2|", "a|sdb|", "r|.*|" ] }`,
			want: "+ /dev/sdb\n- /dev/loop0 filter\n- /dev/sda filter\n- /dev/sda1 filter\n- /dev/sda2 filter\n- /dev/sdc filter\n- /dev/sr0 filter\n- /dev/stale filter\n"},
		{name: "other directories", conf: `devices { scan = [ "/dev/disk", "/nowhere" ] pv_min_size = 1 }`, want: "+ /dev/disk/by-id/wwn-2\n"},
		{name: "other types and sizes", conf: `devices { types = [ "sr", 1 ] pv_min_size = 1024 }`, want: "+ /dev/sda1\n+ /dev/sda2\n+ /dev/sdb\n+ /dev/sdc\n+ /dev/sr0\n" +
			"- /dev/loop0 size\n- /dev/sda partitioned\n- /dev/stale sysfs\n"},
		{name: "multipath", bare: true, host: func(h *host) {
			for i, k := range []string{"sda", "sdb"} {
				h.disk(k, sd(uint32(i*16)), 100, "", "holders/dm-0/x=")
				h.disk(k+"1", sd(uint32(i*16+1)), 50, k, "partition=1")
			}
			h.dm(0, "mpatha", "mpath-3600140", 100)
			h.dm(1, "mpatha1", "part1-mpath-3600140", 50)
			h.disk("sdc", sd(32), 100, "", "device/wwid=naa.600144")
			h.disk("sdd", sd(48), 100, "", "device/wwid=naa.600145")
			h.disk("sde", sd(64), 100, "", "device/wwid=naa.600199999")
			h.file("etc/multipath/wwids", "# Multipath wwids, Version : 1.0\n/3600144/\n/3600199999/\n")
			h.file("etc/multipath.conf", "defaults {\n}\nblacklist {\n devnode \"sd\"\n wwid \"3600199999\"\n}\n")
		}, want: "+ /dev/mapper/mpatha\n+ /dev/mapper/mpatha1\n+ /dev/sdd\n+ /dev/sde\n- /dev/sda multipath\n- /dev/sda1 multipath\n- /dev/sdb multipath\n- /dev/sdb1 multipath\n- /dev/sdc multipath\n"},
		{name: "multipath not looked for", bare: true, conf: "devices/multipath_component_detection = 0", host: func(h *host) {
			h.disk("sda", sd(0), 100, "", "holders/dm-0/x=")
			h.dm(0, "mpatha", "mpath-3600140", 100)
		}, want: "+ /dev/mapper/mpatha\n+ /dev/sda\n"},
		{name: "md", bare: true, host: func(h *host) {
			h.disk("sda", sd(0), 100, "", "holders/md0/x=") // 1.0, assembled
			h.disk("sdb", sd(16), 100, "")                  // 1.2
			binary.LittleEndian.PutUint32(h.contents[sd(16)][4096:], mdMagic)
			h.disk("sdc", sd(32), 100, "") // 1.1
			binary.LittleEndian.PutUint32(h.contents[sd(32)], mdMagic)
			h.disk("sdd", sd(48), 1, "") // 1.0, with nothing that says so
			binary.LittleEndian.PutUint32(h.contents[sd(48)][1<<20-8192:], mdMagic)
			h.disk("md0", Dev{9, 0}, 99, "", "md/metadata_version=1.2", "md/uuid=1:2:3:4")
		}, conf: "devices/pv_min_size = 512", want: "+ /dev/md0\n+ /dev/sdd\n- /dev/sda md\n- /dev/sdb md\n- /dev/sdc md\n"},
		{name: "md at the end, told by the size", bare: true, host: func(h *host) {
			h.disk("sdd", sd(48), 1, "")
			binary.LittleEndian.PutUint32(h.contents[sd(48)][1<<20-8192:], mdMagic)
			h.pv(sd(48), "d", 2)
		}, conf: "devices/pv_min_size = 512", want: "- /dev/sdd md\n"},
		{name: "md at the end, told by another array", bare: true, host: func(h *host) {
			h.disk("sdd", sd(48), 1, "")
			binary.LittleEndian.PutUint32(h.contents[sd(48)][1<<20-128<<10:], mdMagic)
			binary.BigEndian.PutUint32(h.contents[sd(48)][1<<20-64<<10:], mdMagic) // 0.90, of another machine
			h.disk("md0", Dev{9, 0}, 99, "", "md/metadata_version=0.90")
		}, conf: "devices/pv_min_size = 512", want: "+ /dev/md0\n- /dev/sdd md\n"},
		{name: "md in full", bare: true, host: func(h *host) {
			h.disk("sda", sd(0), 1, "")
			copy(h.contents[sd(0)][1<<20-1024:], "Intel Raid ISM Cfg Sig. 1.0")
			h.disk("sdb", sd(16), 1, "")
			ddf := h.contents[sd(16)][1<<20-512:]
			copy(ddf, "\xde\x11\xde\x11\xff\xff\xff\xff")
			binary.BigEndian.PutUint32(ddf[4:], ondisk.AddCRC(0, ddf[:512]))
			h.disk("sdc", sd(32), 1, "")
			copy(h.contents[sd(32)][1<<20-512:], "\xde\x11\xde\x11\xff\xff\xff\xff") // a wrong sum
		}, conf: "devices { pv_min_size = 512 md_component_checks = full }", want: "+ /dev/sdc\n- /dev/sda md\n- /dev/sdb md\n"},
		{name: "volumes and what is in them", bare: true, host: func(h *host) {
			h.dm(0, "vg0-guest", lv, 100)
			h.pv(Dev{253, 0}, "g", 100)
			h.link("dev/vg0/guest", "../dm-0")
			h.dm(1, "vg0-root-real", lv+"-real", 100)
			h.dm(2, "vg0-guest1", "part1-"+lv, 50) // kpartx
			h.pv(Dev{253, 2}, "h", 50)
			h.disk("loop0", Dev{7, 0}, 100, "", "loop/backing_file=/dev/dm-0", "loop/partscan=1")
			h.disk("loop0p1", Dev{259, 0}, 50, "loop0", "partition=1")
			h.disk("loop1", Dev{7, 1}, 100, "", "loop/backing_file=/srv/pv.img")
		}, want: "+ /dev/loop1\n- /dev/loop0 usable\n- /dev/loop0p1 usable\n- /dev/mapper/vg0-guest1 usable\n- /dev/mapper/vg0-root-real usable\n- /dev/vg0/guest usable\n"},
		{name: "volumes, asked for", bare: true, conf: "devices/scan_lvs = 1", host: func(h *host) {
			h.dm(0, "vg0-lv", lv, 100)
			h.dm(1, "vg0-root-real", lv+"-real", 100)
			h.dm(2, "vg0-pool_tdata", lv, 100)
		}, want: "+ /dev/mapper/vg0-lv\n- /dev/mapper/vg0-pool_tdata usable\n- /dev/mapper/vg0-root-real usable\n"},
		{name: "other devices of the device mapper", bare: true, host: func(h *host) {
			h.dm(0, "luks", "CRYPT-LUKS2-0123-luks", 100)
			h.dm(1, "temp", "CRYPT-TEMP-1", 100)
			h.dm(2, "stratis", "stratis-1-private", 100)
			h.dm(3, "held", "x", 100)
			h.file("sys/devices/x/block/dm-3/dm/suspended", "1\n")
			h.dm(4, "empty", "y", 0)
			h.dm(5, "table", "z", 100)
			copy(h.contents[Dev{253, 5}], h.contents[sd(0)])
		}, want: "+ /dev/mapper/luks\n+ /dev/mapper/table\n- /dev/mapper/empty size\n- /dev/mapper/held usable\n- /dev/mapper/stratis usable\n- /dev/mapper/temp usable\n"},
		{name: "signatures", bare: true, host: func(h *host) {
			h.disk("sda", sd(0), 100, "")
			copy(h.contents[sd(0)], "HM\x02\x00")
			h.disk("sdb", sd(16), 100, "")
			copy(h.contents[sd(16)], "\x00\x00\x00\x00\x00\x01\x16\x70")
			copy(h.contents[sd(16)][272:], "\x00\x04\x01\x03")
			h.disk("sdc", sd(32), 100, "") // swap is no reason
			copy(h.contents[sd(32)][4086:], "SWAPSPACE2")
			h.disk("sdd", sd(48), 100, "")
			delete(h.contents, sd(48))
		}, want: "+ /dev/sdc\n- /dev/sda signature\n- /dev/sdb signature\n- /dev/sdd unreadable\n"},
		{name: "partition tables", bare: true, host: func(h *host) {
			table := func(d Dev) {
				copy(h.contents[d][0x1be:], "\x00\x00\x00\x00\xee\x00\x00\x00\x00\x08\x00\x00\x00\x08") // GPT's
				copy(h.contents[d][510:], "\x55\xaa")
			}
			h.disk("loop0", Dev{7, 0}, 100, "", "loop/backing_file=/a", "loop/partscan=0") // nobody would find partitions
			table(Dev{7, 0})
			h.disk("loop1", Dev{7, 1}, 100, "", "loop/backing_file=/b", "loop/partscan=1")
			table(Dev{7, 1})
			h.disk("nvme0n1", Dev{259, 0}, 100, "")
			table(Dev{259, 0})
			h.disk("nvme0n1p1", Dev{259, 1}, 100, "nvme0n1", "partition=1")
			table(Dev{259, 1})
			h.disk("sda", sd(0), 100, "") // a boot sector without a table
			copy(h.contents[sd(0)][510:], "\x55\xaa")
			h.disk("sdb", sd(16), 100, "")
			table(sd(16))
			h.contents[sd(16)][0x1be] = 'x' // no boot indicator
		}, want: "+ /dev/loop0\n+ /dev/nvme0n1p1\n+ /dev/sda\n+ /dev/sdb\n- /dev/loop1 partitioned\n- /dev/nvme0n1 partitioned\n"},
		{name: "a devices file that is not in use", host: func(h *host) { h.file("etc/lvm/devices/system.devices", "") },
			conf: "devices/use_devicesfile = 0", want: "+ /dev/sda1\n+ /dev/sda2\n+ /dev/sdb\n- /dev/loop0 size\n- /dev/sda partitioned\n- /dev/sdc size\n- /dev/sr0 type\n- /dev/stale sysfs\n"},
		{name: "no devices file", conf: "devices/use_devicesfile = 1", want: "+ /dev/sda1\n+ /dev/sda2\n+ /dev/sdb\n- /dev/loop0 size\n- /dev/sda partitioned\n- /dev/sdc size\n- /dev/sr0 type\n- /dev/stale sysfs\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := plain()
			if test.bare {
				h = newHost()
			}
			if test.host != nil {
				test.host(h)
			}
			r, err := h.scan(t, test.conf)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, told(r)); diff != "" {
				t.Errorf("(-want +got)\n%s\n%v", diff, r.Skipped)
			}
		})
	}
}

func TestScanDevicesFile(t *testing.T) {
	pvid := func(letter string) string { return strings.Repeat(letter, 32) }
	const rest = "- /dev/loop0 devices file\n- /dev/sda devices file\n- /dev/sda1 devices file\n- /dev/sdc devices file\n- /dev/sr0 type\n- /dev/stale devices file\n"
	for _, test := range []struct{ name, file, conf, want string }{
		{"by id", "IDTYPE=sys_wwid IDNAME=naa.5000c5002 DEVNAME=/dev/sdx PVID=" + pvid("b") + "\n" +
			"IDTYPE=sys_wwid IDNAME=naa.5000c5001 DEVNAME=/dev/sda2 PVID=" + pvid("a") + " PART=2", "", "+ /dev/sda2\n+ /dev/sdb\n" + rest},
		{"by name", "IDTYPE=devname IDNAME=/dev/sdb DEVNAME=/dev/sdb PVID=" + pvid("b"), "", "+ /dev/sdb\n- /dev/sda2 devices file\n" + rest},
		{"the filter is ignored", "IDTYPE=devname IDNAME=/dev/sdb DEVNAME=/dev/sdb PVID=" + pvid("b"), `devices/filter = "r|.*|"`,
			"! devices/filter and devices/global_filter are ignored: a devices file is in use\n+ /dev/sdb\n- /dev/sda2 devices file\n" + rest},
		{"by id, with another PV", "IDTYPE=sys_wwid IDNAME=naa.5000c5002 DEVNAME=/dev/sdb PVID=" + pvid("x"), "",
			"! devices file, line 1: sys_wwid naa.5000c5002, PV " + pvid("x") + ", last seen on /dev/sdb: /dev/sdb holds PV " + pvid("b") + "\n+ /dev/sdb\n- /dev/sda2 devices file\n" + rest},
		{"not there", "IDTYPE=sys_serial IDNAME=123 DEVNAME=/dev/sdq PVID=" + pvid("x"), "",
			"! devices file, line 1: sys_serial 123, PV " + pvid("x") + ", last seen on /dev/sdq: not found\n- /dev/sda2 devices file\n- /dev/sdb devices file\n" + rest},
		{"the name moved, to a device that has an identity", "IDTYPE=devname IDNAME=/dev/sdc DEVNAME=/dev/sdc PVID=" + pvid("b"), "",
			"! devices file, line 1: devname /dev/sdc, PV " + pvid("b") + ": not found; /dev/sdc has 1048576 bytes, less than devices/pv_min_size, 2097152\n- /dev/sda2 devices file\n- /dev/sdb devices file\n" + strings.Replace(rest, "sdc devices file", "sdc size", 1)},
		{"the name moved, all are searched", "IDTYPE=devname IDNAME=/dev/sdc DEVNAME=/dev/sdc PVID=" + pvid("b"), `devices/search_for_devnames = "all"`,
			"! devices file, line 1: devname /dev/sdc, PV " + pvid("b") + ": found on /dev/sdb\n+ /dev/sdb\n- /dev/sda2 devices file\n" + strings.Replace(rest, "sdc devices file", "sdc size", 1)},
		{"the name moved, none is searched", "IDTYPE=devname IDNAME=/dev/sdc DEVNAME=/dev/sdc PVID=" + pvid("b"), `devices/search_for_devnames = "none"`,
			"! devices file, line 1: devname /dev/sdc, PV " + pvid("b") + ": not found; /dev/sdc has 1048576 bytes, less than devices/pv_min_size, 2097152\n" +
				"- /dev/sda2 devices file\n- /dev/sdb devices file\n" + strings.Replace(rest, "sdc devices file", "sdc size", 1)},
		{"empty", "VERSION=1.1.1\n", "", "- /dev/sda2 devices file\n- /dev/sdb devices file\n" + rest},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := plain()
			h.file("etc/lvm/devices/system.devices", test.file)
			r, err := h.scan(t, "devices { use_devicesfile = 1 }\n"+test.conf)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.SplitAfter(test.want, "\n")
			slices.Sort(want)
			if diff := cmp.Diff(strings.Join(want, ""), told(r)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// Disks without any identity, as virtio's: names are all there is.
func TestScanRenamed(t *testing.T) {
	vd := func(i uint32) Dev { return Dev{254, i * 16} }
	build := func(letters string) *host {
		h := newHost()
		for i, letter := range letters {
			h.disk("vd"+string(rune('a'+i)), vd(uint32(i)), 1000, "")
			if letter != '-' {
				h.pv(vd(uint32(i)), string(letter), 1000)
			}
		}
		h.file("etc/lvm/devices/system.devices", "IDTYPE=devname IDNAME=/dev/vda DEVNAME=/dev/vda PVID="+strings.Repeat("a", 32)+"\n"+
			"IDTYPE=devname IDNAME=/dev/vdb DEVNAME=/dev/vdb PVID="+strings.Repeat("b", 32)+"\n")
		return h
	}
	for _, test := range []struct{ disks, want string }{
		{"ab", "+ /dev/vda\n+ /dev/vdb\n"},
		{"abc", "+ /dev/vda\n+ /dev/vdb\n- /dev/vdc devices file\n"},
		{"ba", "! a: found on /dev/vdb\n! b: found on /dev/vda\n+ /dev/vda\n+ /dev/vdb\n"},
		{"-ab", "! a: found on /dev/vdb\n! b: found on /dev/vdc\n+ /dev/vdb\n+ /dev/vdc\n- /dev/vda devices file\n"},
		{"xbaa", "! a: found on /dev/vdc and on /dev/vdd: which one is meant?\n+ /dev/vdb\n- /dev/vda devices file\n- /dev/vdc devices file\n- /dev/vdd devices file\n"},
		{"a", "! b: not found\n+ /dev/vda\n"},
	} {
		t.Run(test.disks, func(t *testing.T) {
			r, err := build(test.disks).scan(t, "devices/use_devicesfile = 1")
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range r.Problems {
				_, text, _ := strings.Cut(p.Error(), "PV ")
				_, what, _ := strings.Cut(text, ": ")
				r.Problems[i] = errors.New(text[:1] + ": " + what)
			}
			if diff := cmp.Diff(test.want, told(r)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestScanErrors(t *testing.T) {
	h := plain()
	for conf, want := range map[string]string{
		`devices/filter = [ "a|x|", "b" ]`:                     `lvm.conf:1: devices/filter: pattern "b"`,
		"\n" + `devices/global_filter = "r|(|"`:                "lvm.conf:2: devices/global_filter: ",
		`devices/preferred_names = [ "(" ]`:                    "lvm.conf:1: devices/preferred_names: ",
		`devices { use_devicesfile = 1 devicesfile = "../x" }`: "devices/devicesfile",
	} {
		if _, err := h.scan(t, conf); !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
	for name := range h.MapFS {
		if strings.HasPrefix(name, "sys/") {
			delete(h.MapFS, name)
		}
	}
	if _, err := h.scan(t, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without sysfs: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h = plain()
	sys, err := ReadSystem(h, lvmconf.Default("").Devices)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := NewRules(lvmconf.Default(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rules.Scan(ctx, sys, h.open(sys)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What only the device mapper itself tells.
func TestTargets(t *testing.T) {
	r, err := NewRules(lvmconf.Default(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		targets []Target
		usable  bool
	}{
		{nil, true},
		{[]Target{}, false},
		{[]Target{{"error", ""}, {"zero", ""}}, false},
		{[]Target{{"error", ""}, {"linear", ""}}, true},
		{[]Target{{"mirror", "2 253:1 253:2 100/100 1 AA 1 core"}}, false},
		{[]Target{{"snapshot", "Invalid"}}, false},
		{[]Target{{"snapshot", "16/2048 16"}}, true},
		{[]Target{{"raid", "raid1 2 AA 100/100 frozen 0 0 -"}}, false},
		{[]Target{{"raid", "raid1 2 AA 100/100 idle 0 0 -"}}, true},
	} {
		if _, why := r.unusable(&DM{Name: "x", UUID: "y", Targets: test.targets}); (why == "") != test.usable {
			t.Errorf("%v: %q", test.targets, why)
		}
	}
}
