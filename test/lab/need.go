package lab

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Tools that are outside a user's PATH on Debian.
const sbin = "/usr/sbin:/sbin"

// Need skips the test, and names what is missing, unless every program is there. With
// COWHAND_LAB_REQUIRED=1 it fails instead, so that nothing is skipped unseen where all should run.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	var missing []string
	for _, p := range programs {
		if _, err := Look(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		Skip(t, "missing programs: "+strings.Join(missing, " "))
	}
}

// Skip skips the test, or fails it with COWHAND_LAB_REQUIRED=1.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("COWHAND_LAB_REQUIRED") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// NeedGuest is Need for all that a guest under a private libvirt takes.
func NeedGuest(t testing.TB) {
	t.Helper()
	Need(t, "qemu-system-x86_64", "qemu-nbd", "qemu-img", "virsh", "libvirtd|virtqemud", "unshare", "busybox", "mke2fs", "debugfs")
	if os.Geteuid() == 0 {
		if out, err := exec.Command(namespaces[0], slices.Concat(namespaces[1:], []string{"true"})...).CombinedOutput(); err != nil {
			Skip(t, "no namespaces for a private libvirt: "+strings.TrimSpace(string(out)))
		}
	}
}

// Look finds a program by name, or by the first of several names joined by "|".
func Look(program string) (path string, err error) {
	for name := range strings.SplitSeq(program, "|") {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
		for dir := range strings.SplitSeq(sbin, ":") {
			if path, err = exec.LookPath(dir + "/" + name); err == nil {
				return path, nil
			}
		}
	}
	return "", err
}
