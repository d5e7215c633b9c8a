package vm

import (
	"strings"
	"testing"
)

// merger is a program that begins and goes on with merges.
type merger struct {
	name   string
	begin  []string // vg0/snap, in the background
	resume []string // all of vg0, after the machine was started
}

// A merge that a power cut stopped goes on when the group is activated, whichever program began it and
// whichever activates. That lvm2 goes on with its own proves that a cut here leaves what a real one
// would.
func TestMergeAfterPowerCut(t *testing.T) {
	lvm2 := merger{"LVM2", []string{"lvconvert", "--merge", "-b", "vg0/snap"},
		[]string{"vgchange", "-ay", "--config", "activation/polling_interval=1", "vg0"}}
	cowhand := merger{"Cowhand", append(cowhandLVM, "lvconvert", "--merge", "-b", "vg0/snap"), append(cowhandLVM, "vgchange", "-ay", "vg0")}
	for _, c := range []struct{ begins, goesOn merger }{{lvm2, lvm2}, {cowhand, lvm2}, {lvm2, cowhand}} {
		t.Run(c.begins.name+c.goesOn.name, func(t *testing.T) {
			if testing.Short() && c.begins.name == c.goesOn.name {
				t.Skip("long")
			}
			mergeAfterPowerCut(t, c.begins, c.goesOn)
		})
	}
}

// cowhandLVM begins a command line of LVM2's commands on cowhand's engine.
var cowhandLVM = []string{"/cowhand/bin/cowhand", "--engine", "kernel", "--devices", "/dev/vda,/dev/vdb", "lvm"}

func mergeAfterPowerCut(t *testing.T, begins, goesOn merger) {
	// The origin lies on a disk so slow that merging takes seconds.
	m := Boot(t, Config{Disks: []Disk{{MiB: 128}, {MiB: 128, WriteMiB: 2}}})
	m.Must("vgcreate", "vg0", "/dev/vda", "/dev/vdb")
	m.Must("lvcreate", "-y", "-L", "32M", "-n", "web", "vg0", "/dev/vdb")
	m.Must("sh", "-c", "yes before | dd of=/dev/vg0/web bs=1M count=8 iflag=fullblock oflag=direct")
	m.Must("lvcreate", "-y", "-s", "-L", "32M", "-n", "snap", "vg0/web", "/dev/vda")
	m.Must("sh", "-c", "yes after | dd of=/dev/vg0/web bs=1M count=8 iflag=fullblock oflag=direct")
	m.Must("sh", "-c", "yes snapshot | dd of=/dev/vg0/snap bs=1M count=4 iflag=fullblock oflag=direct")
	want := sum(m, "/dev/vg0/snap")
	uuid := strings.TrimSpace(m.Must("lvs", "--noheadings", "-o", "lv_uuid", "vg0/web"))

	// Started first, so that the cut does not have to wait for lvconvert's end.
	begun, err := m.Go("sh", "-c", `
		status() { set -- $(dmsetup status vg0-web); echo "$3 ${4%/*}"; }
		until s=$(status) && [ "${s% *}" = snapshot-merge ]; do :; done
		until now=$(status) && [ "$now" != "$s" ]; do :; done
		echo $now`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Go(begins.begin...); err != nil {
		t.Fatal(err)
	}
	status, err := begun.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(status, "snapshot-merge ") {
		t.Fatalf("when the power was cut the origin was %q, want a merge under way", status)
	}

	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if roles := m.Must("lvs", "-a", "--noheadings", "-o", "lv_name,lv_role", "vg0"); !strings.Contains(roles, "snap") {
		t.Fatalf("after the power cut there is no snapshot to be merged any more:\n%s", roles)
	}
	if table := m.Must("dmsetup", "table"); strings.TrimSpace(table) != "No devices found" {
		t.Fatalf("after the power cut, before anything was activated:\n%s", table)
	}
	m.Must(goesOn.resume...)
	m.Must("timeout", "90", "sh", "-c", "while lvs vg0/snap >/dev/null 2>&1; do sleep 0.2; done")
	if got := sum(m, "/dev/vg0/web"); got != want {
		t.Errorf("the origin after the merge: sha256 %s, want the snapshot's %s", got, want)
	}
	m.Must("vgck", "vg0")
	if ident := m.Must("lvs", "--noheadings", "-o", "lv_uuid", "vg0/web"); strings.TrimSpace(ident) != uuid {
		t.Errorf("the origin after the merge: %s, want the UUID %s", ident, uuid)
	}
	if table := m.Must("dmsetup", "table"); strings.Contains(table, "snap") {
		t.Errorf("after the merge there is still a snapshot:\n%s", table)
	}
}

func sum(m *Machine, device string) string {
	m.t.Helper()
	out, _, _ := strings.Cut(m.Must("sha256sum", device), " ")
	return out
}
