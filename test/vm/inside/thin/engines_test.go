package thin

import (
	"fmt"
	"strings"
	"testing"

	"cowhand/test/vm/inside"
)

// A pool that cowhand's engine in user space made, and filled for clients of its NBD
// server, is used by lvm2 on the kernel's device mapper as it is, and the reverse.
func TestThinChangesEngines(t *testing.T) {
	if testing.Short() {
		t.Skip("long: 90 s")
	}
	disk := inside.Disks(t, 1)[0]
	dir := t.TempDir()
	ours := func(words ...string) string {
		t.Helper()
		return inside.Run(t, append([]string{inside.Cowhand, "--engine", "userspace", "--devices", disk, "--run-dir", dir, "--state-dir", dir}, words...)...)
	}
	t.Cleanup(func() { ours("engine", "stop", "--force") })
	// io has qemu-io write a pattern to a MiB of a volume, or check one.
	io := func(lv, what string, pattern, at int) {
		t.Helper()
		uri := strings.TrimSpace(ours("engine", "uri", "vg0/"+lv))
		out := inside.Run(t, "qemu-io", "-f", "raw", "-c", fmt.Sprintf("%s -P %d %dM 1M", what, pattern, at), "-c", "flush", uri)
		if strings.Contains(out, "Pattern verification failed") {
			t.Errorf("%s at %d MiB is not %d", lv, at, pattern)
		}
	}
	// kernel wants a MiB of a volume of the kernel's to hold nothing but a byte.
	kernel := func(lv string, pattern, at int) {
		t.Helper()
		count := inside.Run(t, "sh", "-c", fmt.Sprintf("dd if=/dev/vg0/%s bs=1M skip=%d count=1 status=none | tr -d '\\%03o' | wc -c", lv, at, pattern))
		if strings.TrimSpace(count) != "0" {
			t.Errorf("%s at %d MiB: %s bytes are not %d", lv, at, strings.TrimSpace(count), pattern)
		}
	}
	sound := func() {
		t.Helper()
		inside.Run(t, "lvchange", "-y", "-ay", "vg0/pool_tmeta")
		inside.Run(t, "thin_check", "/dev/vg0/pool_tmeta")
		inside.Run(t, "lvchange", "-an", "vg0/pool_tmeta")
		inside.Run(t, "vgck", "vg0")
	}

	ours("lvm", "vgcreate", "vg0", disk)
	ours("lvm", "lvcreate", "-T", "-L", "64M", "vg0/pool")
	ours("lvm", "lvcreate", "-V", "32M", "-T", "vg0/pool", "-n", "a")
	io("a", "write", 1, 0)
	io("a", "write", 1, 9)
	ours("lvm", "lvcreate", "-s", "-kn", "-n", "s", "vg0/a")
	io("a", "write", 2, 0)
	ours("lvm", "vgchange", "-an", "vg0")
	ours("engine", "stop")
	sound()

	inside.Run(t, "vgchange", "-ay", "vg0")
	kernel("a", 2, 0)
	kernel("a", 1, 9)
	kernel("a", 0, 20)
	kernel("s", 1, 0)
	inside.Run(t, "lvcreate", "-y", "-s", "-kn", "-n", "k", "vg0/a")
	inside.Run(t, "sh", "-c", "tr '\\000' '\\003' < /dev/zero | dd of=/dev/vg0/a bs=1M count=1 seek=9 iflag=fullblock oflag=direct conv=notrunc")
	inside.Run(t, "blkdiscard", "-o", "0", "-l", "1M", "/dev/vg0/a")
	inside.Run(t, "lvextend", "-L", "+16M", "vg0/pool")
	inside.Run(t, "vgchange", "-an", "vg0")
	sound()

	ours("lvm", "vgchange", "-ay", "vg0")
	io("a", "read", 0, 0)
	io("a", "read", 3, 9)
	io("k", "read", 2, 0)
	io("k", "read", 1, 9)
	io("s", "read", 1, 0)
	ours("lvm", "lvconvert", "--merge", "vg0/k")
	io("a", "read", 2, 0)
	io("a", "read", 1, 9)
	io("a", "write", 4, 12)
	ours("lvm", "lvremove", "-y", "vg0/s")
	ours("lvm", "vgchange", "-an", "vg0")
	ours("engine", "stop")
	sound()

	inside.Run(t, "vgchange", "-ay", "vg0")
	kernel("a", 2, 0)
	kernel("a", 4, 12)
	inside.Run(t, "vgremove", "-ff", "-y", "vg0")
}
