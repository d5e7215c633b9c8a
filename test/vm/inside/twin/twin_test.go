package twin

import (
	"os"
	"strings"
	"testing"

	"cowhand/test/vm/inside"
)

// The same commands make the same of a group, at every step.
func TestTwinThick(t *testing.T) {
	theirs, ours := inside.Twins(t)
	inside.Both(t, theirs, ours,
		"vgcreate VG DISK",
		"lvcreate -y -L 32M -n web VG",
		"lvcreate -y -i 1 -l 10 -n plain VG",
		"lvcreate -y -s -L 8M -c 4k -n s1 VG/web",
		"lvcreate -y -s -L 12M -c 64k -n s-2 VG/web",
		"lvchange -an VG/web",
		"lvchange -ay VG/web",
		"lvextend -L +4M VG/s1",
		"lvremove -y VG/s-2",
		"lvrename VG s1 s3",
		"lvchange -an VG/plain",
		"lvremove -y VG/plain",
		"lvcreate -y -r 64k -L 8M -n ahead VG",
		"lvchange -r 1M VG/ahead",
		"lvchange -r auto VG/ahead",
		"lvcreate -y -s -L 8M -r none -n behind VG/ahead",
		"lvconvert --merge -i 1 VG/s3",
	)
	for _, g := range []inside.Side{theirs, ours} {
		inside.Run(t, "vgck", g.Name)
	}
}

// A merge whose origin is open is recorded, and begins when it is activated anew.
func TestTwinDeferredMerge(t *testing.T) {
	theirs, ours := inside.Twins(t)
	inside.Both(t, theirs, ours, "vgcreate VG DISK", "lvcreate -y -L 32M -n web VG", "lvcreate -y -s -L 16M -n s1 VG/web")
	var open []*os.File
	for _, g := range []inside.Side{theirs, ours} {
		inside.Run(t, "sh", "-c", "yes "+"later"+" | dd of=/dev/"+g.Name+"/web bs=1M count=4 iflag=fullblock oflag=direct")
		f, err := os.Open("/dev/" + g.Name + "/web")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	inside.Both(t, theirs, ours, "lvconvert --merge VG/s1")
	for _, f := range open {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	inside.Both(t, theirs, ours, "lvchange -an VG/web")
	for _, g := range []inside.Side{theirs, ours} {
		g.Do(t, "lvchange -ay VG/web")
		// lvm2 has udev or a daemon wait for the end, and here it has none; ours leaves a process.
		inside.Run(t, "timeout", "60", "sh", "-c", "while lvs -a --noheadings -o name "+g.Name+" | grep -q s1; do lvpoll --polloperation merge -i 1 "+g.Name+"/web || sleep 0.2; done")
	}
	inside.Same(t, "the merge", theirs, ours)
	if sum := inside.Run(t, "sh", "-c", "cat /dev/vgc/web | tr -d '\\000' | wc -c"); strings.TrimSpace(sum) != "0" {
		t.Errorf("the origin holds %s bytes that are not zero: it held none when the snapshot was taken", strings.TrimSpace(sum))
	}
}

// What one activates, the other knows as its own, and takes down.
func TestTwinTakeTurns(t *testing.T) {
	theirs, ours := inside.Twins(t)
	lvm2 := inside.Side{Name: ours.Name, Disk: ours.Disk}
	theirs.Do(t, "vgcreate VG DISK")
	lvm2.Do(t, "vgcreate VG DISK", "lvcreate -y -L 32M -n web VG")
	ours.Do(t, "lvcreate -y -s -L 8M -n s1 VG/web")
	lvm2.Do(t, "lvcreate -y -s -L 8M -n s2 VG/web")
	for _, turn := range []struct{ down, up inside.Side }{{lvm2, ours}, {ours, lvm2}, {ours, ours}} {
		before := ours.Picture(t)
		turn.down.Do(t, "lvchange -an VG/web")
		if left := inside.Run(t, "dmsetup", "ls"); strings.Contains(left, ours.Name) {
			t.Errorf("left after deactivation: %s", left)
		}
		turn.up.Do(t, "lvchange -ay VG/web")
		if after := ours.Picture(t); after != before {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
	}
	inside.Run(t, "vgck", ours.Name)
}
