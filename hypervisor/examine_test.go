package hypervisor

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExamine(t *testing.T) {
	all := corpus(t)
	toBlock := func(targets ...string) map[string]DiskSource {
		m := map[string]DiskSource{}
		for _, target := range targets {
			m[target] = DiskSource{Device: "/dev/vg0/" + target}
		}
		return m
	}
	macs := func() string { return "52:54:00:00:00:01" }
	tests := []struct {
		name, xml string
		r         Rewrite
		want      Review
	}{
		{"a trial of web1", all["web1.xml"],
			Rewrite{Name: "web1-t", UUID: "11111111-2222-4333-8444-555555555555", Disks: toBlock("vda", "vdb", "sda")},
			Review{NVRAM: &Copy{"/var/lib/libvirt/qemu/nvram/web1_VARS.fd", "/var/lib/libvirt/qemu/nvram/web1-t_VARS.fd"}}},
		{"a disk left out", all["web1.xml"], Rewrite{Name: "w", Disks: toBlock("vda", "sda"), NVRAM: "/n"},
			Review{
				Conflicts: []string{"disk vdb (nbd vg0/data) would be written by both guests"},
				NVRAM:     &Copy{"/var/lib/libvirt/qemu/nvram/web1_VARS.fd", "/n"},
			}},
		{"a clone that keeps its address", all["web1.xml"], Rewrite{Name: "web2", Disks: toBlock("vda", "vdb", "sda"), Beside: true},
			Review{
				Conflicts: []string{"interface 52:54:00:aa:bb:cc keeps its address while the old guest may run"},
				NVRAM:     &Copy{"/var/lib/libvirt/qemu/nvram/web1_VARS.fd", "/var/lib/libvirt/qemu/nvram/web2_VARS.fd"},
			}},
		{"the same, isolated", all["web1.xml"], Rewrite{Name: "web2", Disks: toBlock("vda", "vdb", "sda"), Beside: true, Network: Isolated},
			Review{NVRAM: &Copy{"/var/lib/libvirt/qemu/nvram/web1_VARS.fd", "/var/lib/libvirt/qemu/nvram/web2_VARS.fd"}}},
		{"a clone with all there is", all["qemu-9.0-inactive.xml"], Rewrite{Name: "c", Disks: toBlock("vda", "vdb", "vdc", "sdb"), Beside: true, FreshMACs: macs},
			Review{
				Conflicts: []string{
					"disk sdb is shareable: other guests write to it, a snapshot of it for one of them tears what they share",
					"interface 52:54:00:00:00:01 has the fixed device name tap-full: only one guest can",
					"vnc listens on the fixed port 5999: only one guest can (use autoport='yes')",
					"serial listens on port 4444: only one guest can",
					"serial uses /srv/guests/full.log: only one guest can",
					"channel uses /srv/guests/own.sock: only one guest can",
				},
				Notes: []string{"<qemu:commandline> is passed on as it is"},
			}},
		{"devices of the host", guestWith(`
    <hostdev mode='subsystem' type='pci'><source/></hostdev>
    <interface type='hostdev'><mac address='52:54:00:00:00:02'/></interface>
    <interface type='vhostuser'><target dev='vnet3'/></interface>
    <filesystem type='mount'><source dir='/srv'/><target dir='srv'/></filesystem>
    <filesystem type='mount'><source dir='/ro'/><target dir='ro'/><readonly/></filesystem>
    <memory model='nvdimm'><source><path>/pmem</path></source></memory>
    <serial type='dev'><source path='/dev/ttyS0'/></serial>
    <serial type='unix'><source mode='connect' path='/run/x'/></serial>
    <graphics type='spice' autoport='yes' port='5900'><listen type='socket' socket='/run/spice'/></graphics>
    <graphics type='vnc' socket='/run/vnc' websocket='700'><listen type='socket' socket='/run/vnc'/></graphics>
    <vsock><cid address='7'/></vsock>
    <shmem name='shm'/>
    <input type='evdev'><source dev='/dev/input/event1'/></input>
    <input type='mouse' bus='ps2'/>
    <lease><key>k</key></lease>
    <tpm><backend type='emulator'/></tpm>`), Rewrite{Name: "c", Beside: true, FreshMACs: macs},
			Review{
				Conflicts: []string{
					"memory module /pmem would be written by both guests",
					"shared folder /srv is the host's own, what the new guest writes there stays",
					"host device (subsystem pci) can belong to one guest only",
					"interface 52:54:00:00:00:01 is a device of the host: it can belong to one guest only",
					"interface 52:54:00:00:00:01 uses a vhost-user socket: only one guest can",
					"spice listens on the socket /run/spice: only one guest can",
					"vnc listens on the fixed websocket port 700: only one guest can",
					"vnc listens on the socket /run/vnc: only one guest can",
					"serial is the host's /dev/ttyS0: only one guest can have it",
					"vsock has the fixed address 7: only one guest can",
					"input device /dev/input/event1 is the host's: only one guest can have it",
					"lease k would be held by both guests",
					"shared memory shm is shared with the old guest",
				},
				Notes: []string{"the TPM starts empty: keys sealed by the old one (disk encryption) are not in it"},
			}},
		{"a trial with a shared folder", guestWith(`<filesystem type='mount'><source dir='/srv'/><target dir='srv'/></filesystem>`), Rewrite{Name: "c"},
			Review{Notes: []string{"shared folder /srv is the host's own, what the new guest writes there stays"}}},
		{"a transient disk and a block job", guestWith(`
    <disk type='block'><source dev='/a'/><target dev='vda'/><transient/></disk>
    <disk type='block'><source dev='/b'/><target dev='vdb'/><mirror type='file'/></disk>
    <disk type='block'><source dev='/c'/><target dev='vdc'/><readonly/></disk>
    <disk type='volume'><source pool='p' volume='v'/><target dev='vdd'/></disk>`), Rewrite{Name: "c"},
			Review{Conflicts: []string{
				"disk vda: <transient/> needs an image file, the new source is none",
				"disk vdb: a block job copies it to another place",
				"disk vdd (volume p/v) would be written by both guests",
			}}},
		{"the same guest on one new disk", all["web1.xml"], Rewrite{Disks: toBlock("vda"), Beside: true}, Review{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Examine(tt.xml, tt.r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

// guestWith is a definition of one line each, as people write by hand.
func guestWith(devices string) string {
	return "<domain type='kvm'><name>old</name><devices>" + strings.TrimSpace(devices) + "</devices></domain>"
}
