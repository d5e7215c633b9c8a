package lvm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// After every kind of change lvm2 accepts the group, prints it as we do byte
// for byte (but for the header), and sees the same volumes.
func TestOracleAgreesOnChanges(t *testing.T) {
	o := oracle(t, 2)
	for _, path := range o.paths[:2] {
		if _, err := o.store.CreatePV(t.Context(), path, PVOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.store.CreateVG(t.Context(), VGSpec{Name: "vg", PVs: o.paths[:2]}); err != nil {
		t.Fatal(err)
	}
	one, stamp := Size{Count: 1}, Stamp{Time: testTime, Host: "h"}
	for _, step := range []struct {
		name   string
		change func(*VG) error
	}{
		{"create", func(vg *VG) error {
			_, err := vg.AddLinear(LinearSpec{Name: "root", Size: Size{Count: 3}, Stamp: stamp})
			return err
		}},
		{"create striped", func(vg *VG) error {
			_, err := vg.AddStriped(StripedSpec{LinearSpec{Name: "wide", Size: Size{Count: 2}, Stamp: stamp}, 2, 0})
			return err
		}},
		{"snapshots", func(vg *VG) error {
			_, err := vg.AddSnapshots([]SnapshotSpec{{Origin: "root", Name: "s1", Size: one, Stamp: stamp},
				{Origin: "root", Name: "s2", Size: one, ReadOnly: true, Stamp: stamp}, {Origin: "wide", Name: "ws", Size: one, Stamp: stamp}})
			return err
		}},
		{"tag", func(vg *VG) error { return vg.AddTags("root", "z", "a") }},
		{"tag group", func(vg *VG) error { return vg.AddTags("", "g") }},
		{"start merge", func(vg *VG) error { return vg.StartMerge("s1") }},
		{"rename origin", func(vg *VG) error { return vg.Rename("root", "top") }},
		{"remove snapshot", func(vg *VG) error { return vg.Remove("s2") }},
		{"finish merge", func(vg *VG) error { return vg.FinishMerge("s1") }},
		{"extend", func(vg *VG) error { _, err := vg.ExtendLV("top", 5); return err }},
		{"read-only", func(vg *VG) error { return vg.SetPermission("top", false) }},
		{"remove all", func(vg *VG) error { return vg.Remove("wide", "ws") }},
	} {
		o.change("vg", step.change)
		o.lvm("vgck", "vg")
		backup := filepath.Join(t.TempDir(), "vg")
		o.lvm("vgcfgbackup", "-f", backup, "vg")
		theirs, err := os.ReadFile(backup)
		must(t, err)
		vg, err := o.store.Load(t.Context(), "vg")
		must(t, err)
		ours, err := vg.FileText(testHeader)
		must(t, err)
		_, theirBody, _ := strings.Cut(string(theirs), "\nvg {")
		_, ourBody, found := strings.Cut(string(ours), "\nvg {")
		if diff := cmp.Diff(theirBody, ourBody); diff != "" || !found {
			t.Errorf("%s (-lvm2 +cowhand):\n%s", step.name, diff)
		}
		// lvm2 has no device mapper to ask here: neither have we.
		listed := strings.Fields(o.lvm("lvs", "--noheadings", "-o", "lv_name,lv_attr,segtype", "vg"))
		var got []string
		for _, lv := range vg.ShownLVs() {
			got = append(got, strings.Join([]string{lv.Name, vg.Attr(lv, LVState{}), lv.SegType()}, " "))
		}
		var want []string
		for row := range slices.Chunk(listed, 3) {
			want = append(want, strings.Join(row, " "))
		}
		slices.Sort(got)
		slices.Sort(want)
		want = slices.Compact(want) // lvs has a row for each segment
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: lvs (-lvm2 +cowhand):\n%s", step.name, diff)
		}
	}
}
