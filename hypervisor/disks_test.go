package hypervisor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDisks(t *testing.T) {
	got, err := Disks(corpus(t)["web1.xml"])
	if err != nil {
		t.Fatal(err)
	}
	want := []Disk{
		{Target: "vda", Device: "disk", Bus: "virtio", Kind: Block, Source: "/dev/vg0/root", Format: "raw", Serial: "root-disk"},
		{Target: "vdb", Device: "disk", Bus: "virtio", Kind: NBD, Source: "vg0/data", Socket: "/run/cowhand/nbd.sock", Format: "raw"},
		{Target: "sda", Device: "disk", Bus: "sata", Kind: File, Source: "/dev/vg0/qcow", Format: "qcow2"},
		{Target: "sdc", Device: "cdrom", Bus: "sata", Kind: File, Source: "/iso/x.iso", ReadOnly: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}
