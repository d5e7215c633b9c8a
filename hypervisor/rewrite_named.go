package hypervisor

import (
	"path/filepath"
	"strings"

	"github.com/beevik/etree"
)

// The paths in a definition that belong to one guest alone.

// dropRuntime removes what libvirt writes only into the definition of a guest
// that runs, and what it fills in again at the next start.
func dropRuntime(root *etree.Element) {
	root.RemoveAttr("id")
	for _, s := range children(root, "seclabel") {
		if attr(s, "type") == "dynamic" {
			for _, tag := range []string{"label", "imagelabel"} {
				for _, c := range children(s, tag) {
					remove(c)
				}
			}
		}
	}
	for _, c := range children(child(root, "devices"), "channel") {
		source, target := child(c, "source"), child(c, "target")
		if source == nil || target == nil || attr(c, "type") != "unix" || attr(source, "mode") == "connect" {
			continue
		}
		if path := attr(source, "path"); path != "" && ownChannel(path, attr(target, "name")) {
			source.RemoveAttr("path")
			source.RemoveAttr("mode")
			if len(source.Attr) == 0 && len(source.ChildElements()) == 0 {
				remove(source)
			}
		}
	}
}

// ownChannel tells that libvirt itself chose the socket of a channel, as it
// does again for a definition without one. The forms are those of
// qemuDomainChrMatchDefaultPath in libvirt 9.0 (…/qemu/channel/target/) and
// of its successors (/run/libvirt/qemu/channel/).
func ownChannel(path, name string) bool {
	dir, base := filepath.Split(path)
	if name == "" || !strings.Contains(dir, "/qemu/channel/") {
		return false
	}
	return base == name || strings.HasSuffix(base, "."+name)
}

// nvram is the place of the firmware variables' path: the text of <nvram>, or
// an attribute of its <source>.
type nvram struct {
	path string
	set  func(string)
}

// nvramPath finds the guest's own file of firmware variables; nil where it has
// none, or one that is no file.
func nvramPath(root *etree.Element) *nvram {
	e := child(child(root, "os"), "nvram")
	if e == nil {
		return nil
	}
	if source := child(e, "source"); source != nil {
		if attr(e, "type") != "file" || attr(source, "file") == "" {
			return nil
		}
		return &nvram{attr(source, "file"), func(s string) { source.CreateAttr("file", s) }}
	}
	if path := text(e); path != "" {
		return &nvram{path, func(s string) { setText(e, s) }}
	}
	return nil
}

// nvram is where the firmware variables shall be: what the caller says, or
// beside the old ones under the new name in libvirt's form.
func (r Rewrite) nvram(path string, old identity) string {
	switch {
	case r.NVRAM != "":
		return r.NVRAM
	case r.Name == "" || r.Name == old.name:
		return path
	}
	return filepath.Join(filepath.Dir(path), r.Name+"_VARS.fd")
}

// NVRAM returns the guest's own file of firmware variables, empty where it has
// none.
func NVRAM(xml string) (string, error) {
	d, err := parse(xml)
	if err != nil {
		return "", err
	}
	if e := nvramPath(d.root()); e != nil {
		return e.path, nil
	}
	return "", nil
}

// followName renames the sockets and log files of a guest's consoles and
// channels where they are called after it: the new guest would otherwise take
// them away from the old one.
func followName(root *etree.Element, from, to string) {
	for _, e := range charDevices(root) {
		if source := child(e, "source"); source != nil && ownsPath(e, source) {
			renamePath(source, "path", from, to)
		}
		if log := child(e, "log"); log != nil {
			renamePath(log, "file", from, to)
		}
	}
}

// charDevices are the devices that libvirt connects to something of the host
// by the same few kinds of <source>.
func charDevices(root *etree.Element) []*etree.Element {
	var all []*etree.Element
	for _, tag := range []string{"serial", "parallel", "console", "channel"} {
		all = append(all, children(child(root, "devices"), tag)...)
	}
	return all
}

// ownsPath tells that the device makes the file or the socket it is connected
// to, so that no two guests can have the same.
func ownsPath(e, source *etree.Element) bool {
	switch attr(e, "type") {
	case "file", "pipe":
		return true
	case "unix":
		return attr(source, "mode") != "connect"
	}
	return false
}

func renamePath(e *etree.Element, key, from, to string) {
	if a := e.SelectAttr(key); a != nil {
		a.Value = renamed(a.Value, from, to)
	}
}

// renamed puts the name "to" into each part of a path that is called "from",
// alone or before something that cannot be part of the same word: web1,
// web1.log, web1-serial.sock, but not web10.log.
func renamed(path, from, to string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if rest, ok := strings.CutPrefix(p, from); ok && (rest == "" || !wordByte(rest[0])) {
			parts[i] = to + rest
		}
	}
	return strings.Join(parts, "/")
}

func wordByte(c byte) bool {
	return c == '%' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
