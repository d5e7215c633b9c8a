package lvm_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/userspace"
	"cowhand/lvm"
)

// A copy of a disk has the same group on it. Found there, its volumes are not
// those that are mapped: these are neither changed to the copy nor removed.
func TestCopyOfTheDisk(t *testing.T) {
	dir := t.TempDir()
	disk, twin, link := filepath.Join(dir, "disk"), filepath.Join(dir, "twin"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 64<<20), os.Symlink(disk, link)); err != nil {
		t.Fatal(err)
	}
	open := func(path string, write bool) (blockdev.Device, error) { return blockdev.OpenFile(path, !write) }
	m := userspace.New(func(ref dmcore.Dev) (blockdev.Device, error) { return open(string(ref), true) })
	t.Cleanup(func() { m.Close() })
	w := &world{t: t, machine: m, Engine: &lvm.Engine{
		Store: &lvm.Store{Devices: []string{disk}, Open: open, Host: "host"},
		DM:    dmcore.NewClient(m), Locks: lvm.Locks{Dir: filepath.Join(dir, "lock")},
	}}
	ctx := t.Context()
	if _, err := w.CreatePV(ctx, disk, lvm.PVOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateVG(ctx, lvm.VGSpec{Name: "vg", PVs: []string{disk}, ExtentSize: 2048}); err != nil {
		t.Fatal(err)
	}
	root := w.create("root", "8m")
	b, err := os.ReadFile(disk)
	if err == nil {
		err = os.WriteFile(twin, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	late := w.create("late", "4m") // the copy does not know it
	w.fill(root, 0, 8, 1)
	before := w.names()

	w.Store.Devices = []string{twin}
	extend := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: "new", Size: lvm.Size{Bytes: 4 << 20}}}
	_, create := w.Create(ctx, "vg", extend, true)
	for what, err := range map[string]error{
		"snapshot": w.Snapshot(ctx, []lvm.SnapshotRequest{{Origin: root, Name: "s1", Size: lvm.Size{Bytes: 4 << 20}}}),
		"refresh":  w.Refresh(ctx, root), "remove": w.Remove(ctx, []lvm.Ref{root}), "deactivate": w.Deactivate(ctx, root), "create": create,
	} {
		if !errors.Is(err, lvm.ErrDuplicate) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := w.names(); got != before {
		t.Errorf("devices are %q, were %q", got, before)
	}
	w.expect(root, 0, 1)

	w.Store.Devices = []string{link} // another name of the same
	w.snapshot(root, "s1")
	if err := w.Remove(ctx, []lvm.Ref{late}); err != nil {
		t.Error(err)
	}
}
