package hypervisor

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// Rewrite is what becomes different in a definition. The zero value changes
// nothing.
type Rewrite struct {
	Name, UUID string // empty: as they are

	// Disks gives disks, by target, another source.
	Disks map[string]DiskSource

	// FreshMACs gives each interface a new address, such as [MACs] returns.
	// Nil keeps them, as a trial must that runs in the place of its original.
	FreshMACs func() string

	// FreshGenID lets libvirt make a new VM generation ID, where the guest
	// has one, so that it notices that it was rolled back or copied.
	FreshGenID bool

	Network Network

	// NVRAM is where the new guest finds its firmware variables. Empty: as
	// [Examine] says, where there is a new name; the path as it was otherwise.
	NVRAM string

	// Mark is written into the guest's metadata; nil keeps what is there, a
	// zero Mark removes it.
	Mark *Mark

	// Beside tells [Examine] that the new guest may run at the same time as
	// the old one. It changes nothing in the result.
	Beside bool
}

// DiskSource is where a disk's bytes shall come from: a block device, or an
// export of an NBD server on a unix socket.
type DiskSource struct {
	Device string // absolute path of a block device, or
	Export string // name of an NBD export,
	Socket string // and the absolute path of its server's socket

	// Reconnect lets QEMU wait for a server that went away, in seconds; 0:
	// not at all. See [ReconnectSupported].
	Reconnect int
}

// Network is what becomes of a guest's interfaces.
type Network int

const (
	Same     Network = iota // as they are
	Isolated                // there, with the cable pulled: <link state='down'/>
	None                    // taken away
)

var networkNames = [...]string{"same", "isolated", "none"}

func (n Network) String() string {
	if n < 0 || int(n) >= len(networkNames) {
		return fmt.Sprintf("network %d", int(n))
	}
	return networkNames[n]
}

// RewriteXML returns the definition with the changes of r. All that r does not
// speak of stays as it is, byte for byte. A new name or UUID also takes away
// what libvirt notes only about a guest that runs, and changes what is named
// after the guest: see [Examine] for what has to be done beside it, and for
// reasons not to.
func RewriteXML(xml string, r Rewrite) (string, error) {
	d, err := parse(xml)
	if err != nil {
		return "", err
	}
	if err := r.check(); err != nil {
		return "", err
	}
	root := d.root()
	old, err := identify(root)
	if err != nil {
		return "", err
	}
	if err := r.disks(root); err != nil {
		return "", fmt.Errorf("guest %s: %w", old.name, err)
	}
	if r.Name != "" || r.UUID != "" {
		dropRuntime(root)
	}
	r.identity(root, old)
	if r.FreshGenID {
		if g := child(root, "genid"); g != nil {
			setText(g, "") // libvirt fills in an empty one, domain_conf.c of 9.0
		}
	}
	r.interfaces(root)
	r.mark(root)
	return d.String(), nil
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// check refuses values that libvirt would, or that would not come back from it
// as they went in.
func (r Rewrite) check() error {
	if err := checkName(r.Name); r.Name != "" && err != nil {
		return err
	}
	if r.UUID != "" && !uuidForm.MatchString(r.UUID) {
		return fmt.Errorf("%w: %q is not a UUID", ErrInvalid, r.UUID)
	}
	if r.NVRAM != "" && !filepath.IsAbs(r.NVRAM) {
		return fmt.Errorf("%w: %q is not an absolute path", ErrInvalid, r.NVRAM)
	}
	texts := []string{r.NVRAM}
	if r.Mark != nil {
		texts = append(texts, r.Mark.Set, r.Mark.Role, r.Mark.Of)
	}
	for _, s := range texts {
		if !plain(s) {
			return fmt.Errorf("%w: %q has characters that XML cannot hold", ErrInvalid, s)
		}
	}
	for target, s := range r.Disks {
		if err := s.check(); err != nil {
			return fmt.Errorf("disk %s: %w", target, err)
		}
	}
	return nil
}

// checkName refuses what libvirt does (domain_conf.c of 9.0: '/', line ends),
// other control characters, which XML has no way to write, and names that no
// file can have or that the command line takes for a flag.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..", strings.HasPrefix(name, "-"),
		strings.Contains(name, "/"), !plain(name), strings.TrimSpace(name) != name:
		return fmt.Errorf("%w: %q cannot be a guest's name", ErrInvalid, name)
	case len(name) > 200:
		return fmt.Errorf("%w: a name of %d bytes is longer than 200", ErrInvalid, len(name))
	}
	return nil
}

// plain tells that a text survives a way through XML and a terminal: UTF-8
// without control characters.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool {
		return unicode.IsControl(c) || c == 0xfffe || c == 0xffff
	})
}

// identity is who a guest is in its own definition.
type identity struct{ name, uuid string }

func identify(root *etree.Element) (identity, error) {
	i := identity{text(child(root, "name")), strings.ToLower(text(child(root, "uuid")))}
	if i.name == "" {
		return i, fmt.Errorf("%w: no name", ErrInvalid)
	}
	return i, nil
}

// Identify returns the name and the UUID in a definition; the UUID is empty
// where libvirt is to choose one.
func Identify(xml string) (name, uuid string, err error) {
	d, err := parse(xml)
	if err != nil {
		return "", "", err
	}
	i, err := identify(d.root())
	return i.name, i.uuid, err
}

// identity gives the guest its name and UUID wherever they stand.
func (r Rewrite) identity(root *etree.Element, old identity) {
	if r.Name != "" && r.Name != old.name {
		setText(child(root, "name"), r.Name)
	}
	if r.UUID != "" && r.UUID != old.uuid {
		if e := child(root, "uuid"); e != nil {
			setText(e, r.UUID)
		} else {
			e := etree.NewElement("uuid")
			setText(e, r.UUID)
			insert(root, e, 1+elementIndex(child(root, "name")))
		}
		// libvirt refuses a definition whose SMBIOS UUID is another one.
		for _, info := range children(root, "sysinfo") {
			for _, entry := range children(child(info, "system"), "entry") {
				if attr(entry, "name") == "uuid" {
					setText(entry, r.UUID)
				}
			}
		}
	}
	if e := nvramPath(root); e != nil {
		if to := r.nvram(e.path, old); to != e.path {
			e.set(to)
		}
	}
	if r.Name != "" && r.Name != old.name {
		followName(root, old.name, r.Name)
	}
}

// elementIndex is the place of e among the elements beside it.
func elementIndex(e *etree.Element) int {
	for i, c := range e.Parent().ChildElements() {
		if c == e {
			return i
		}
	}
	return -1
}
