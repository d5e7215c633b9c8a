//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"cowhand/hypervisor"

	"github.com/google/go-cmp/cmp"
)

// qemu connects to a QEMU driver that a test may fill with guests.
func qemu(t *testing.T) *Conn {
	t.Helper()
	uri := os.Getenv("COWHAND_TEST_URI")
	if uri == "" {
		t.Skip("COWHAND_TEST_URI does not name a qemu:/// to play with")
	}
	return run(t, uri)
}

const bare = `<domain type='qemu'>
  <name>cowhand-test</name>
  <uuid>11111111-2222-4333-8444-555555555561</uuid>
  <genid/>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='block'>
      <source dev='/dev/cowhand-test'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='user'/>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  </devices>
</domain>
`

// A definition that was rewritten is one that libvirt takes, and it comes back
// with everything in it.
func TestQEMUTakesWhatIsRewritten(t *testing.T) {
	h, ctx := qemu(t), t.Context()
	v, err := h.Version(ctx)
	want(t, "version", err, nil)
	nbd := hypervisor.DiskSource{Export: "vg0/root-a&b", Socket: "/run/cow'hand/nbd.sock"}
	if hypervisor.ReconnectSupported(v) {
		nbd.Reconnect = 30
	}
	text, err := hypervisor.RewriteXML(bare, hypervisor.Rewrite{
		Name: "cowhand <test> & 'q'", UUID: uuid2, FreshGenID: true, Network: hypervisor.Isolated,
		Disks: map[string]hypervisor.DiskSource{"vda": nbd},
		Mark:  &hypervisor.Mark{Set: "a set", Role: "trial", Of: "<&'\">"},
	})
	want(t, "rewrite", err, nil)
	g, err := h.Define(ctx, text)
	want(t, "define", err, nil)
	t.Cleanup(func() { want(t, "undefine", g.Undefine(context.Background()), nil) })
	if g.Name() != "cowhand <test> & 'q'" || g.UUID() != uuid2 {
		t.Errorf("defined %q %s", g.Name(), g.UUID())
	}
	back, err := g.XML(ctx)
	want(t, "read", err, nil)
	mark, ok, err := hypervisor.ReadMark(back)
	if want := (hypervisor.Mark{Set: "a set", Role: "trial", Of: "<&'\">"}); err != nil || !ok || mark != want {
		t.Errorf("mark %+v, %v, %v", mark, ok, err)
	}
	disks, err := hypervisor.Disks(back)
	want(t, "disks", err, nil)
	wantDisks := []hypervisor.Disk{{Target: "vda", Device: "disk", Bus: "virtio", Kind: hypervisor.NBD, Source: nbd.Export, Socket: nbd.Socket, Format: "raw"}}
	if diff := cmp.Diff(wantDisks, disks); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
	for _, part := range []string{"<link state='down'/>", "error_policy='stop'", "rerror_policy='stop'"} {
		if !strings.Contains(back, part) {
			t.Errorf("no %s in\n%s", part, back)
		}
	}
	if nbd.Reconnect > 0 && !strings.Contains(back, "<reconnect delay='30'/>") {
		t.Errorf("libvirt %v dropped <reconnect> of\n%s", v, back)
	}
}

// A guest without an operating system does not hear the power button.
func TestQEMUShutdown(t *testing.T) {
	h, ctx := qemu(t), t.Context()
	noDisk := bare[:strings.Index(bare, "<disk")] + bare[strings.Index(bare, "<interface"):]
	g, err := h.Define(ctx, noDisk)
	want(t, "define", err, nil)
	t.Cleanup(func() {
		if err := g.Destroy(context.Background()); err != nil && !errors.Is(err, hypervisor.ErrNotRunning) {
			t.Error(err)
		}
		want(t, "undefine", g.Undefine(context.Background()), nil)
	})
	want(t, "start", g.Start(ctx), nil)

	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	want(t, "shutdown", g.Shutdown(short), hypervisor.ErrTimeout)
	if s, err := g.State(ctx); err != nil || s != hypervisor.Running {
		t.Errorf("state %v, %v", s, err)
	}

	done := make(chan error)
	go func() { done <- g.Shutdown(ctx) }()
	want(t, "destroy", g.Destroy(ctx), nil)
	if err := <-done; err != nil && !errors.Is(err, hypervisor.ErrNotRunning) {
		t.Errorf("shutdown of a guest that was destroyed meanwhile: %v", err)
	}

	want(t, "start", g.Start(ctx), nil)
	d, err := h.c.LookupDomainByUUIDString(g.UUID())
	want(t, "look up", err, nil)
	defer d.Free()
	want(t, "save", d.ManagedSave(0), nil)
	if s, err := g.State(ctx); err != nil || s != hypervisor.Saved {
		t.Errorf("state %v, %v", s, err)
	}
}

// A disk that is not there says so, by libvirt's words.
func TestQEMUStartWithoutDisk(t *testing.T) {
	h, ctx := qemu(t), t.Context()
	g, err := h.Define(ctx, bare)
	want(t, "define", err, nil)
	t.Cleanup(func() { want(t, "undefine", g.Undefine(context.Background()), nil) })
	if err := g.Start(ctx); err == nil || !strings.Contains(err.Error(), "/dev/cowhand-test") || strings.Contains(err.Error(), "virError") {
		t.Errorf("start: %v", err)
	}
}
