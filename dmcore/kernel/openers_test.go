package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// fakeProc makes a process that has files open.
func fakeProc(t *testing.T, proc string, pid, ppid int, name string, open ...string) {
	t.Helper()
	dir := filepath.Join(proc, strconv.Itoa(pid))
	if err := os.MkdirAll(filepath.Join(dir, "fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"comm": name + "\n", "stat": strconv.Itoa(pid) + " (" + name + ") S " + strconv.Itoa(ppid) + " 1 1"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i, target := range open {
		if err := os.Symlink(target, filepath.Join(dir, "fd", strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpeners(t *testing.T) {
	proc := t.TempDir()
	node := filepath.Join(proc, "node")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(253, 4))); err != nil {
		t.Skipf("a block device's node cannot be made here: %v", err)
	}
	fakeProc(t, proc, 1, 0, "systemd", "/dev/null")
	fakeProc(t, proc, 50, 1, "systemd-udevd")
	fakeProc(t, proc, 51, 50, "(udev-worker)", node, node)
	fakeProc(t, proc, 52, 51, "bl) id (x", node)
	fakeProc(t, proc, 60, 1, "qemu-system-x86", "/dev/null", node)
	fakeProc(t, proc, 61, 1, "cat", "/no/such/file")
	if err := os.WriteFile(filepath.Join(proc, "uptime"), nil, 0o644); err != nil {
		t.Fatal(err)
	}

	pids := func(dev dmcore.DevNo, which func(int) bool) []int {
		found, err := openers(proc, dev, which)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	all := func(int) bool { return true }
	if got := pids(dmcore.DevNo{Major: 253, Minor: 4}, all); !slices.Equal(got, []int{51, 52, 60}) {
		t.Errorf("openers %v", got)
	}
	if got := pids(dmcore.DevNo{Major: 253, Minor: 5}, all); got != nil {
		t.Errorf("openers of another device %v", got)
	}
	if got := pids(dmcore.DevNo{Major: 253, Minor: 4}, func(pid int) bool { return prober(proc, pid) }); !slices.Equal(got, []int{51, 52}) {
		t.Errorf("probers %v", got)
	}
}

// A device that a guest has open is not taken for probed because udev opens it
// just then, or closes it.
func TestProbed(t *testing.T) {
	proc := t.TempDir()
	dev := dmcore.DevNo{Major: 253, Minor: 4}
	node := filepath.Join(proc, "node")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(dev.Major, dev.Minor))); err != nil {
		t.Skipf("a block device's node cannot be made here: %v", err)
	}
	fakeProc(t, proc, 1, 0, "systemd")
	fakeProc(t, proc, 60, 1, "qemu-system-x86", node)
	queue := proc // is there
	is := func(what string, want bool, counts ...func() int) {
		t.Helper()
		got := probed(proc, queue, dev, func() (int, error) {
			n := counts[0]()
			counts = counts[1:]
			return n, nil
		})
		if got != want || len(counts) > 0 {
			t.Errorf("%s: %v, and %d counts were not asked for", what, got, len(counts))
		}
	}
	count := func(n int) func() int { return func() int { return n } }
	closes := func(n int) func() int {
		return func() int {
			if err := os.RemoveAll(filepath.Join(proc, "51")); err != nil {
				t.Error(err)
			}
			return n
		}
	}
	is("udev, gone since the device was listed", true, count(0))
	is("a guest", false, count(1), count(1), count(1))
	is("udev, which came and went while it was looked at", true, count(1), count(0))
	fakeProc(t, proc, 51, 1, "(udev-worker)", node)
	is("udev", true, count(1))
	is("udev, and closed", true, count(0))
	is("a guest and udev", false, count(2), count(2), count(2))
	is("a guest, and udev that closes", false, closes(1), count(1), count(1))
	queue = filepath.Join(proc, "queue")
	is("somebody, while udev has nothing to do", false, count(1))
	is("udev, and it is done", true, count(0))
}
