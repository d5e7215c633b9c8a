package twin

import (
	"strings"
	"testing"

	"cowhand/test/vm/inside"
)

// The same commands make the same of a group, at every step.
func TestTwinThick(t *testing.T) {
	theirs, ours := twins(t)
	for _, command := range []string{
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
	} {
		for _, g := range []group{theirs, ours} {
			g.do(t, command)
		}
		same(t, command, theirs, ours)
		if t.Failed() {
			return
		}
	}
	for _, g := range []group{theirs, ours} {
		inside.Run(t, "vgck", g.name)
	}
}

// What one activates, the other knows as its own, and takes down.
func TestTwinTakeTurns(t *testing.T) {
	_, g := twins(t)
	lvm2(t, "lvcreate", "-y", "-L", "32M", "-n", "web", g.name)
	cowhand(t, "lvcreate", "-y", "-s", "-L", "8M", "-n", "s1", g.name+"/web")
	lvm2(t, "lvcreate", "-y", "-s", "-L", "8M", "-n", "s2", g.name+"/web")
	for _, turn := range []struct{ down, up maker }{{lvm2, cowhand}, {cowhand, lvm2}, {cowhand, cowhand}} {
		before := g.picture(t)
		turn.down(t, "lvchange", "-an", g.name+"/web")
		if left := inside.Run(t, "dmsetup", "ls"); strings.Contains(left, g.name) {
			t.Errorf("left after deactivation: %s", left)
		}
		turn.up(t, "lvchange", "-ay", g.name+"/web")
		if after := g.picture(t); after != before {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
	}
	inside.Run(t, "vgck", g.name)
}
