package thin

import (
	"testing"

	"cowhand/test/vm/inside"
)

// twins are two groups that lvm2 made.
func twins(t *testing.T) (theirs, ours inside.Side) {
	t.Helper()
	if testing.Short() {
		t.Skip("long")
	}
	theirs, ours = inside.Twins(t)
	for _, s := range []inside.Side{theirs, ours} {
		inside.Run(t, "vgcreate", s.Name, s.Disk)
	}
	return theirs, ours
}

// Pools, volumes in them and their snapshots are made as lvm2 makes them.
func TestThinTwinCreate(t *testing.T) {
	theirs, ours := twins(t)
	inside.Both(t, theirs, ours,
		"lvcreate -y -T -L 32M VG/pool",
		"lvcreate -y -T -V 40M -n t1 VG/pool",
		"lvcreate -y -V 10M --thinpool pool -n t2 VG",
		"lvcreate -y -s -n s1 VG/t1",
		"lvcreate -y -s -kn -n s2 VG/s1",
		"lvcreate -y -s -K -pr --addtag keep -n s3 VG/t1",
		"lvcreate -y -T -L 20M -V 8M --chunksize 192k -Zn --discards nopassdown --poolmetadatasize 8M -n o1 VG/odd",
		"lvcreate -y -T -l 5 -an --errorwhenfull y --discards ignore -n idle VG",
		"lvcreate -y -V 12M -T -an VG/idle",
		"lvcreate -y -L 8M VG",
	)
	for _, s := range []inside.Side{theirs, ours} {
		s.Sound(t, "pool", "odd", "idle")
	}
	inside.Both(t, theirs, ours,
		"lvcreate -y -V 4M -T -n t3 VG/pool",
		"lvcreate -y -L 8M -an -Zn -pr -n base VG",
		"lvcreate -y -s --thinpool pool -n e1 VG/base",
		"lvcreate -y -s -n e2 VG/e1",
	)
	for _, s := range []inside.Side{theirs, ours} {
		s.Sound(t, "pool", "odd", "idle")
	}
}
