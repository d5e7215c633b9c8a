package dmcore_test

import (
	"testing"

	"cowhand/dmcore"
)

func TestName(t *testing.T) {
	for _, c := range []struct {
		vg, lv, layer string
		want          dmcore.Name
	}{
		{"vg", "root", "", "vg-root"},
		{"vg", "root", "real", "vg-root-real"},
		{"my-vg", "a--b", "cow", "my--vg-a----b-cow"},
		{"vg", "-a", "", "vg---a"},
		{"vg-", "a", "", "vg---a"}, // as ambiguous as with lvm2, which refuses such names
	} {
		if got := dmcore.BuildName(c.vg, c.lv, c.layer); got != c.want {
			t.Errorf("BuildName(%q, %q, %q) = %q, want %q", c.vg, c.lv, c.layer, got, c.want)
		}
	}
	for _, n := range []dmcore.Name{"plain", "a-b-c-d", "", "a--b"} {
		if vg, lv, layer, ok := n.Split(); ok {
			t.Errorf("%q splits into %q, %q, %q", n, vg, lv, layer)
		}
	}
}

func FuzzName(f *testing.F) {
	f.Add("vg", "lv", "real")
	f.Add("v-g", "l--v", "")
	f.Fuzz(func(t *testing.T, vg, lv, layer string) {
		for _, part := range []string{vg, lv, layer} {
			// lvm2 gives no name such an edge, and layers hold no hyphen.
			if part != "" && (part[0] == '-' || part[0] == '_' || part[len(part)-1] == '-') {
				t.Skip()
			}
		}
		if vg == "" || lv == "" {
			t.Skip()
		}
		for i := range layer {
			if layer[i] == '-' {
				t.Skip()
			}
		}
		v, l, y, ok := dmcore.BuildName(vg, lv, layer).Split()
		if !ok || v != vg || l != lv || y != layer {
			t.Errorf("%q, %q, %q came back as %q, %q, %q (%v)", vg, lv, layer, v, l, y, ok)
		}
	})
}

func TestUUID(t *testing.T) {
	u := dmcore.BuildUUID("v", "l", "cow")
	if u != "LVM-vl-cow" {
		t.Errorf("uuid %q", u)
	}
	if got, ok := u.Dev().UUID(); !ok || got != u {
		t.Errorf("reference %q gives %q, %v", u.Dev(), got, ok)
	}
	if got, ok := dmcore.Dev("0:3").UUID(); ok {
		t.Errorf("a number gives UUID %q", got)
	}
	if got := (dmcore.DevNo{Major: 253, Minor: 7}).Dev(); got != "253:7" {
		t.Errorf("device number %q", got)
	}
}
