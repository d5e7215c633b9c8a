package inside

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The VM has what all other scenarios lean on: lvm2's own tools make the devices, and udev the links.
func TestLVM2Thick(t *testing.T) {
	disks := Disks(t, 2)
	Run(t, "vgcreate", "vg0", disks[0], disks[1])
	t.Cleanup(func() { Run(t, "vgremove", "-ff", "-y", "vg0") })
	Run(t, "lvcreate", "-y", "-L", "64M", "-n", "web", "vg0")
	Run(t, "lvcreate", "-y", "-s", "-L", "16M", "-n", "snap", "vg0/web")
	tables := Run(t, "dmsetup", "table")
	for name, target := range map[string]string{
		"vg0-web": "snapshot-origin", "vg0-web-real": "linear", "vg0-snap": "snapshot", "vg0-snap-cow": "linear",
	} {
		wantTarget(t, tables, name, target)
	}
	for _, link := range []string{"/dev/vg0/web", "/dev/vg0/snap", "/dev/mapper/vg0-web"} {
		to, err := filepath.EvalSymlinks(link)
		if err != nil || !strings.HasPrefix(to, "/dev/dm-") {
			t.Errorf("%s leads to %q, %v, want a /dev/dm-N that udev made it for", link, to, err)
		}
	}
	if _, err := os.Lstat("/dev/vg0/web-real"); err == nil {
		t.Error("/dev/vg0/web-real is there: udev's rules know nothing of hidden devices")
	}
}

func TestLVM2Thin(t *testing.T) {
	disks := Disks(t, 1)
	Run(t, "vgcreate", "vg0", disks[0])
	t.Cleanup(func() { Run(t, "vgremove", "-ff", "-y", "vg0") })
	Run(t, "lvcreate", "-y", "-T", "-L", "64M", "-V", "256M", "-n", "thin", "vg0/pool")
	Run(t, "lvcreate", "-y", "-s", "-n", "copy", "vg0/thin")
	tables := Run(t, "dmsetup", "table")
	wantTarget(t, tables, "vg0-pool-tpool", "thin-pool")
	wantTarget(t, tables, "vg0-thin", "thin")
	if strings.Contains(tables, "vg0-copy:") {
		t.Error("the thin snapshot is active, although lvm2 marks it to be skipped")
	}
}

// Without udev, libdevmapper makes nodes and links itself.
func TestNoUdevLVM2(t *testing.T) {
	if Udev() {
		t.Fatal("udev runs in a VM that was to have none")
	}
	disks := Disks(t, 1)
	Run(t, "vgcreate", "vg0", disks[0])
	t.Cleanup(func() { Run(t, "vgremove", "-ff", "-y", "vg0") })
	Run(t, "lvcreate", "-y", "-L", "32M", "-n", "web", "vg0")
	for _, path := range []string{"/dev/vg0/web", "/dev/mapper/vg0-web"} {
		if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeDevice == 0 {
			t.Errorf("%s: %v, %v, want a block device", path, info, err)
		}
	}
}

func wantTarget(t *testing.T, tables, name, target string) {
	t.Helper()
	for line := range strings.Lines(tables) {
		if fields := strings.Fields(line); fields[0] == name+":" {
			if fields[3] != target {
				t.Errorf("%s is %s, want %s", name, fields[3], target)
			}
			return
		}
	}
	t.Errorf("no device %s, want one that is %s", name, target)
}

// wantLine wants a line that begins with a word.
func wantLine(t *testing.T, lines, word string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if first, _, _ := strings.Cut(line, " "); first == word {
			return
		}
	}
	t.Errorf("no %s among:\n%s", word, lines)
}
