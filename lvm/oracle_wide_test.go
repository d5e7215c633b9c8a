package lvm

import (
	"fmt"
	"strings"
	"testing"
)

// A wide group, with texts so long that every third one wraps in its ring.
func TestOracleWide(t *testing.T) {
	o := oracle(t, 2)
	for _, path := range o.paths {
		if _, err := o.store.CreatePV(t.Context(), path, PVOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.store.CreateVG(t.Context(), VGSpec{Name: "wide", ExtentSize: 32, PVs: o.paths}); err != nil {
		t.Fatal(err)
	}
	o.change("wide", func(vg *VG) error {
		for i := range 600 {
			if _, err := vg.AddLinear(LinearSpec{Name: fmt.Sprintf("lv%d", i), Size: Size{Count: 2}}); err != nil {
				return err
			}
		}
		return nil
	})
	o.agree()
	for turn := range 4 {
		o.change("wide", func(vg *VG) error {
			var specs []SnapshotSpec
			for i := range 50 {
				specs = append(specs, SnapshotSpec{Origin: fmt.Sprintf("lv%d", turn*50+i), Name: fmt.Sprintf("s%d.%d", turn, i), Size: Size{Count: 2}})
			}
			_, err := vg.AddSnapshots(specs)
			return err
		})
	}
	o.agree()
	o.lvm("vgchange", "--addtag", "theirs", "wide")
	o.change("wide", func(vg *VG) error {
		for i := range 50 {
			if err := vg.Remove(fmt.Sprintf("s1.%d", i)); err != nil {
				return err
			}
		}
		return nil
	})
	o.agree()
	o.lvm("vgck", "wide")
	if dump := o.lvm("pvck", "--dump", "metadata_all", o.paths[1]); !strings.Contains(dump, "vg wide seqno 8 ") {
		t.Errorf("seqno 8 is not there:\n%s", dump)
	}
	for i := 0; !o.wrapped(); i++ {
		if i == 5 {
			t.Fatal("the ring does not wrap")
		}
		o.change("wide", func(vg *VG) error { return vg.AddTags("", fmt.Sprint("turn", i)) })
	}
	o.agree()
	o.lvm("vgchange", "--deltag", "theirs", "wide")
	o.agree()
}

// wrapped reports a committed text in two pieces.
func (o *lvm2) wrapped() bool {
	o.t.Helper()
	f, err := o.store.scan(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	h := f.groups[0].areas[0].header
	return len(h.Spans(h.Committed)) == 2
}
