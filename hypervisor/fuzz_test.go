package hypervisor

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func FuzzRewriteXML(f *testing.F) {
	for _, xml := range corpus(f) {
		f.Add(xml, "web2", "/dev/vg0/x")
	}
	f.Add("<domain><name/></domain>", "a", "/b")
	f.Add("<domain ><name >a</name ><devices ><disk><target dev='v'/></disk></devices></domain>", "<&'\">", "/<&'\">")
	f.Add("<domain><name>a</name><x a=\"1\" b='2'></x><![CDATA[ ]]></domain>\r\n", "\u00e9", "/\t\n")
	f.Fuzz(func(t *testing.T, xml, name, device string) {
		if name == "" {
			return // keeps the old one
		}
		same, err := RewriteXML(xml, Rewrite{})
		if err != nil {
			return // not a definition
		}
		if same != xml {
			t.Fatalf("nothing to change became\n%q of\n%q", same, xml)
		}
		disks, err := Disks(xml)
		if err != nil {
			t.Fatalf("rewritten, but its disks cannot be read: %v", err)
		}
		r := Rewrite{
			Name: name, UUID: "11111111-2222-4333-8444-555555555555", FreshGenID: true, Network: Isolated,
			FreshMACs: MACs(rand.New(rand.NewPCG(1, 1)).Uint64),
			Mark:      &Mark{Set: name, Role: device},
			Disks:     map[string]DiskSource{},
		}
		for _, d := range disks {
			if d.Device != "lun" && !d.Mirror {
				r.Disks[d.Target] = DiskSource{Export: device, Socket: "/" + name, Reconnect: 5}
			}
		}
		got, err := RewriteXML(xml, r)
		if err != nil {
			return // the name or the device is none
		}
		if n, u, err := Identify(got); err != nil || n != name || u != r.UUID {
			t.Errorf("identity %q %q, %v in\n%s", n, u, err, got)
		}
		after, err := Disks(got)
		if err != nil {
			t.Fatalf("disks: %v in\n%s", err, got)
		}
		for _, d := range after {
			if s, replaced := r.Disks[d.Target]; replaced && (d.Kind != NBD || d.Source != s.Export || d.Socket != s.Socket) {
				t.Errorf("disk %+v, want %+v, in\n%s", d, s, got)
			}
		}
		if m, ok, err := ReadMark(got); err != nil || !ok || m != (Mark{Set: name, Role: device}) {
			t.Errorf("mark %+v, %v, %v, want %q %q in\n%s", m, ok, err, name, device, got)
		}
		if again, err := RewriteXML(got, r); err != nil {
			t.Errorf("a second time: %v", err)
		} else if strings.Count(again, MarkNamespace) != strings.Count(got, MarkNamespace) {
			t.Errorf("the mark is there twice in\n%s", again)
		}
		if _, err := Examine(xml, r); err != nil {
			t.Errorf("examine: %v", err)
		}
	})
}

func TestMACs(t *testing.T) {
	n := uint64(0)
	next := MACs(func() uint64 { n++; return n / 2 }, "52:54:00:00:00:01", "52:54:00:00:00:03")
	for _, want := range []string{"52:54:00:00:00:00", "52:54:00:00:00:02", "52:54:00:00:00:04"} {
		if got := next(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNewUUID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	random := rand.New(rand.NewPCG(1, 2)).Uint64
	var all []string
	for range 100 {
		u := NewUUID(random)
		if !form.MatchString(u) || !uuidForm.MatchString(u) {
			t.Errorf("%s is no UUID of version 4", u)
		}
		all = append(all, u)
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != 100 {
		t.Error("two of a hundred are the same")
	}
}

func TestMACAddresses(t *testing.T) {
	got, err := MACAddresses(guestWith("<interface><mac address='52:54:00:AB:00:01'/></interface><interface/>"))
	if err != nil || !slices.Equal(got, []string{"52:54:00:ab:00:01"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestReconnectSupported(t *testing.T) {
	for v, want := range map[Version]bool{9_000_000: false, 9_001_000: false, 9_002_000: true, 11_003_000: true} {
		if ReconnectSupported(v) != want {
			t.Errorf("%v: %v", v, !want)
		}
	}
}
