package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cowhand/test/vm/inside"
)

// The kernel maps volumes on image files by way of loop devices, which come and go
// with them; and leaves an image alone that a userspace engine has.
func TestRulesImages(t *testing.T) {
	inside.Disks(t, 0) // no device is to be left
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	cowhand := func(engine string, words ...string) []string {
		return append([]string{inside.Cowhand, "--engine", engine, "--run-dir", filepath.Join(dir, engine),
			"--state-dir", filepath.Join(dir, "state"), "--devices", image}, words...)
	}
	kernel := func(words ...string) string {
		t.Helper()
		return inside.Run(t, cowhand("kernel", append([]string{"lvm"}, words...)...)...)
	}
	loops := func() string { return strings.TrimSpace(inside.Run(t, "losetup", "-n", "-O", "NAME", "-j", image)) }

	kernel("vgcreate", "images", image)
	kernel("lvcreate", "-y", "-L", "16M", "-n", "web", "images")
	t.Cleanup(func() {
		inside.Run(t, cowhand("kernel", "lvm", "vgremove", "-ff", "-y", "images")...)
	})
	if loops() == "" {
		t.Error("no loop device")
	}
	if err := os.WriteFile("/dev/images/web", []byte("what a guest wrote"), 0); err != nil {
		t.Fatal(err)
	}
	kernel("lvcreate", "-y", "-s", "-L", "8M", "-n", "snap", "images/web")
	kernel("lvextend", "-L", "+4M", "images/snap")
	kernel("lvchange", "-y", "-an", "images/web")
	if left := loops(); left != "" {
		t.Errorf("%s is left", left)
	}

	inside.Run(t, cowhand("userspace", "lvm", "lvchange", "-ay", "images/web")...)
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			inside.Run(t, cowhand("userspace", "engine", "stop", "--force")...)
		}
	}
	t.Cleanup(stop)
	if out, err := inside.Try(t, cowhand("kernel", "lvm", "lvchange", "-ay", "images/web")...); err == nil || !strings.Contains(out, image+": a userspace engine of this host has it") {
		t.Errorf("an image that another engine has: %v", err)
	}
	stop()

	inside.Run(t, "losetup", "-f", image)
	kernel("lvchange", "-ay", "images/web")
	kernel("lvchange", "-y", "-an", "images/web")
	if loops() == "" {
		t.Error("the loop device of somebody else went")
	} else {
		inside.Run(t, "losetup", "-d", loops())
	}
	kernel("lvchange", "-ay", "images/web")
	if got := inside.Run(t, "head", "-c", "18", "/dev/images/web"); got != "what a guest wrote" {
		t.Errorf("read %q", got)
	}
}
