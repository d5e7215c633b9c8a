// Package inside, with the packages below it, holds the scenarios that run in the test VM: ordinary Go
// tests, which `make test-vm` compiles here and runs there. Elsewhere they do not run.
//
//	func TestMain(m *testing.M) { inside.Main(m) } // once in each package
//
//	func TestThing(t *testing.T) {
//		disks := inside.Disks(t, 2) // /dev/vda and /dev/vdb, empty
//		inside.Run(t, "vgcreate", "vg0", disks[0], disks[1])
//		t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", "vg0") })
//		inside.Run(t, inside.Cowhand, "lvm", "vgs")
//		…
//	}
//
// Scenarios whose names begin with TestNoUdev run in a VM without udev. All others of one run share a
// VM, so one that leaves a device-mapper or loop device behind fails; after a failure the VM is replaced. A scenario
// that takes more than some 20 s is skipped where testing.Short says so. One whose name begins with
// TestSlow has more time than others: see [Deadline].
package inside

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Where things are in the VM.
const (
	Bin     = "/cowhand/bin"
	Cowhand = Bin + "/cowhand" // the program under test
	Source  = "/cowhand/src"   // the checkout, read-only
)

// The disks of a VM that runs these tests: /dev/vda, /dev/vdb and so on.
const (
	DiskCount = 4
	DiskMiB   = 512
)

// Deadline is for one scenario, on a busy machine without KVM.
func Deadline(test string) time.Duration {
	if strings.HasPrefix(test, "TestSlow") {
		return 15 * time.Minute
	}
	return 5 * time.Minute
}

// commandDeadline is for one program: what takes a second takes a minute beside several other VMs.
const commandDeadline = 2 * time.Minute

// In tells whether this process runs in the test VM.
func In() bool {
	_, err := os.Stat(Cowhand)
	return err == nil && os.Getenv("COWHAND_VM") == "1"
}

// Main runs the tests in the VM, and none elsewhere: they take whole disks, and root's lvm2.
func Main(m *testing.M) {
	flag.Parse()
	if !In() && flag.Lookup("test.list").Value.String() == "" {
		fmt.Println("==== skipped: these tests run in the test VM only; `make test-vm` starts it")
		if err := flag.Set("test.skip", "."); err != nil {
			panic(err)
		}
	}
	status := m.Run()
	if In() {
		if left := leftBehind(); left != "" {
			fmt.Println("left behind:", left)
			status = 1
		}
	}
	os.Exit(status)
}

// Udev tells whether udev runs in this VM.
func Udev() bool {
	_, err := os.Stat("/run/udev/control")
	return err == nil
}

// Try runs a program and returns all that it said; an error holds that too.
func Try(t testing.TB, argv ...string) (string, error) {
	only(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrWaitDelay) { // something left behind holds the output open
		err = nil
	}
	t.Logf("+ %s  (%.1f s)\n%s", strings.Join(argv, " "), time.Since(begun).Seconds(), out)
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), errors.Join(err, ctx.Err()), strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// Run is Try for a test that ends when the program fails. In a cleanup it only fails the test.
func Run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := Try(t, argv...)
	if err != nil && t.Context().Err() != nil {
		t.Error(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return out
}

// Disks returns the first n disks, with nothing on them.
func Disks(t testing.TB, n int) []string {
	t.Helper()
	only(t)
	if n > DiskCount {
		t.Fatalf("%d disks asked for, the VM has %d", n, DiskCount)
	}
	var disks []string
	for i := range n {
		disk := fmt.Sprintf("/dev/vd%c", 'a'+i)
		if _, err := quiet("blkdiscard", "-f", disk); err != nil {
			t.Fatal(err)
		}
		disks = append(disks, disk)
	}
	if Udev() {
		if _, err := quiet("udevadm", "settle", "--timeout=30"); err != nil {
			t.Fatal(err)
		}
	}
	return disks
}

// only is for a package that forgot its TestMain.
func only(t testing.TB) {
	if !In() {
		t.Skip("runs in the test VM only")
	}
}

// leftBehind names the devices that the next scenario would stumble over.
func leftBehind() (left string) {
	if out, err := quiet("dmsetup", "ls"); err != nil || strings.TrimSpace(out) != "No devices found" {
		left = fmt.Sprintln(out, err)
	}
	if out, err := quiet("losetup", "-n", "-l"); err != nil || strings.TrimSpace(out) != "" {
		left += fmt.Sprintln(out, err)
	}
	return left
}

func quiet(argv ...string) (string, error) {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return string(out), err
}
