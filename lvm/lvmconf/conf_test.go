package lvmconf

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sections compares what was set.
var sections = cmpopts.IgnoreFields(Conf{}, "Warnings", "where")

func parse(t *testing.T, texts ...string) Conf {
	t.Helper()
	var files []File
	for i, text := range texts {
		files = append(files, File{[]string{"lvm.conf", "lvmlocal.conf"}[i], []byte(text)})
	}
	c, err := Parse("/etc/lvm", files...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func warnings(c Conf) string {
	var lines []string
	for _, w := range c.Warnings {
		lines = append(lines, w.Error())
	}
	return strings.Join(lines, "\n")
}

func TestParse(t *testing.T) {
	c := parse(t, `
# RHEL 9
devices {
	use_devicesfile = 1
	scan = [ "/dev", '/mnt/dev' ]
	types = [ "fd", 16, "zvol", 1 ]
	filter = [ "a|^/dev/sda|" ]
	pv_min_size = 4096
	unknown_key = [ 1, 2 ]
	scan_lvs = "yes"
}
config { checks = 0 profile_dir = "/etc/lvm/profile" }
local { host_id = 12 }
activation { volume_list = [] read_only_volume_list = "vg0/lv" }
devices/md_component_detection = off
`)
	want := Default("/etc/lvm")
	d := &want.Devices
	d.UseDevicesFile, d.ScanLVs, d.MDComponentDetection, d.PVMinSize = true, true, false, 4<<20
	d.Scan, d.Types, d.Filter = []string{"/dev", "/mnt/dev"}, []Type{{"fd", 16}, {"zvol", 1}}, []string{"a|^/dev/sda|"}
	want.Local.HostID = 12
	want.Activation.VolumeList, want.Activation.ReadOnlyVolumeList = []string{}, []string{"vg0/lv"}
	if diff := cmp.Diff(want, c, sections); diff != "" || len(c.Warnings) > 0 {
		t.Errorf("%s\n(-want +got)\n%s", warnings(c), diff)
	}
	if got := c.Where("devices/filter"); got != "lvm.conf:7" {
		t.Errorf("the filter is at %q", got)
	}
	if got := c.Where("devices/dir"); got != "" {
		t.Errorf("devices/dir is at %q", got)
	}
}

// lvmlocal.conf adds to three lists, and replaces all else: seen with lvm2 2.03.16.
func TestLocal(t *testing.T) {
	c := parse(t, `devices { filter = "r|two|" global_filter = "r|x|" scan = "/a" } activation { volume_list = ["a", "b"] }`,
		`devices { filter = ["a|one|"] global_filter = [ "a|y|" ] scan = "/b" } activation { volume_list = "@tag" } local { system_id = "here" }`)
	want := Default("/etc/lvm")
	want.Devices.Filter, want.Devices.GlobalFilter, want.Devices.Scan = []string{"a|one|", "r|two|"}, []string{"a|y|"}, []string{"/b"}
	want.Activation.VolumeList, want.Local.SystemID = []string{"@tag", "a", "b"}, "here"
	if diff := cmp.Diff(want, c, sections); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWarnings(t *testing.T) {
	c := parse(t, `devices { scan_lvs = perhaps
pv_min_size = "x"
dir = ""
types = ["fd"]
scan = []
search_for_devnames = "sometimes"
hints = none }
devices { hints = all }
activation { tags = ["db"] readahead = 8 }`)
	if diff := cmp.Diff(Default("/etc/lvm"), c, sections); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want := `lvm.conf:1: devices/scan_lvs is perhaps: want 0 or 1
lvm.conf:2: devices/pv_min_size is "x": want a number of KiB
lvm.conf:3: devices/dir is "": want text
lvm.conf:4: devices/types is ["fd"]: want names and numbers by turns
lvm.conf:5: devices/scan is []: want a list of texts
lvm.conf:6: devices/search_for_devnames is "sometimes": want one of none, auto, all
lvm.conf:8: devices/hints was set before, lvm.conf:7: this one counts
lvm.conf:9: activation is a section for hosts of some tags: tags are not read, it is taken for this host's
lvm.conf:9: activation/readahead is 8: want text`
	if diff := cmp.Diff(want, warnings(c)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"devices {\n filter = [ 5 ]\n}": "lvm.conf:2: devices/filter is [ 5 ]: want a list of texts",
		"devices { filter = [] }":       "lvm.conf:1: devices/filter is []: want a list of texts",
		"devices {\n dir\n}":            "lvm.conf:3:1: want '=' or '{' after \"dir\"",
	} {
		_, err := Parse("/etc/lvm", File{"lvm.conf", []byte(text)})
		if !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	c, err := Load(dir)
	if diff := cmp.Diff(Default(dir), c, sections); err != nil || diff != "" {
		t.Errorf("an empty directory: %v\n%s", err, diff)
	}
	if _, err := Load(""); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "lvm.conf"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !errors.Is(err, ErrInvalid) {
		t.Errorf("a directory as lvm.conf: %v", err)
	}
}

// lvm2 tells all its settings, defaults and all, as an lvm.conf would have them.
func TestOracle(t *testing.T) {
	if _, err := exec.LookPath("lvm"); err != nil {
		t.Skip("lvm is not installed")
	}
	for name, files := range map[string][2]string{
		"defaults": {},
		"some set": {
			"devices { filter = [\"a|x|\", \"r|y|\"] types = [\"fd\", 16] scan_lvs = 1 hints = none }\nglobal { units = h suffix = 0 }\ndevices { scan_lvs = no preferred_names = [] }",
			"devices/filter = \"r|z|\"\nlocal { system_id = \"me\" extra_system_ids = [\"a\", \"b\"] }\nbackup { retain_days = 5 backup_dir = \"/x\" }\nactivation/volume_list = [ \"@*\" ]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, file := range []string{"lvm.conf", "lvmlocal.conf"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(files[i]), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ours, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "lvm", "lvmconfig", "--type", "full")
			cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+dir, "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C")
			out, err := cmd.Output()
			if err != nil {
				t.Skipf("lvmconfig: %v", err) // as for a user whom lvm2 denies its locks
			}
			theirs, err := Parse("/nowhere", File{"lvmconfig", out})
			if err != nil {
				t.Fatal(err)
			}
			// lvm2 always has filters that take everything, and tells no list that is empty or not set.
			all := []string{"a|.*|"}
			for _, f := range []*[]string{&ours.Devices.Filter, &ours.Devices.GlobalFilter} {
				if *f == nil {
					*f = all
				}
			}
			if diff := cmp.Diff(theirs, ours, sections, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-lvm2 +ours)\n%s", diff)
			}
			if set := strings.Count(string(out), "="); set < 100 {
				t.Errorf("lvm2 told %d settings", set)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("devices { filter = \"r|two|\" types = [\"fd\", 16] }"), []byte("devices/filter = [\"a|x|\", 'r|y|']"))
	f.Fuzz(func(t *testing.T, main, local []byte) {
		c, err := Parse("/etc/lvm", File{"lvm.conf", main}, File{"lvmlocal.conf", local})
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
		if err == nil && (c.Devices.PVMinSize < 0 || len(c.Devices.Scan) == 0) {
			t.Fatalf("%+v", c.Devices)
		}
	})
}
