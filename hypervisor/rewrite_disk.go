package hypervisor

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

func (s DiskSource) check() error {
	nbd := s.Export != "" || s.Socket != ""
	switch {
	case (s.Device != "") == nbd:
		return fmt.Errorf("%w: a source is a device or an NBD export", ErrInvalid)
	case nbd && (s.Export == "" || s.Socket == ""):
		return fmt.Errorf("%w: an NBD source needs an export and a socket", ErrInvalid)
	case nbd && !filepath.IsAbs(s.Socket), !nbd && !filepath.IsAbs(s.Device):
		return fmt.Errorf("%w: %q is not an absolute path", ErrInvalid, s.Device+s.Socket)
	case !plain(s.Device + s.Export + s.Socket):
		return fmt.Errorf("%w: %q has characters that XML cannot hold", ErrInvalid, s.Device+s.Export+s.Socket)
	case s.Reconnect < 0:
		return fmt.Errorf("%w: a reconnect delay of %d seconds", ErrInvalid, s.Reconnect)
	}
	return nil
}

// disks gives the named disks their new sources. All of them must be there.
func (r Rewrite) disks(root *etree.Element) error {
	byTarget := map[string]*etree.Element{}
	if _, err := disks(root); err != nil {
		return err
	}
	for _, e := range children(child(root, "devices"), "disk") {
		byTarget[disk(e).Target] = e
	}
	for _, target := range slices.Sorted(maps.Keys(r.Disks)) {
		e := byTarget[target]
		if e == nil {
			return fmt.Errorf("disk %s: %w: the definition has no such disk", target, ErrInvalid)
		}
		if err := r.Disks[target].apply(e); err != nil {
			return fmt.Errorf("disk %s: %w", target, err)
		}
	}
	return nil
}

// Attributes and children of <source> that speak of the bytes inside, not of
// the way to them, and so hold for a snapshot of them as well.
var (
	keptBoth  = []string{"encryption", "slices"}
	keptBlock = []string{"encryption", "slices", "seclabel", "reservations"}
)

// apply turns the disk to the source. The driver's options, the address, the
// boot order and all else of the disk stay; the format too, because a snapshot
// of a device that holds a qcow2 image holds one as well.
func (s DiskSource) apply(e *etree.Element) error {
	old := disk(e)
	if old.Device == "lun" && s.Device == "" {
		// SCSI commands are passed through to the device, which NBD cannot.
		return fmt.Errorf("%w: a disk of device='lun' cannot be an NBD export", ErrUnsupported)
	}
	if child(e, "mirror") != nil {
		return fmt.Errorf("%w: a block job copies the disk", ErrInUse)
	}
	source := child(e, "source")
	if source == nil {
		source = etree.NewElement("source")
		at := len(e.Child)
		if t := child(e, "target"); t != nil {
			at = elementIndex(t)
		}
		insert(e, source, at)
	}
	kept, kind := keptBoth, "network"
	if s.Device != "" {
		kept, kind = keptBlock, "block"
	}
	for _, c := range source.ChildElements() {
		if !slices.Contains(kept, c.FullTag()) {
			remove(c)
		}
	}
	startup := attr(source, "startupPolicy")
	source.Attr = nil
	e.CreateAttr("type", kind)
	if s.Device != "" {
		source.CreateAttr("dev", s.Device)
		if startup != "" {
			source.CreateAttr("startupPolicy", startup)
		}
	} else {
		source.CreateAttr("protocol", "nbd")
		source.CreateAttr("name", s.Export)
		host := etree.NewElement("host")
		host.CreateAttr("transport", "unix")
		host.CreateAttr("socket", s.Socket)
		insert(source, host, 0)
		if s.Reconnect > 0 {
			reconnect := etree.NewElement("reconnect")
			reconnect.CreateAttr("delay", strconv.Itoa(s.Reconnect))
			insert(source, reconnect, 1)
		}
	}
	driver := child(e, "driver")
	if driver == nil {
		driver = etree.NewElement("driver")
		driver.CreateAttr("name", "qemu")
		insert(e, driver, elementIndex(source))
	}
	// Without a type libvirt takes raw, but may once have been told to probe.
	defaultAttr(driver, "type", "raw")
	// An error must not reach the guest's file system as one that lasts: a
	// full snapshot or a server that is away is for the host to mend. QEMU's
	// SD card and SCSI passthrough have no such property.
	if old.Device != "lun" && old.Bus != "sd" {
		defaultAttr(driver, "error_policy", "stop")
		defaultAttr(driver, "rerror_policy", "stop")
	}
	dropAlias(e)
	return nil
}

func defaultAttr(e *etree.Element, key, value string) {
	if e.SelectAttr(key) == nil {
		e.CreateAttr(key, value)
	}
}

// dropAlias removes the name libvirt gave a device of a running guest, and
// keeps one that the user did (they begin with "ua-").
func dropAlias(e *etree.Element) {
	for _, a := range children(e, "alias") {
		if !strings.HasPrefix(attr(a, "name"), "ua-") {
			remove(a)
		}
	}
}

// reconnectSince is the first libvirt that has the element (its NEWS.rst,
// v9.2.0: "qemu: Implement QEMU NBD reconnect delay attribute").
const reconnectSince Version = 9_002_000

// ReconnectSupported tells whether that version of libvirt knows
// <reconnect delay='…'/> in the source of an NBD disk. An older one ignores or
// refuses it, and QEMU fails all requests from the moment the server is gone.
func ReconnectSupported(v Version) bool { return v >= reconnectSince }
