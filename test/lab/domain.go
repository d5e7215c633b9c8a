package lab

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"strings"
	"text/template"
)

// Domain describes a guest of the lab: one processor, one virtio disk, one network card that leads
// nowhere, a serial console. With the lab's kernel it boots to its first word in about 3 s without KVM.
type Domain struct {
	Name      string
	Boot      Boot   // none: it boots from its disk
	MemoryMiB int    // 128 unless set
	Source    string // the disk: a path of a raw image or block device (in /dev), or an nbd+unix:///EXPORT?socket=PATH URI
	Words     string // more words for the kernel's command line, such as cowhand.write=TEXT

	// Reconnect is for how many seconds QEMU waits for an NBD server that went away; 0: it fails all
	// requests at once. Only some versions of libvirt know it: see [Reconnects].
	Reconnect int

	Unconfined bool // by AppArmor, whose rules for guests know no socket of ours
}

// BootWords make the kernel boot quicker under QEMU's TCG: no search for hardware that is not there,
// no calibration of clocks, no self-tests.
const BootWords = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off tsc=reliable no_timer_check " +
	"8250.nr_uarts=1 cryptomgr.notests rcupdate.rcu_expedited=1 random.trust_cpu=on"

var domainXML = template.Must(template.New("domain").Funcs(template.FuncMap{"xml": escape}).Parse(
	`<domain type='{{.Type}}'>
  <name>{{.Name | xml}}</name>
  <memory unit='MiB'>{{.MemoryMiB}}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    {{- if .Boot.Kernel}}
    <kernel>{{.Boot.Kernel | xml}}</kernel>
    <initrd>{{.Boot.Initrd | xml}}</initrd>
    <cmdline>{{.Words | xml}}</cmdline>
    {{- end}}
  </os>
  <features>
    <acpi/>
  </features>
  {{.CPU}}
  <clock offset='utc'/>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='{{.Kind}}' device='disk'>
      <driver name='qemu' type='raw' cache='none' discard='unmap' error_policy='stop'/>
      {{- if .Export}}
      <source protocol='nbd' name='{{.Export | xml}}'>
        <host transport='unix' socket='{{.Socket | xml}}'/>
        {{- if .Reconnect}}
        <reconnect delay='{{.Reconnect}}'/>
        {{- end}}
      </source>
      {{- else if eq .Kind "block"}}
      <source dev='{{.Source | xml}}'/>
      {{- else}}
      <source file='{{.Source | xml}}'/>
      {{- end}}
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='user'>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <controller type='usb' model='none'/>
    <serial type='pty'/>
    <console type='pty'/>
    <memballoon model='none'/>
  </devices>
{{- if .Unconfined}}
  <seclabel type='none' model='apparmor'/>
{{- end}}
</domain>
`))

// XML returns the guest's definition. It uses KVM when COWHAND_KVM=1 asks for it.
func (d Domain) XML() string {
	v := struct {
		Domain
		Type, CPU, Kind, Export, Socket string
	}{Domain: d, Type: "qemu", CPU: "<cpu mode='custom'><model>qemu64</model></cpu>", Kind: "file"}
	if os.Getenv("COWHAND_KVM") == "1" {
		v.Type, v.CPU = "kvm", "<cpu mode='host-passthrough'/>"
	}
	v.Words = strings.TrimSpace(BootWords + " " + d.Words)
	if v.MemoryMiB == 0 {
		v.MemoryMiB = 128
	}
	if rest, ok := strings.CutPrefix(d.Source, "nbd+unix:///"); ok {
		v.Kind = "network"
		v.Export, v.Socket, _ = strings.Cut(rest, "?socket=")
	} else if strings.HasPrefix(d.Source, "/dev/") {
		v.Kind = "block"
	}
	var b strings.Builder
	if err := domainXML.Execute(&b, v); err != nil {
		panic(fmt.Sprintf("lab: domain template: %v", err)) // it is fixed, and its values are strings
	}
	return b.String()
}

// Identity returns what no two guests may share: the UUID and the network cards' addresses.
func Identity(definition []byte) ([]string, error) {
	var d struct {
		UUID string `xml:"uuid"`
		Macs []struct {
			Address string `xml:"address,attr"`
		} `xml:"devices>interface>mac"`
	}
	if err := xml.Unmarshal(definition, &d); err != nil {
		return nil, fmt.Errorf("lab: domain: %w", err)
	}
	if d.UUID == "" || len(d.Macs) == 0 {
		return nil, fmt.Errorf("lab: domain: no UUID or no network address in it")
	}
	ids := []string{d.UUID}
	for _, mac := range d.Macs {
		ids = append(ids, mac.Address)
	}
	return ids, nil
}

// DiskURI returns the NBD URI of the first disk in a definition.
func DiskURI(definition []byte) (string, error) {
	var d struct {
		Disks []struct {
			Source struct {
				Protocol string `xml:"protocol,attr"`
				Name     string `xml:"name,attr"`
				Host     struct {
					Socket string `xml:"socket,attr"`
				} `xml:"host"`
			} `xml:"source"`
		} `xml:"devices>disk"`
	}
	if err := xml.Unmarshal(definition, &d); err != nil {
		return "", fmt.Errorf("lab: domain: %w", err)
	}
	if len(d.Disks) == 0 || d.Disks[0].Source.Protocol != "nbd" || d.Disks[0].Source.Host.Socket == "" {
		return "", fmt.Errorf("lab: domain: its first disk is no NBD export on a unix socket")
	}
	src := d.Disks[0].Source
	return "nbd+unix:///" + src.Name + "?socket=" + src.Host.Socket, nil
}

func escape(s string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err) // bytes.Buffer takes all
	}
	return b.String()
}
