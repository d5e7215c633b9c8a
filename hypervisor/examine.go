package hypervisor

import (
	"fmt"
	"strings"

	"github.com/beevik/etree"
)

// Review is what a rewrite of a definition means outside of the XML.
type Review struct {
	// Conflicts are reasons why the new guest would damage the old one or
	// could not start. They are complete sentences about one thing each.
	Conflicts []string

	// Notes are what the new guest will have otherwise than the old one,
	// though nobody asked for it.
	Notes []string

	// NVRAM is the file of firmware variables to copy before the new guest
	// is started; nil where it has none of its own.
	NVRAM *Copy
}

// Copy is a file that must be there under another name.
type Copy struct{ From, To string }

// Examine tells what speaks against a rewrite, and what has to be done beside
// it. It judges the guest that [RewriteXML] returns for the same arguments.
func Examine(xml string, r Rewrite) (Review, error) {
	rewritten, err := RewriteXML(xml, r)
	if err != nil {
		return Review{}, err
	}
	before, err := parse(xml)
	if err != nil {
		return Review{}, err
	}
	after, err := parse(rewritten)
	if err != nil {
		return Review{}, err
	}
	e := examiner{old: before.root(), new: after.root(), r: r}
	if from, to := nvramPath(e.old), nvramPath(e.new); from != nil && from.path != to.path {
		e.NVRAM = &Copy{from.path, to.path}
	}
	if same, err := sameGuest(e.old, e.new); same || err != nil {
		return e.Review, err // one guest on new disks disturbs nobody
	}
	e.disks()
	if r.Beside {
		e.exclusive()
	}
	e.notes()
	return e.Review, nil
}

// sameGuest tells that two definitions are of one guest.
func sameGuest(a, b *etree.Element) (bool, error) {
	before, err := identify(a)
	if err != nil {
		return false, err
	}
	after, err := identify(b)
	return before == after, err
}

type examiner struct {
	Review
	old, new *etree.Element
	r        Rewrite
}

func (e *examiner) conflict(format string, args ...any) {
	e.Conflicts = append(e.Conflicts, fmt.Sprintf(format, args...))
}

func (e *examiner) note(format string, args ...any) {
	e.Notes = append(e.Notes, fmt.Sprintf(format, args...))
}

// disks finds bytes that both guests would write. Also a trial that runs while
// its original is off must not: it could not be discarded.
func (e *examiner) disks() {
	all, err := disks(e.new)
	if err != nil {
		return // RewriteXML has refused it already
	}
	for _, d := range all {
		_, replaced := e.r.Disks[d.Target]
		switch {
		case d.Transient && d.Kind != File:
			e.conflict("disk %s: <transient/> needs an image file, the new source is none", d.Target)
		case replaced && d.Shareable:
			e.conflict("disk %s is shareable: other guests write to it, a snapshot of it for one of them tears what they share", d.Target)
		case replaced, !d.Writable():
		case d.Mirror:
			e.conflict("disk %s: a block job copies it to another place", d.Target)
		default:
			e.conflict("disk %s (%s %s) would be written by both guests", d.Target, d.Kind, d.Source)
		}
	}
	for _, m := range e.devices("memory") {
		if path := text(child(child(m, "source"), "path")); path != "" && child(m, "readonly") == nil {
			e.conflict("memory module %s would be written by both guests", path)
		}
	}
	for _, f := range e.devices("filesystem") {
		if source := child(f, "source"); source != nil && child(f, "readonly") == nil && attr(f, "type") != "ram" {
			say := e.note
			if e.r.Beside {
				say = e.conflict
			}
			say("shared folder %s is the host's own, what the new guest writes there stays", firstAttr(source, "dir", "file", "dev", "name", "socket"))
		}
	}
}

// exclusive finds what of the host only one guest at a time can have.
func (e *examiner) exclusive() {
	for _, h := range e.devices("hostdev") {
		e.conflict("host device (%s %s) can belong to one guest only", attr(h, "mode"), attr(h, "type"))
	}
	for _, i := range e.devices("interface") {
		e.exclusiveInterface(i)
	}
	for _, g := range e.devices("graphics") {
		e.exclusiveGraphics(g)
	}
	for _, c := range charDevices(e.new) {
		source := child(c, "source")
		switch {
		case source == nil:
		case attr(c, "type") == "tcp" && attr(source, "mode") == "bind", attr(c, "type") == "udp" && attr(source, "mode") == "bind":
			e.conflict("%s listens on port %s: only one guest can", c.Tag, attr(source, "service"))
		case attr(c, "type") == "dev":
			e.conflict("%s is the host's %s: only one guest can have it", c.Tag, attr(source, "path"))
		case ownsPath(c, source) && attr(source, "path") != "" && e.samePath(c, source):
			e.conflict("%s uses %s: only one guest can", c.Tag, attr(source, "path"))
		}
	}
	for _, v := range e.devices("vsock") {
		if cid := child(v, "cid"); cid != nil && attr(cid, "auto") != "yes" {
			e.conflict("vsock has the fixed address %s: only one guest can", attr(cid, "address"))
		}
	}
	for _, i := range e.devices("input") {
		if kind := attr(i, "type"); kind == "passthrough" || kind == "evdev" {
			e.conflict("input device %s is the host's: only one guest can have it", firstAttr(child(i, "source"), "evdev", "dev"))
		}
	}
	for _, l := range e.devices("lease") {
		e.conflict("lease %s would be held by both guests", text(child(l, "key")))
	}
	for _, s := range e.devices("shmem") {
		e.conflict("shared memory %s is shared with the old guest", attr(s, "name"))
	}
}

func (e *examiner) exclusiveInterface(i *etree.Element) {
	mac := "without address"
	if m := child(i, "mac"); m != nil {
		mac = attr(m, "address")
	}
	switch attr(i, "type") {
	case "hostdev", "vdpa":
		e.conflict("interface %s is a device of the host: it can belong to one guest only", mac)
	case "vhostuser":
		e.conflict("interface %s uses a vhost-user socket: only one guest can", mac)
	}
	if t := child(i, "target"); t != nil && !generatedTap(attr(t, "dev")) {
		e.conflict("interface %s has the fixed device name %s: only one guest can", mac, attr(t, "dev"))
	}
	if e.r.FreshMACs == nil && child(i, "mac") != nil && !linkDown(i) {
		e.conflict("interface %s keeps its address while the old guest may run", mac)
	}
}

func (e *examiner) exclusiveGraphics(g *etree.Element) {
	kind := attr(g, "type")
	if attr(g, "autoport") != "yes" {
		for _, key := range []string{"port", "tlsPort"} {
			if p := attr(g, key); p != "" && p != "-1" && p != "0" {
				e.conflict("%s listens on the fixed port %s: only one guest can (use autoport='yes')", kind, p)
			}
		}
	}
	if p := attr(g, "websocket"); p != "" && p != "-1" {
		e.conflict("%s listens on the fixed websocket port %s: only one guest can", kind, p)
	}
	sockets := []string{attr(g, "socket")}
	for _, l := range children(g, "listen") {
		if attr(l, "type") == "socket" {
			sockets = append(sockets, attr(l, "socket"))
		}
	}
	for i, s := range sockets {
		if s != "" && (i == 0 || s != sockets[0]) {
			e.conflict("%s listens on the socket %s: only one guest can", kind, s)
		}
	}
}

// notes tells what does not come along.
func (e *examiner) notes() {
	for _, t := range e.devices("tpm") {
		if b := child(t, "backend"); b != nil && attr(b, "type") == "emulator" {
			e.note("the TPM starts empty: keys sealed by the old one (disk encryption) are not in it")
		}
	}
	if nvram := child(child(e.new, "os"), "nvram"); nvram != nil && nvramPath(e.new) == nil && child(nvram, "source") != nil {
		e.conflict("firmware variables on %s cannot be copied", attr(nvram, "type"))
	}
	if extra := child(e.new, "qemu:commandline"); extra != nil {
		e.note("<qemu:commandline> is passed on as it is")
	}
}

func (e *examiner) devices(tag string) []*etree.Element {
	return children(child(e.new, "devices"), tag)
}

// samePath tells that a console's path did not follow the guest's new name.
func (e *examiner) samePath(c, source *etree.Element) bool {
	for _, o := range charDevices(e.old) {
		if s := child(o, "source"); s != nil && o.Tag == c.Tag && attr(s, "path") == attr(source, "path") {
			return true
		}
	}
	return false
}

func linkDown(i *etree.Element) bool {
	l := child(i, "link")
	return l != nil && attr(l, "state") == "down"
}

func firstAttr(e *etree.Element, keys ...string) string {
	for _, k := range keys {
		if e == nil {
			break
		}
		if v := attr(e, k); v != "" {
			return v
		}
	}
	return ""
}

// generatedTap tells that a host interface has the form of libvirt's own
// names, which it leaves out of definitions and makes anew at each start
// (VIR_NET_GENERATED_*_PREFIX in virnetdev.h of 9.0).
func generatedTap(dev string) bool {
	for _, prefix := range []string{"vnet", "macvtap", "macvlan", "vif"} {
		if rest, ok := strings.CutPrefix(dev, prefix); ok && rest != "" && strings.Trim(rest, "0123456789") == "" {
			return true
		}
	}
	return dev == ""
}
