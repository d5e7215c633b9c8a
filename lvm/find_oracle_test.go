package lvm

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/lvm/lvmconf"
)

// finding is lvm2 and HostDevices, both confined to a directory of links to loop
// devices of a test:
//
//	a b c   physical volumes
//	x       no volume      md  with an md superblock     v1  with LVM1's signature
//	tab     a partition table, which nobody asks the kernel to look at
//
// a is called by-id/one as well.
type finding struct {
	*lvm2
	dev string
}

var finds = []string{"a", "b", "c", "x", "md", "v1", "tab"}

func newFinding(t *testing.T) *finding {
	f := &finding{lvm2: oracle(t, len(finds)), dev: filepath.Join(t.TempDir(), "dev")}
	if err := os.MkdirAll(filepath.Join(f.dev, "by-id"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, name := range finds {
		switch name {
		case "a", "b", "c":
			f.lvm("pvcreate", "-qq", f.paths[i])
		case "md":
			f.put(i, 4096, binary.LittleEndian.AppendUint32(nil, 0xa92b4efc))
		case "v1":
			f.put(i, 0, []byte("HM\x01\x00"))
		case "tab":
			f.put(i, 0x1be, []byte("\x80\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x08"))
			f.put(i, 510, []byte("\x55\xaa"))
		}
		f.link(name, i)
	}
	f.link("by-id/one", 0)
	return f
}

func (f *finding) link(name string, i int) {
	if err := os.Symlink(f.paths[i], filepath.Join(f.dev, name)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *finding) put(i int, off int64, b []byte) {
	dev, err := os.OpenFile(f.paths[i], os.O_WRONLY, 0)
	if err == nil {
		_, err = dev.WriteAt(b, off)
	}
	if err == nil {
		err = dev.Close()
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// settings is an lvm2 directory with an lvm.conf and a devices file.
func (f *finding) settings(conf, devices string) string {
	dir := f.t.TempDir()
	base := fmt.Sprintf("devices { scan = %q hints = none }\nglobal { use_lvmpolld = 0 activation = 0 locking_dir = %q }\nbackup { backup = 0 archive = 0 }\n",
		f.dev, f.locks.Dir)
	err := os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(base+conf), 0o600)
	if err == nil && devices != "" {
		err = os.Mkdir(filepath.Join(dir, "devices"), 0o700)
	}
	if err == nil && devices != "" {
		err = os.WriteFile(filepath.Join(dir, "devices", "system.devices"), []byte(devices), 0o600)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return dir
}

// theirs is what lvm2 finds with these settings, volumes and other devices
// alike. lvm2 may update its devices file.
func (f *finding) theirs(ctx context.Context, dir string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "lvm", "pvs", "-a", "--noheadings", "-o", "pv_name,pv_free", "--separator", " ", "--driverloaded", "n")
	cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+dir, "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C")
	out, err := cmd.Output()
	var names []string
	for line := range strings.Lines(string(out)) {
		names = append(names, strings.Fields(line)[0]) // with pv_name alone, lvm2 leaves out what is no volume
	}
	slices.Sort(names)
	return names, err
}

func (f *finding) ours(ctx context.Context, dir string) ([]string, []error, error) {
	conf, err := lvmconf.Load(dir)
	if err != nil {
		return nil, nil, err
	}
	found, err := HostDevices(ctx, dir, conf, nil)
	if err != nil {
		return nil, nil, err
	}
	return slices.Sorted(slices.Values(found.Devices)), found.Problems, nil
}

// check compares both, and with what is expected: names by blanks, or "error".
func (f *finding) check(t *testing.T, conf, devices, want string) {
	t.Helper()
	dir := f.settings(conf, devices)
	ours, problems, err := f.ours(t.Context(), dir) // before lvm2 mends its file
	theirs, theirErr := f.theirs(t.Context(), dir)
	if want == "error" {
		if err == nil || theirErr == nil {
			t.Errorf("%s\nours: %v, lvm2: %v", conf, err, theirErr)
		}
		return
	}
	if err != nil || theirErr != nil {
		t.Errorf("%s\nours: %v, lvm2: %v", conf, err, theirErr)
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("%s\n%s\n%v (-lvm2 +ours)\n%s", conf, devices, problems, diff)
	}
	var wanted []string
	for name := range strings.FieldsSeq(want) {
		wanted = append(wanted, filepath.Join(f.dev, name))
	}
	slices.Sort(wanted)
	if diff := cmp.Diff(wanted, ours); diff != "" {
		t.Errorf("%s\n%s\n%v (-want +ours)\n%s", conf, devices, problems, diff)
	}
}

func TestOracleFilters(t *testing.T) {
	f := newFinding(t)
	for conf, want := range map[string]string{
		"":                                              "a b c x tab",
		`devices/filter = [ "a|.*|" ]`:                  "a b c x tab",
		`devices/filter = [ "r|.*|" ]`:                  "",
		`devices/filter = "r|/b$|"`:                     "a c x tab",
		`devices/filter = [ "a|/a$|" "r|.*|" ]`:         "a",
		`devices/filter = [ "a|by-id|", "r|.*|" ]`:      "by-id/one",
		`devices/filter = [ "r|by-id|" ]`:               "b c x tab",
		`devices/filter = [ "r|/a$|", "a|by-id/one|" ]`: "by-id/one b c x tab",
		`devices/filter = [ "a|/[abc]$|", "r|.*|" ]`:    "a b c",
		`devices/filter = [ "a|/[^a]$|", "r|.*|" ]`:     "b c x",
		`devices/filter = [ "a(/(a|x)$)", "r{.*}" ]`:    "a x",
		`devices/filter = [ "r/dev.a/", "a/b/" ]`:       "by-id/one b c x tab",
		`devices/filter = [ "a|b.|", "r|.*|" ]`:         "by-id/one b tab", // '.' is the end, too
		`devices/filter = [ "a|/x{1}|", "r|/x|" ]`:      "a b c tab",
		`devices { global_filter = "r|/[ab]$|" filter = [ "a|/b$|", "a|/c$|", "r|.*|" ] }`: "c",
		`devices { global_filter = [ "a|/a$|", "r|.*|" ] filter = "a|by-id|" }`:            "by-id/one",
		`devices/preferred_names = [ "by-id", "/a" ]`:                                      "by-id/one b c x tab",
		`devices { preferred_names = [ "/a$" ] filter = "a|by-id|" }`:                      "a b c x tab",
		`devices/md_component_detection = 0`:                                               "a b c x tab md",
		`devices/pv_min_size = 65536`:                                                      "",
		`devices/types = [ "loopy", 16 ]`:                                                  "a b c x tab",
		`devices/filter = [ "x|a|" ]`:                                                      "error",
		`devices/filter = [ "a|x" ]`:                                                       "error",
		`devices/filter = [ "a|(|" ]`:                                                      "error",
		`devices/filter = [ 5 ]`:                                                           "error",
	} {
		f.check(t, conf, "", want)
	}
}

func TestOracleDevicesFile(t *testing.T) {
	f := newFinding(t)
	l, err := f.store.Scan(t.Context())
	if err != nil || len(l.PVs) != 3 {
		t.Fatalf("%v %v", l, err)
	}
	pvid := map[string]string{}
	for i, v := range l.PVs {
		pvid[finds[i]] = string(v.ID)
	}
	file := func(i int) string {
		b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(f.paths[i]), "loop/backing_file"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	entry := func(idtype, idname, devname, pvid string) string {
		return fmt.Sprintf("IDTYPE=%s IDNAME=%s DEVNAME=%s PVID=%s\n", idtype, idname, devname, pvid)
	}
	path := func(name string) string { return filepath.Join(f.dev, name) }
	const use = "devices/use_devicesfile = 1\n"
	for _, test := range []struct{ name, conf, devices, want string }{
		{"not in use", "devices/use_devicesfile = 0", "VERSION=1.1.1\n", "a b c x tab"},
		{"none", use, "", "a b c x tab"},
		{"empty", use, "VERSION=1.1.1\n", ""},
		{"by file", use, entry("loop_file", file(0), path("a"), pvid["a"]), "a"},
		{"by file, elsewhere", use, entry("loop_file", file(1), path("c"), pvid["b"]), "b"},
		{"by file, another PV", use, entry("loop_file", file(1), path("b"), pvid["c"]), "b"},
		{"by file, no PV", use, entry("loop_file", file(3), path("x"), "."), "x"},
		{"a file that is nobody's", use, entry("loop_file", "/nowhere", path("a"), pvid["a"]), ""},
		{"of another type", use, entry("sys_wwid", file(0), path("a"), pvid["a"]), ""},
		{"of an unknown type", use, entry("new_id", file(0), path("a"), pvid["a"]), ""},
		{"by name", use, entry("devname", path("a"), path("a"), pvid["a"]) + entry("devname", path("b"), path("b"), pvid["b"]), "a b"},
		{"by another name of it", use, entry("devname", path("by-id/one"), path("by-id/one"), pvid["a"]), ""},
		{"the name moved", use, entry("devname", path("c"), path("c"), pvid["a"]), ""},
		{"the name moved, all are searched", use + `devices/search_for_devnames = "all"`, entry("devname", path("c"), path("c"), pvid["a"]), "a"},
		{"the name moved, none is searched", use + `devices/search_for_devnames = "none"`, entry("devname", path("c"), path("c"), pvid["a"]), ""},
		{"two names changed places", use + `devices/search_for_devnames = "all"`,
			entry("devname", path("b"), path("b"), pvid["a"]) + entry("devname", path("a"), path("a"), pvid["b"]), "a b"},
		{"a partition", use, strings.TrimSpace(entry("loop_file", file(0), path("a"), pvid["a"])) + " PART=1\n", ""},
		{"the filter is ignored", use + `devices/filter = "r|.*|"`, entry("loop_file", file(0), path("a"), pvid["a"]), "a"},
		{"what other rules skip", use, entry("loop_file", file(4), path("md"), "."), ""},
	} {
		t.Run(test.name, func(t *testing.T) { f.check(t, test.conf, test.devices, test.want) })
	}

	t.Run("made by lvm2", func(t *testing.T) {
		dir := f.settings(use, "VERSION=1.1.1\n")
		for _, name := range []string{"b", "x"} {
			cmd := exec.CommandContext(t.Context(), "lvm", "lvmdevices", "--driverloaded", "n", "--adddev", path(name))
			cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+dir, "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		ours, problems, err := f.ours(t.Context(), dir)
		if diff := cmp.Diff([]string{path("b"), path("x")}, ours); err != nil || diff != "" || len(problems) > 0 {
			t.Errorf("%v %v\n%s", err, problems, diff)
		}
	})
}
