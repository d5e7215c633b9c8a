package thin

import (
	"os"
	"strings"
	"testing"

	"cowhand/test/vm/inside"
)

// Volumes are removed, renamed, extended and changed as lvm2 does it, while active.
func TestThinTwinChange(t *testing.T) {
	theirs, ours := twins(t)
	for _, command := range []string{
		"lvcreate -y -T -L 32M -V 40M -n t1 VG/pool",
		"lvcreate -y -s -kn -n s1 VG/t1",
		"lvcreate -y -s -kn -n s2 VG/s1",
		"lvcreate -y -T -L 8M VG/idle",
	} {
		for _, s := range []inside.Side{theirs, ours} {
			s.Do(t, command)
		}
	}
	inside.Both(t, theirs, ours,
		"lvextend -L +8M VG/t1",
		"lvextend -L +16M VG/pool",
		"lvextend --poolmetadatasize +4M VG/pool",
		"lvrename VG pool tank",
		"lvrename VG s1 snap",
		"lvchange --discards nopassdown VG/tank",
		"lvchange -k y VG/snap",
		"lvchange -pr VG/snap",
		"lvchange --addtag x VG/tank",
		"lvremove -y VG/snap",
		"lvremove -y VG/t1",
	)
	for _, s := range []inside.Side{theirs, ours} {
		s.Sound(t, "tank", "idle")
	}
	inside.Both(t, theirs, ours,
		"lvextend -L +8M VG/tank",
		"lvchange --discards ignore VG/idle",
		"lvremove -y VG/s2",
		"lvchange -ay VG/tank",
		"lvremove -y VG/tank",
		"lvremove -y VG/idle",
	)
}

// A merge takes the snapshot's device at once where both are closed, and at the next
// activation where they are not.
func TestThinTwinMerge(t *testing.T) {
	theirs, ours := twins(t)
	sides := []inside.Side{theirs, ours}
	each := func(command string) {
		t.Helper()
		for _, s := range sides {
			s.Do(t, command)
		}
	}
	each("lvcreate -y -T -L 32M -V 16M -n t1 VG/pool")
	for _, s := range sides {
		inside.Run(t, "sh", "-c", "yes before | dd of=/dev/"+s.Name+"/t1 bs=1M count=2 iflag=fullblock oflag=direct")
	}
	each("lvcreate -y -s -n s1 --addtag snap VG/t1")
	each("lvcreate -y -s -n s2 VG/t1")
	before := strings.Fields(inside.Run(t, "md5sum", "/dev/vgl/t1"))[0]
	for _, s := range sides {
		inside.Run(t, "sh", "-c", "yes after | dd of=/dev/"+s.Name+"/t1 bs=1M count=4 iflag=fullblock oflag=direct")
	}
	holds := func(when string) {
		t.Helper()
		for _, s := range sides {
			if got := strings.Fields(inside.Run(t, "md5sum", "/dev/"+s.Name+"/t1"))[0]; got != before {
				t.Errorf("%s: %s/t1 holds something else", when, s.Name)
			}
		}
	}
	for _, s := range sides { // what would differ: lvm2 forgets of whom s2 is a snapshot
		s.Do(t, "lvremove -y "+s.Name+"/s2")
	}
	inside.Both(t, theirs, ours, "lvchange --addtag origin VG/t1", "lvconvert --merge VG/s1")
	holds("a merge at once")

	each("lvcreate -y -s -n s3 VG/t1")
	var open []*os.File
	for _, s := range sides {
		inside.Run(t, "sh", "-c", "yes more | dd of=/dev/"+s.Name+"/t1 bs=1M count=4 iflag=fullblock oflag=direct")
		f, err := os.Open("/dev/" + s.Name + "/t1")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	inside.Both(t, theirs, ours, "lvconvert --merge VG/s3")
	for _, origin := range []string{"s3", "t1"} { // lvm2 lets that be
		if out, err := ours.Try(t, "lvcreate -y -s -n s4 VG/"+origin); err == nil {
			t.Errorf("a snapshot of %s during a merge: %s", origin, out)
		}
	}
	for _, f := range open {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	inside.Both(t, theirs, ours, "lvchange -an VG/t1")
	each("lvchange -ay VG/t1")
	// lvm2 has somebody finish the metadata, and here it has nobody.
	inside.Run(t, "timeout", "60", "sh", "-c", "while lvs -a --noheadings -o name vgl | grep -q s3; do lvpoll --polloperation merge_thin -i 1 vgl/t1 || sleep 0.2; done")
	if inside.Same(t, "a merge at activation", theirs, ours); t.Failed() {
		return
	}
	holds("a merge at activation")

	// lvm2 activated the origin as the snapshot, and nobody noted it: cowhand does.
	each("lvcreate -y -s -n s5 VG/t1")
	f, err := os.Open("/dev/vgc/t1")
	if err != nil {
		t.Fatal(err)
	}
	ours.Do(t, "lvconvert --merge vgc/s5")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	inside.Run(t, "lvchange", "-an", "vgc/t1")
	inside.Run(t, "lvchange", "-ay", "--poll", "n", "vgc/t1")
	ours.Do(t, "lvchange -ay vgc/t1")
	theirs.Do(t, "lvconvert --merge vgl/s5")
	inside.Same(t, "a merge that lvm2 began", theirs, ours)
	holds("a merge that lvm2 began")

	// Other snapshots are listed as before.
	each("lvcreate -y -s -n s6 VG/t1")
	each("lvcreate -y -s -n s7 VG/t1")
	ours.Do(t, "lvconvert --merge vgc/s6")
	if got := strings.TrimSpace(inside.Run(t, "lvs", "--noheadings", "-o", "origin", "vgc/s7")); got != "t1" {
		t.Errorf("s7 is a snapshot of %q", got)
	}
	for _, s := range sides {
		s.Sound(t, "pool")
	}
}

// What cannot be is refused, and changes nothing.
func TestThinTwinRefused(t *testing.T) {
	theirs, ours := twins(t)
	sides := []inside.Side{theirs, ours}
	for _, command := range []string{
		"lvcreate -y -T -L 12M -V 12M -n t1 VG/pool",
		"lvcreate -y -L 4M -n plain VG",
	} {
		for _, s := range sides {
			s.Do(t, command)
		}
	}
	before := ours.Picture(t)
	for _, command := range []string{
		"lvcreate -y -T -L 8M --chunksize 32k VG/p2",
		"lvcreate -y -T -L 8M --chunksize 100k VG/p2",
		"lvcreate -y -T -L 8M --chunksize 2G VG/p2",
		"lvcreate -y -T -L 8M VG/pool_tmeta",
		"lvcreate -y -T -L 8M VG/snapshot1",
		"lvcreate -y -T -L 8M VG/pool",
		"lvcreate -y -T -L 4G VG/p2",
		"lvcreate -y -T -L 0 VG/p2",
		"lvcreate -y -T -V 0 -n t2 VG/pool",
		"lvcreate -y -T -V 4M -n t2 VG/plain",
		"lvcreate -y -T -V 4M -n t2 VG/none",
		"lvcreate -y -T -V 4M -n pool VG/pool",
		"lvcreate -y -T -V 4M -n pvmove0 VG/pool",
		"lvcreate -y -T -V 4M --discards ignore -n t2 VG/pool",
		"lvcreate -y -s -n s1 VG/plain",
		"lvcreate -y -s --thinpool pool -n s1 VG/plain",
		"lvcreate -y -s -n s1 VG/pool",
		"lvcreate -y -T -L 8M --discards some VG/p2",
		"lvchange --discards ignore VG/pool",
		"lvchange --discards passdown VG/pool",
		"lvchange -pr VG/pool",
		"lvconvert --merge VG/t1",
		"lvremove -y VG/pool_tmeta",
		"lvrename VG pool plain",
		"lvextend -L 4M VG/pool",
	} {
		for _, s := range sides {
			if out, err := s.Try(t, command); err == nil {
				t.Errorf("%s: %s is not refused: %s", s.Name, command, out)
			}
		}
	}
	if after := ours.Picture(t); after != before {
		t.Errorf("what was refused changed\n%s\nto\n%s", before, after)
	}
	// A pool that is full, and one that waits for thin_check.
	inside.Try(t, "dd", "if=/dev/zero", "of=/dev/vgc/t1", "bs=64k", "oflag=direct")
	if out, err := ours.Try(t, "lvcreate -y -s -n s1 vgc/t1"); err == nil || !strings.Contains(out, "full") {
		t.Errorf("a full pool: %v: %s", err, out)
	}
	for _, s := range sides {
		s.Sound(t, "pool")
	}
}
