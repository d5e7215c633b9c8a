package faults

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"cowhand/dmcore"
	"cowhand/lvm"
	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) { inside.Main(m) }

// mapped is a disk behind a device of the device mapper, which can be made to
// fail.
type mapped struct {
	t    *testing.T
	path string // of the device
	disk string
	size int // sectors
}

func newMapped(t *testing.T, size int) *mapped {
	t.Helper()
	m := &mapped{t, "/dev/mapper/disk", inside.Disks(t, 1)[0], size}
	inside.Run(t, "dmsetup", "create", "disk", "--table", m.good())
	t.Cleanup(func() { inside.Run(t, "dmsetup", "remove", "--retry", "disk") })
	return m
}

// good leaves out the disk's beginning: lvm2 must not find the label there, too.
func (m *mapped) good() string { return m.part(m.size) }

func (m *mapped) part(size int) string { return fmt.Sprintf("0 %d linear %s 2048", size, m.disk) }

// forget takes note of a write that failed: the kernel tells the next who syncs,
// even if he opened the device later (fsync(2)).
func (m *mapped) forget() {
	m.t.Helper()
	f, err := os.OpenFile(m.path, os.O_RDWR, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	f.Sync()
	if err := f.Close(); err != nil {
		m.t.Fatal(err)
	}
}

// become gives the device another table.
func (m *mapped) become(table string) {
	m.t.Helper()
	inside.Run(m.t, "dmsetup", "suspend", "--noflush", "--nolockfs", "disk")
	inside.Run(m.t, "dmsetup", "load", "disk", "--table", table)
	inside.Run(m.t, "dmsetup", "resume", "--noudevsync", "disk")
}

var web, snap = lvm.Ref{VG: "vg0", LV: "web"}, lvm.Ref{VG: "vg0", LV: "snap"}

// A disk fails at a step of a change, and comes back when the change has ended.
func TestFaultsDiskFailsInACommit(t *testing.T) {
	m := newMapped(t, 256<<11)
	ctx := t.Context()
	e := inside.Engine(m.path)
	if _, err := e.CreatePV(ctx, m.path, lvm.PVOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.CreateVG(ctx, lvm.VGSpec{Name: "vg0", PVs: []string{m.path}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", "vg0") })
	if _, err := e.Create(ctx, "vg0", lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: web.LV, Size: lvm.Size{Bytes: 16 << 20}}, Stripes: 1}, true); err != nil {
		t.Fatal(err)
	}
	take := func() error {
		return e.Snapshot(ctx, []lvm.SnapshotRequest{{Origin: web, Name: snap.LV, Size: lvm.Size{Bytes: 8 << 20}}})
	}
	steps := record(e, take)
	remove(t, e)
	if len(steps) == 0 {
		t.Fatal("a snapshot takes no steps")
	}
	ends := map[string]int{}
	for at, step := range steps {
		if testing.Short() && !strings.Contains(step, "commit") && !strings.Contains(step, "resume") {
			continue
		}
		n := 0
		e.Trace = func(string) error {
			if n == at {
				m.become(fmt.Sprintf("0 %d error", m.size))
			}
			n++
			return nil
		}
		err := take()
		e.Trace = nil
		m.become(m.good())
		m.forget()
		how := check(t, ctx, e)
		ends[how]++
		t.Logf("the disk failed before %q: the state is %s; error: %v", step, how, err)
		if how == "old" && err == nil {
			t.Error("the snapshot was not taken, and nobody said so")
		}
		if t.Failed() {
			return
		}
		remove(t, e)
	}
	if ends["old"] == 0 || ends["new"] == 0 {
		t.Errorf("ends %v: want both", ends)
	}
}

// record carries out f and returns the steps.
func record(e *lvm.Engine, f func() error) (steps []string) {
	e.Trace = func(s string) error { steps = append(steps, s); return nil }
	defer func() { e.Trace = nil }()
	if f() != nil {
		return nil
	}
	return steps
}

// check fails the test unless the group can be read, lvm2 finds nothing wrong with
// it, nothing is suspended and the devices are as it says.
func check(t *testing.T, ctx context.Context, e *lvm.Engine) string {
	t.Helper()
	left, err := e.Unsettled(ctx, func(lvm.ID) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range left {
		t.Errorf("device %s: suspended %v, a table waits %v", i.Name, i.Suspended, i.Inactive)
	}
	vg, err := e.Group(ctx, "vg0")
	if err != nil {
		t.Fatal(err)
	}
	inside.Run(t, "vgck", "vg0")
	table, err := e.DM.Table(ctx, dmcore.BuildUUID(string(vg.ID), string(vg.LV(web.LV).ID), ""))
	if err != nil || len(table) != 1 {
		t.Fatalf("table of the origin: %v, %v", table, err)
	}
	if vg.LV(snap.LV) == nil {
		if kind := table[0].Target.Type(); kind != "linear" {
			t.Errorf("there is no snapshot, and the origin is %s", kind)
		}
		return "old"
	}
	return "new"
}

func remove(t *testing.T, e *lvm.Engine) {
	t.Helper()
	vg, err := e.Group(t.Context(), "vg0")
	if err == nil && vg.LV(snap.LV) != nil {
		err = e.Remove(t.Context(), []lvm.Ref{snap})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// cowhand runs a command that must fail, and returns what it said.
func cowhand(t *testing.T, status string, words ...string) string {
	t.Helper()
	out, err := inside.Try(t, append([]string{inside.Cowhand, "--engine", "kernel", "lvm"}, words...)...)
	if err == nil || !strings.Contains(err.Error(), "exit status "+status) {
		t.Errorf("%v: %v, want exit status %s", words, err, status)
	}
	return out
}

func wants(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("%q does not say %q", out, w)
		}
	}
}

// A volume lies beyond the end of its disk, which shrank.
func TestFaultsDiskShrank(t *testing.T) {
	m := newMapped(t, 256<<11)
	os.Setenv("COWHAND_DEVICES", m.path)
	inside.Run(t, "vgcreate", "vg0", m.path)
	t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", "vg0") })
	inside.Run(t, "lvcreate", "-y", "-l", "100%FREE", "-n", "web", "vg0")
	inside.Run(t, "lvchange", "-an", "vg0/web")
	m.become(m.part(m.size / 2))
	t.Cleanup(func() { m.become(m.good()) })
	wants(t, cowhand(t, "5", "lvchange", "-ay", "vg0/web"), "vg0-web")
	if left := inside.Run(t, "dmsetup", "ls"); strings.Contains(left, "vg0") {
		t.Errorf("left after an activation that failed: %s", left)
	}
}

func TestFaultsInUse(t *testing.T) {
	disk := inside.Disks(t, 1)[0]
	os.Setenv("COWHAND_DEVICES", disk)
	inside.Run(t, "vgcreate", "vg0", disk)
	t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", "vg0") })
	inside.Run(t, "lvcreate", "-y", "-L", "32M", "-n", "web", "vg0")
	f, err := os.Open("/dev/vg0/web")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before := inside.Run(t, "dmsetup", "table")
	wants(t, cowhand(t, "5", "lvchange", "-an", "vg0/web"), "vg0-web", "open")
	wants(t, cowhand(t, "5", "lvremove", "-y", "vg0/web"), "web", "open")
	if after := inside.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables were %s and are %s", before, after)
	}
}

func TestFaultsNoDeviceMapper(t *testing.T) {
	disk := inside.Disks(t, 1)[0]
	os.Setenv("COWHAND_DEVICES", disk)
	inside.Run(t, "vgcreate", "vg0", disk)
	t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", "vg0") })
	inside.Run(t, "mv", "/dev/mapper/control", "/dev/mapper/away")
	t.Cleanup(func() { os.Rename("/dev/mapper/away", "/dev/mapper/control") }) // if that has not happened yet
	wants(t, cowhand(t, "5", "lvcreate", "-l1", "-n", "web", "vg0"), "/dev/mapper/control", "modprobe dm_mod")
	inside.Run(t, "mv", "/dev/mapper/away", "/dev/mapper/control")
	if lvs := inside.Run(t, "lvs", "--noheadings", "vg0"); strings.TrimSpace(lvs) != "" {
		t.Errorf("a volume was made without a device mapper: %s", lvs)
	}
}

func TestFaultsNotAllowed(t *testing.T) {
	inside.Disks(t, 1)
	out, err := inside.Try(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
		"env", "HOME=/tmp", inside.Cowhand, "--engine", "kernel", "dm", "ls")
	if err == nil {
		t.Errorf("nobody may list devices: %s", out)
	}
	wants(t, out, "/dev/mapper/control", "root")
}
