package hypervisor

import (
	"fmt"
	"strings"

	"github.com/beevik/etree"
)

// interfaces does what r says about the network.
func (r Rewrite) interfaces(root *etree.Element) {
	for _, e := range children(child(root, "devices"), "interface") {
		if r.Network == None {
			remove(e)
			continue
		}
		if r.Network == Isolated {
			cut(e)
		}
		if r.FreshMACs != nil {
			setMAC(e, r.FreshMACs())
		}
	}
}

// cut pulls the cable. A guest with the same addresses then disturbs nobody,
// and `virsh domif-setlink` plugs it in again.
func cut(e *etree.Element) {
	link := child(e, "link")
	if link == nil {
		link = appendTo(e, "link")
	}
	link.CreateAttr("state", "down")
}

func setMAC(e *etree.Element, address string) {
	mac := child(e, "mac")
	if mac == nil {
		mac = etree.NewElement("mac")
		insert(e, mac, 0)
	}
	mac.CreateAttr("address", address)
	// Open vSwitch knows a port by its interface ID, which libvirt makes up
	// where it is not given.
	if port := child(e, "virtualport"); port != nil && attr(port, "type") == "openvswitch" {
		if p := child(port, "parameters"); p != nil {
			p.RemoveAttr("interfaceid")
			if len(p.Attr) == 0 {
				remove(p)
			}
		}
	}
}

// MACAddresses returns the addresses of a guest's interfaces, in lower case.
func MACAddresses(xml string) ([]string, error) {
	d, err := parse(xml)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range children(child(d.root(), "devices"), "interface") {
		if mac := child(e, "mac"); mac != nil && attr(mac, "address") != "" {
			all = append(all, strings.ToLower(attr(mac, "address")))
		}
	}
	return all, nil
}

// MACs returns a source of addresses under the prefix that libvirt gives QEMU
// guests, 52:54:00: locally administered, unicast. It never returns one of
// taken, nor one twice: with 24 bits at random, a thousand guests would share
// one with a probability of three in a hundred. random is such as
// [math/rand/v2.Uint64].
func MACs(random func() uint64, taken ...string) func() string {
	used := map[string]bool{}
	for _, m := range taken {
		used[strings.ToLower(m)] = true
	}
	return func() string {
		for {
			n := random()
			m := fmt.Sprintf("52:54:00:%02x:%02x:%02x", byte(n>>16), byte(n>>8), byte(n))
			if !used[m] {
				used[m] = true
				return m
			}
		}
	}
}

// NewUUID returns a random UUID (version 4 of RFC 9562).
func NewUUID(random func() uint64) string {
	hi, lo := random(), random()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 1<<63
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xffff, lo>>48, lo&0xffff_ffff_ffff)
}
