// Command userspace shows the whole life of a snapshot in memory, without root:
// a volume group on one disk, a volume, a snapshot of it, writes to both, the
// merge back. It prints the device tables as dmsetup would, and what sector 0
// of each volume holds.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/userspace"
	"cowhand/lvm"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// kept is a disk that stays although its users close it.
type kept struct{ *blockdev.Mem }

func (kept) Close() error { return nil }

func run(ctx context.Context) error {
	disk := kept{blockdev.NewMem(64 << 20)}
	machine := userspace.New(func(dmcore.Dev) (blockdev.Device, error) { return disk, nil })
	defer machine.Close()
	locks, err := os.MkdirTemp("", "cowhand")
	if err != nil {
		return err
	}
	defer os.RemoveAll(locks)
	e := &lvm.Engine{
		Store: &lvm.Store{Devices: []string{"/disk"}, Open: func(string, bool) (blockdev.Device, error) { return disk, nil }},
		DM:    dmcore.NewClient(machine),
		Locks: lvm.Locks{Dir: locks},
	}
	if _, err := e.CreatePV(ctx, "/disk", lvm.PVOptions{}); err != nil {
		return err
	}
	if _, err := e.CreateVG(ctx, lvm.VGSpec{Name: "vg", PVs: []string{"/disk"}}); err != nil {
		return err
	}
	spec := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: "root", Size: lvm.Size{Bytes: 16 << 20}}}
	if _, err := e.Create(ctx, "vg", spec, true); err != nil {
		return err
	}
	root, snap := lvm.Ref{VG: "vg", LV: "root"}, lvm.Ref{VG: "vg", LV: "before"}
	if err := write(machine, root, 'A'); err != nil {
		return err
	}
	if err := e.Snapshot(ctx, []lvm.SnapshotRequest{{Origin: root, Name: snap.LV, Size: lvm.Size{Percent: 25, Of: lvm.OfOrigin}}}); err != nil {
		return err
	}
	if err := write(machine, root, 'B'); err != nil {
		return err
	}
	if err := show(ctx, "a snapshot was taken, then the origin written", e, machine, root, snap); err != nil {
		return err
	}
	if _, err := e.StartMerge(ctx, []lvm.Ref{snap}); err != nil {
		return err
	}
	if err := e.WaitMerge(ctx, []lvm.Ref{snap}, time.Second, nil); err != nil {
		return err
	}
	return show(ctx, "the snapshot was merged back", e, machine, root)
}

func write(m *userspace.Machine, r lvm.Ref, b byte) error {
	d, err := m.Open(dmcore.BuildName(r.VG, r.LV, ""), false)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.WriteAt(bytes.Repeat([]byte{b}, dmcore.SectorSize), 0); err != nil {
		return err
	}
	return d.Sync()
}

func show(ctx context.Context, what string, e *lvm.Engine, m *userspace.Machine, refs ...lvm.Ref) error {
	fmt.Printf("\n%s\n", what)
	for _, r := range refs {
		d, err := m.Open(dmcore.BuildName(r.VG, r.LV, ""), true)
		if err != nil {
			return err
		}
		sector := make([]byte, dmcore.SectorSize)
		_, err = d.ReadAt(sector, 0)
		d.Close()
		if err != nil {
			return err
		}
		fmt.Printf("  %-10s holds %c\n", r, sector[0])
	}
	infos, err := e.DM.List(ctx)
	if err != nil {
		return err
	}
	for _, i := range infos {
		t, err := e.DM.Table(ctx, i.UUID)
		if err != nil {
			return err
		}
		fmt.Printf("  %-16s %s: %s\n", i.Name, i.Dev, t)
	}
	return nil
}
