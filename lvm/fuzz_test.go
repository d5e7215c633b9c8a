package lvm

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzParse: what parses prints, reads back the same, and prints its own bytes
// when nothing changed. Nothing makes planning panic. Give -fuzzminimizetime 10x:
// by default one input is minimized for a minute while nothing else runs.
func FuzzParse(f *testing.F) {
	f.Add(golden(f))
	f.Add([]byte(strange))
	f.Add([]byte("vg { id = \"x\" }\ncontents = \"Text Format Volume Group\"\nversion = 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		vg, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("refused with %v, want ErrCorrupt", err)
			}
			return
		}
		valid := vg.Validate() == nil
		raw, err := vg.Text(vg.Header())
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := bytes.Cut(b, []byte{0})
		if want := append(bytes.Clone(before), 0); valid && !vg.file && !bytes.Equal(raw, want) {
			t.Fatalf("unchanged, but prints\n%q, want\n%q", raw, want)
		}
		again, err := Parse(raw)
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		if diff := sameVG(vg, again); valid && diff != "" {
			t.Fatal(diff)
		}
		for _, lv := range vg.LVs {
			list, err := vg.Activations(lv.Name, pvDevice(vg))
			if err == nil && valid {
				for _, a := range list {
					if err := a.Table.Validate(); err != nil {
						t.Fatalf("%s: %v", a.Name, err)
					}
				}
			}
			vg.Attr(lv, LVState{})
		}
		vg.FreeRuns()
		if !valid || len(vg.LVs) == 0 {
			return
		}
		c := vg.Clone()
		if _, err := c.AddSnapshots([]SnapshotSpec{{Origin: c.LVs[0].Name, Size: Size{Percent: 10, Of: OfOrigin}}}); err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("after a snapshot: %v", err)
		}
		raw, err = c.Text(testHeader)
		if err != nil {
			t.Fatal(err)
		}
		if again, err = Parse(raw); err != nil {
			t.Fatalf("after a snapshot: %v\n%s", err, raw)
		}
		if diff := sameVG(c, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
