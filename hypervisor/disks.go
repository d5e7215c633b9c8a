package hypervisor

import (
	"fmt"

	"github.com/beevik/etree"
)

// Kind is what the bytes of a disk come from.
type Kind int

// The kinds of disk. Only [Block], [NBD] and [File] have a Source that is a
// path or an export.
const (
	Other  Kind = iota // another network protocol, vhost-user, NVMe, a directory, nothing
	Block              // a block device on the host
	NBD                // an export of an NBD server
	File               // a file on the host; the path may still be a device node
	Volume             // a volume of one of libvirt's storage pools
)

var kindNames = [...]string{"other", "block", "nbd", "file", "volume"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}

// Disk is one disk of a guest, as its definition describes it.
type Disk struct {
	Target string // the name in the definition, unique in it: vda, sdb, …
	Device string // disk, cdrom, floppy, lun
	Bus    string // virtio, scsi, sata, …; empty if not said
	Kind   Kind

	// Source is the path of a block device or a file, the name of an NBD
	// export, "pool/volume" of a volume.
	Source string
	// Socket is the unix socket of an NBD server; Host is host:port of one
	// that is reached over TCP.
	Socket, Host string

	// Format is how the guest's bytes lie in the source: "raw", "qcow2"…
	// Empty if not said, which libvirt takes for raw. A snapshot of a source
	// that is not raw holds that format too.
	Format string
	Serial string

	ReadOnly  bool
	Shareable bool // meant to be used by several guests at once
	Transient bool // changes are thrown away at shutdown
	Backed    bool // has a backing image below the source
	Mirror    bool // a block job copies it elsewhere just now
}

// Writable tells that the guest may change the bytes of the source.
func (d Disk) Writable() bool { return !d.ReadOnly && !d.Transient }

// Disks returns the disks of a definition in its order. Empty drives (cdrom
// and floppy without a medium) are left out.
func Disks(xml string) ([]Disk, error) {
	d, err := parse(xml)
	if err != nil {
		return nil, err
	}
	return disks(d.root())
}

func disks(root *etree.Element) ([]Disk, error) {
	var all []Disk
	seen := map[string]bool{}
	for _, e := range children(child(root, "devices"), "disk") {
		d := disk(e)
		if d.Target == "" {
			return nil, fmt.Errorf("%w: a disk has no target", ErrInvalid)
		}
		if seen[d.Target] {
			return nil, fmt.Errorf("%w: two disks are called %s", ErrInvalid, d.Target)
		}
		seen[d.Target] = true
		if d.Source == "" && d.Kind != NBD && (d.Device == "cdrom" || d.Device == "floppy") && !otherSource(e) {
			continue
		}
		all = append(all, d)
	}
	return all, nil
}

// otherSource tells that a drive has a medium this package has no words for.
func otherSource(e *etree.Element) bool {
	s := child(e, "source")
	return s != nil && disk(e).Kind == Other && len(s.Attr) > 0
}

func disk(e *etree.Element) Disk {
	source, target, driver := child(e, "source"), child(e, "target"), child(e, "driver")
	d := Disk{
		Device:    e.SelectAttrValue("device", "disk"),
		Serial:    text(child(e, "serial")),
		ReadOnly:  child(e, "readonly") != nil,
		Shareable: child(e, "shareable") != nil,
		Transient: child(e, "transient") != nil,
		Mirror:    child(e, "mirror") != nil,
		Backed:    child(child(e, "backingStore"), "source") != nil,
	}
	if d.Device == "cdrom" {
		d.ReadOnly = true // libvirt says so of every cdrom, whether written or not
	}
	if target != nil {
		d.Target, d.Bus = attr(target, "dev"), attr(target, "bus")
	}
	if driver != nil {
		d.Format = attr(driver, "type")
	}
	if source == nil {
		return d
	}
	switch attr(e, "type") {
	case "block":
		d.Kind, d.Source = Block, attr(source, "dev")
	case "file", "": // libvirt's default, domain_conf.c of 9.0
		d.Kind, d.Source = File, attr(source, "file")
	case "volume":
		d.Kind = Volume
		if pool, volume := attr(source, "pool"), attr(source, "volume"); pool != "" || volume != "" {
			d.Source = pool + "/" + volume
		}
	case "network":
		if attr(source, "protocol") != "nbd" {
			break
		}
		d.Kind, d.Source = NBD, attr(source, "name")
		if host := child(source, "host"); host != nil {
			d.Socket = attr(host, "socket")
			if d.Socket == "" {
				d.Host = attr(host, "name") + ":" + host.SelectAttrValue("port", "10809")
			}
		}
	}
	return d
}
