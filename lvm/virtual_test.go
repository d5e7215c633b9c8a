package lvm

import (
	"errors"
	"strings"
	"testing"
)

func TestVirtual(t *testing.T) {
	vg := testVG(t, 100)
	lv, _, err := vg.AddVirtual(VirtualSpec{Virtual: Size{Bytes: 1 << 50}, SnapshotSpec: SnapshotSpec{Name: "big", Size: Size{Count: 20}, Stamp: testStamp(50)}})
	must(t, err)
	must(t, vg.Validate())
	again := mustParse(t, text(t, vg))
	must(t, again.Validate())
	origin := again.Origin(lv.Name)
	if !again.VirtualOrigin(origin) || again.VirtualOrigin(again.LV("big")) || origin.Name != "big_vorigin" || origin.Writable() {
		t.Errorf("%+v", origin)
	}
	acts, err := again.Activations("big", pvDevice(again))
	must(t, err)
	var got []string
	for _, a := range acts {
		got = append(got, string(a.Name)+": "+a.Table.String())
	}
	for i, want := range []string{"big_vorigin-real: 0 2199023255552 zero", "big-cow: 0 ", "big: 0 2199023255552 snapshot ", "big_vorigin: 0 2199023255552 snapshot-origin "} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Fatalf("%d: want %s in\n%s", i, want, strings.Join(got, "\n"))
		}
	}
	must(t, again.Rename("big", "large"))
	must(t, again.Validate())
	if again.LV("large_vorigin") == nil || again.Origin("large").Name != "large_vorigin" {
		t.Errorf("renamed: %s", text(t, again))
	}
	for _, err := range []error{again.StartMerge("large"), again.Remove("large_vorigin"), again.Rename("large_vorigin", "x")} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v", err)
		}
	}
	if _, _, err := again.AddVirtual(VirtualSpec{Virtual: Size{Bytes: 1 << 50}, SnapshotSpec: SnapshotSpec{Name: "large", Size: Size{Count: 20}, Stamp: testStamp(60)}}); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	must(t, again.Remove("large"))
	if len(again.LVs) != 0 {
		t.Errorf("left: %s", text(t, again))
	}
}
