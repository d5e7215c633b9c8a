package lvmconf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lvm2 finds the same system ID, whatever its source and however it is written.
func TestSystemIDOracle(t *testing.T) {
	if _, err := exec.LookPath("lvm"); err != nil {
		t.Skip("lvm is not installed")
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 140)
	for _, c := range []struct {
		name, source, local, file string
	}{
		{"nothing", "none", "", ""},
		{"set and not used", "none", "me", ""},
		{"uname", "uname", "", ""},
		{"lvmlocal", "lvmlocal", "me", ""},
		{"lvmlocal that is not set", "lvmlocal", "", ""},
		{"other characters", "lvmlocal", "-.+ä m é.e_x+y-z/!", ""},
		{"none of its characters", "lvmlocal", "..++--", ""},
		{"localhost", "lvmlocal", "localhost4", ""},
		{"long", "lvmlocal", long, ""},
		{"machineid", "machineid", "", ""},
		{"machine-id", "machine-id", "", ""},
		{"appmachineid", "appmachineid", "", ""},
		{"a file", "file", "", "# a comment\n\n \t my.host # and another\n"},
		{"a file of two", "file", "", "one\n\n#\ntwo"},
		{"a file of none", "file", "", "#one\n"},
		{"a file of localhost", "file", "", "localhost\n"},
		{"no file", "file", "", "-"},
		{"unknown", "dns", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.file != "-" {
				write("id", c.file)
			}
			write("machine-id", "0123456789abcdef0123456789abcdef\n")
			write("lvm.conf", fmt.Sprintf("global { system_id_source = %q system_id_file = %q etc = %q }\n", c.source, filepath.Join(dir, "id"), dir))
			if c.local != "" {
				write("lvmlocal.conf", fmt.Sprintf("local { system_id = \"%s\" extra_system_ids = [\"other\"] }\n", c.local))
			}
			conf, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			ids, problems := conf.SystemIDs(hostname)
			ours := ""
			if len(ids) > 0 {
				ours = ids[0]
			}
			cmd := exec.CommandContext(t.Context(), "lvm", "systemid", "--driverloaded", "n")
			cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+dir, "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Skipf("lvm systemid: %v: %s", err, out)
			}
			_, theirs, ok := strings.Cut(string(out), "system ID: ")
			if theirs = strings.TrimSpace(theirs); !ok || ours != theirs {
				t.Errorf("ours is %q, lvm2's %q\n%s%v", ours, theirs, out, problems)
			}
			if warned := strings.Count(string(out), "WARNING") > strings.Count(string(out), "Activation disabled"); warned != (len(problems) > 0) {
				t.Errorf("lvm2 said\n%swe\n%v", out, problems)
			}
		})
	}
}

// Others' IDs count only for a host that has one.
func TestSystemIDsExtra(t *testing.T) {
	c := Default("/etc/lvm")
	c.Local.ExtraSystemIDs = []string{"a", "b"}
	if ids, _ := c.SystemIDs("me"); len(ids) != 0 {
		t.Errorf("without one: %q", ids)
	}
	c.Global.SystemIDSource = "uname"
	if ids, problems := c.SystemIDs("me"); !cmp.Equal([]string{"me", "a", "b"}, ids) || len(problems) > 0 {
		t.Errorf("%q %v", ids, problems)
	}
}
