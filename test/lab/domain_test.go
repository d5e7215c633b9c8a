package lab

import (
	"strings"
	"testing"
)

func TestDomainNamesItsDisk(t *testing.T) {
	for _, uri := range []string{
		"nbd+unix:///vg0/root?socket=/run/cowhand/nbd.sock",
		"nbd+unix:///vg0/a&b?socket=/tmp/a b's/nbd.sock",
	} {
		got, err := DiskURI([]byte(Domain{Name: "web", Source: uri}.XML()))
		if err != nil || got != uri {
			t.Errorf("disk is %q, %v, want %q", got, err, uri)
		}
	}
	if got, err := DiskURI([]byte(Domain{Name: "web", Source: "/disk.img"}.XML())); err == nil {
		t.Errorf("a file passes for an NBD export: %q", got)
	}
}

func TestDomainOnABlockDevice(t *testing.T) {
	xml := Domain{Name: "web", Source: "/dev/vg0/web", MemoryMiB: 32}.XML()
	for _, part := range []string{"<disk type='block' device='disk'>", "<source dev='/dev/vg0/web'/>", "<memory unit='MiB'>32</memory>"} {
		if !strings.Contains(xml, part) {
			t.Errorf("no %s in\n%s", part, xml)
		}
	}
	if strings.Contains(xml, "<kernel>") {
		t.Errorf("a kernel, for a guest that boots from its disk:\n%s", xml)
	}
}

func TestDomainWaitsForItsServer(t *testing.T) {
	const element = "<reconnect delay='30'/>"
	d := Domain{Name: "web", Source: "nbd+unix:///vg0/root?socket=/run/cowhand/nbd.sock"}
	if xml := d.XML(); strings.Contains(xml, "reconnect") {
		t.Errorf("a reconnect delay that was not asked for, and that an old libvirt refuses:\n%s", xml)
	}
	d.Reconnect = 30
	if xml := d.XML(); !strings.Contains(xml, element) {
		t.Errorf("no %s in\n%s", element, xml)
	}
}

func TestCheckFillFindsWhatIsLost(t *testing.T) {
	ring := func(upTo int) string {
		blocks := make([]string, fillRing)
		blocks[0] = strings.Repeat("\x00", fillBlock)
		for n := 1; n <= upTo; n++ {
			blocks[n%fillRing] = fillPattern(n)
		}
		return strings.Join(blocks, "")
	}
	for _, c := range []struct {
		name        string
		held, acked int
		good        bool
	}{
		{"all", 20, 20, true},
		{"nothing was written", 0, 0, true},
		{"one more than acknowledged", 21, 20, true},
		{"the last is lost", 19, 20, false},
		{"second time round", 3000, 3000, true},
		{"second time round, one on its way", 3001, 3000, true},
		{"second time round, the last is lost", 2999, 3000, false},
		{"two on their way: the guest writes one at a time", 3002, 3000, false},
	} {
		if err := CheckFill(ring(c.held), c.acked); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
