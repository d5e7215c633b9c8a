package orchestrator_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/userspace"
	"cowhand/hypervisor"
	"cowhand/hypervisor/hvtest"
	"cowhand/lvm"
	"cowhand/orchestrator"
	"cowhand/orchestrator/journal"
)

// host is a whole host in memory: disks, the userspace machine, the engine over
// it, a fake hypervisor whose guest web1 has its disk on vg/web1.
type host struct {
	t       *testing.T
	machine *userspace.Machine
	volumes *lvm.Engine
	guests  *hvtest.Host
	runs    string // the journals
	*orchestrator.Orchestrator
	// effect is called before each effect on devices, metadata or guests.
	effect func(what string)
}

type kept struct{ blockdev.Device }

func (kept) Close() error { return nil }

const socket = "/run/cowhand/nbd.sock"

type addresses struct{}

func (addresses) Source(r lvm.Ref) hypervisor.DiskSource {
	return hypervisor.DiskSource{Export: r.String(), Socket: socket}
}

func (addresses) Locate(d hypervisor.Disk) (lvm.Ref, bool) {
	if d.Kind != hypervisor.NBD || d.Socket != socket {
		return lvm.Ref{}, false
	}
	r, err := lvm.ParseRef(d.Source)
	return r, err == nil
}

func guestXML(name, uuid, disks string) string {
	return fmt.Sprintf(`<domain type='qemu'>
  <name>%s</name>
  <uuid>%s</uuid>
  <memory unit='KiB'>131072</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
%s    <interface type='network'>
      <mac address='52:54:00:00:00:01'/>
      <source network='default'/>
    </interface>
  </devices>
</domain>
`, name, uuid, disks)
}

func nbdDisk(target, export string) string {
	return fmt.Sprintf(`    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'/>
      <source protocol='nbd' name='%s'>
        <host transport='unix' socket='%s'/>
      </source>
      <target dev='%s' bus='virtio'/>
    </disk>
`, export, socket, target)
}

// newHost has web1, running, with the disks vda on vg/web1 and vdb on vg/data. Those
// named are in a thin pool.
func newHost(t *testing.T, thin ...string) *host {
	t.Helper()
	h := &host{t: t, effect: func(string) {}}
	disk := blockdev.NewMem(64 << 20)
	open := func(string, bool) (blockdev.Device, error) { return kept{disk}, nil }
	h.machine = userspace.New(func(ref dmcore.Dev) (blockdev.Device, error) { return h.volumes.Store.Open(string(ref), true) })
	t.Cleanup(func() { h.machine.Close() })
	h.volumes = &lvm.Engine{
		Store: &lvm.Store{Devices: []string{"/disk"}, Open: open, Host: "host"},
		DM:    dmcore.NewClient(h.machine),
		Locks: lvm.Locks{Dir: filepath.Join(t.TempDir(), "lock")},
		Trace: func(step string) error { h.effect(step); return nil },
	}
	h.guests = hvtest.New()
	h.guests.Fail = func(op, guest string) error { h.effect(op + " " + guest); return nil }
	h.runs = filepath.Join(t.TempDir(), "runs")
	runs, err := journal.Open(h.runs)
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	h.Orchestrator = &orchestrator.Orchestrator{Journal: runs, World: &orchestrator.World{
		Guests: h.guests, Volumes: h.volumes, Disks: addresses{}, Files: &orchestrator.Files{Dir: t.TempDir()},
		FreshMAC:  func() string { return fmt.Sprintf("52:54:00:00:01:%02x", n.Add(1)) },
		FreshUUID: func() string { return fmt.Sprintf("00000000-0000-0000-0000-%012x", n.Add(1)) },
		Now:       func() time.Time { return time.Date(2026, 11, 23, 9, 15, 0, 0, time.UTC) },
		Random:    rand.Reader,
	}}
	ctx := t.Context()
	if _, err := h.volumes.CreatePV(ctx, "/disk", lvm.PVOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.volumes.CreateVG(ctx, lvm.VGSpec{Name: "vg", PVs: []string{"/disk"}, ExtentSize: 2048}); err != nil {
		t.Fatal(err)
	}
	if len(thin) > 0 {
		if _, _, err := h.volumes.CreateThinPool(ctx, "vg", lvm.ThinPoolSpec{Name: "pool", Size: lvm.Size{Bytes: 16 << 20}}, true); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"web1", "data"} {
		if slices.Contains(thin, name) {
			spec := lvm.ThinSpec{Pool: "pool", Name: name, Size: lvm.Size{Bytes: 4 << 20}}
			if _, err := h.volumes.CreateThins(ctx, "vg", []lvm.ThinSpec{spec}, lvm.ThinOptions{Activate: true}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		spec := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: name, Size: lvm.Size{Bytes: 4 << 20}}}
		if _, err := h.volumes.Create(ctx, "vg", spec, true); err != nil {
			t.Fatal(err)
		}
	}
	h.define("web1", nbdDisk("vda", "vg/web1")+nbdDisk("vdb", "vg/data"))
	h.start("web1")
	h.write("vg/web1", 1)
	h.write("vg/data", 1)
	return h
}

// addDisk adds a physical volume; open opens all there are.
func (h *host) addDisk(path string, open func(string, bool) (blockdev.Device, error)) {
	h.volumes.Store.Open = open
	h.volumes.Store.Devices = append(h.volumes.Store.Devices, path)
}

func (h *host) define(name, disks string) {
	h.t.Helper()
	if _, err := h.guests.Define(h.t.Context(), guestXML(name, h.World.FreshUUID(), disks)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) start(name string) {
	h.t.Helper()
	g, err := h.guests.Guest(h.t.Context(), name)
	if err == nil {
		err = g.Start(h.t.Context())
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// write fills the first sectors of a volume with a byte, read tells which.
func (h *host) write(ref string, b byte) {
	h.t.Helper()
	d := h.open(ref)
	defer d.Close()
	if _, err := d.WriteAt(bytes.Repeat([]byte{b}, 4096), 0); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) read(ref string) byte {
	h.t.Helper()
	d := h.open(ref)
	defer d.Close()
	buf := make([]byte, 4096)
	if _, err := d.ReadAt(buf, 0); err != nil {
		h.t.Fatal(err)
	}
	if !bytes.Equal(buf, bytes.Repeat(buf[:1], 4096)) {
		h.t.Errorf("%s holds a mixture", ref)
	}
	return buf[0]
}

func (h *host) open(ref string) *userspace.Handle {
	h.t.Helper()
	vg, lv, _ := strings.Cut(ref, "/")
	d, err := h.machine.Open(dmcore.BuildName(vg, lv, ""), false)
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

func (h *host) facts() *orchestrator.Facts {
	h.t.Helper()
	f, err := h.Facts(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return f
}

func (h *host) cut() orchestrator.CutOptions {
	return orchestrator.CutOptions{Size: lvm.Size{Bytes: 1 << 20}, Chunk: 8, Now: h.World.Now()}
}

func (h *host) run(p *orchestrator.Plan, err error) {
	h.t.Helper()
	if err == nil {
		err = h.Run(h.t.Context(), p)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// picture is what a user sees of the host: guests and their states, sets, and
// what active volumes hold.
func (h *host) picture() string {
	h.t.Helper()
	f := h.facts()
	var b strings.Builder
	for _, name := range []string{"web1", "web1-try", "c01", "c02"} {
		if g := f.Guest(name); g != nil {
			fmt.Fprintf(&b, "%s %s;", name, g.State)
		}
	}
	for _, s := range f.Sets {
		fmt.Fprintf(&b, " set %s %s %s %d;", s.Name, s.Role, s.Grade, len(s.Members))
	}
	shown := f.Groups[0].ShownLVs()
	slices.SortFunc(shown, func(a, b *lvm.LV) int { return strings.Compare(a.Name, b.Name) })
	for _, lv := range shown {
		switch {
		case lv.ThinPool() != nil:
		case !f.States[lvm.Ref{VG: "vg", LV: lv.Name}].Active:
			fmt.Fprintf(&b, " %s off", lv.Name)
		default:
			fmt.Fprintf(&b, " %s=%d", lv.Name, h.read("vg/"+lv.Name))
		}
	}
	return b.String()
}
