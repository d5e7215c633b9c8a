package twin

import (
	"testing"

	"cowhand/test/vm/inside"
)

// Options of the commands make the same of a group too.
func TestTwinOptions(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	theirs, ours := inside.Twins(t)
	for _, s := range []inside.Side{theirs, ours} {
		s.Do(t, "pvcreate -y DISK")
	}
	inside.Both(t, theirs, ours,
		"vgcreate -s 1M --addtag host VG DISK",
		"lvcreate -y -l 10%VG --addtag one --addtag two -n a VG",
		"lvcreate -y -l 20%FREE -n b VG",
		"lvcreate -y -an -Zn -pr -L 4M -n ro VG",
		"lvcreate -y --setactivationskip y -L 4M -n skip VG",
		"lvcreate -y -s -l 50%ORIGIN -c 16k -n sa VG/a",
		"lvcreate -y -s -pr -l 5%VG -n sro VG/a",
		"lvcreate -y -s -l 10%FREE --addtag x --addtag y -n sb VG/b",
		"lvchange --deltag x VG/sb",
		"lvchange --addtag z --deltag one VG/a",
		"lvchange -pr VG/b",
		"lvchange -prw VG/b",
		"lvchange -ay -K VG/skip",
		"lvchange --setactivationskip n VG/skip",
		"lvextend -l +10%FREE VG/skip",
		"lvextend -L 8M VG/ro",
		"lvextend -l +10%ORIGIN VG/sa",
		"vgchange -an VG",
		"lvchange -aey VG/a",
		"vgchange -aey VG",
		"lvchange --refresh VG/a",
		"lvchange --setactivationskip y VG/skip",
		"vgchange -an VG",
		"vgchange -ay VG",
		"vgchange -ay -K VG",
		"vgchange --addtag rack --deltag host VG",
		"lvrename VG/a VG/aa",
		"lvrename VG sb sbb",
		"lvremove -y VG/sro",
		"lvremove -y VG/ro",
	)
}

// Several snapshots are merged by one command: named, or by a tag.
func TestTwinMergeSeveral(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	theirs, ours := inside.Twins(t)
	sides := []inside.Side{theirs, ours}
	for _, s := range sides {
		s.Do(t, "vgcreate VG DISK")
		for _, lv := range []string{"a", "b"} {
			s.Do(t, "lvcreate -y -L 16M -n "+lv+" VG")
		}
	}
	for _, merge := range []string{"lvconvert --merge -i 1 VG/sa VG/sb", "lvconvert --merge -b -i 1 VG/sa VG/sb", "lvconvert --merge -i 1 @patch", "lvconvert --merge -b @patch"} {
		for _, s := range sides {
			for _, lv := range []string{"a", "b"} {
				s.Do(t, "lvcreate -y -s -L 8M --addtag patch -n s"+lv+" VG/"+lv)
				inside.Run(t, "dd", "if=/dev/urandom", "of=/dev/"+s.Name+"/"+lv, "bs=1M", "count=4", "oflag=direct")
			}
			s.Do(t, merge)
			inside.Run(t, "timeout", "60", "sh", "-c", "while lvs -a --noheadings -o name "+s.Name+" | grep -q s[ab]; do sleep 0.2; done")
			if got := inside.Run(t, "sh", "-c", "cat /dev/"+s.Name+"/[ab] | tr -d '\\000' | wc -c"); got != "0\n" {
				t.Errorf("%s: %s bytes are not zero: when the snapshots were taken none was", merge, got)
			}
			inside.Run(t, "vgck", s.Name)
		}
		if inside.Same(t, merge, theirs, ours); t.Failed() {
			return
		}
	}
}
