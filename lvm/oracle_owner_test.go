package lvm

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// Groups that lvm2 says are another host's are left alone; ours keep what only
// lvm2 writes.
func TestOracleOwners(t *testing.T) {
	o := oracle(t, 2)
	for _, path := range o.paths {
		o.lvm("pvcreate", path)
	}
	o.conf += ` global/system_id_source="lvmlocal" local/system_id="hosta"`
	o.lvm("vgcreate", "hers", o.paths[0])
	o.lvm("vgcreate", "moved", o.paths[1])
	o.lvm("vgexport", "moved")
	for _, name := range []string{"hers", "moved"} {
		if _, err := o.store.Load(t.Context(), name); !errors.Is(err, ErrForeign) {
			t.Errorf("Load of %s: %v, want ErrForeign", name, err)
		}
	}
	if names, err := o.store.List(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("usable: %v, %v", names, err)
	}
	o.store.SystemIDs = []string{"hosta"}
	if _, err := o.store.Load(t.Context(), "moved"); !errors.Is(err, ErrForeign) {
		t.Errorf("Load of an exported group: %v, want ErrForeign", err)
	}
	o.change("hers", func(vg *VG) error { return vg.AddTags("", "ours") })
	o.lvm("vgchange", "--addtag", "theirs", "hers")
	o.lvm("vgimport", "moved")
	o.change("moved", func(vg *VG) error { return vg.AddTags("", "ours") })
	o.agree()
	vg, err := o.store.Load(t.Context(), "hers")
	if err != nil || vg.SystemID != "hosta" || !slices.Equal(slices.Sorted(slices.Values(vg.Tags)), []string{"ours", "theirs"}) {
		t.Errorf("%+v, %v", vg, err)
	}
}

// The flag of groups with an owner is written where lvm2 writes it.
func TestOracleWriteLocked(t *testing.T) {
	o := oracle(t, 2)
	o.conf += ` global/system_id_source="lvmlocal" local/system_id="me"`
	o.store.SystemIDs = []string{"me"}
	for _, path := range o.paths {
		o.lvm("pvcreate", path)
	}
	if _, err := o.store.CreateVG(t.Context(), VGSpec{Name: "same", PVs: o.paths[:1], SystemID: "me"}); err != nil {
		t.Fatal(err)
	}
	o.lvm("vgcreate", "twin", o.paths[1])
	words := func(name string) string {
		t.Helper()
		vg, err := o.store.Load(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(vg.Status, vg.Flags)
		for _, lv := range vg.LVs {
			text += fmt.Sprint(lv.Name, lv.Status, lv.Flags)
		}
		return text
	}
	both := func(what string, ours func(*VG) error, theirs ...string) {
		t.Helper()
		o.change("same", ours)
		if out, err := o.command(t.Context(), theirs...).CombinedOutput(); err != nil { // it warns
			t.Fatalf("%v: %s", err, out)
		}
		if ours, theirs := words("same"), words("twin"); ours != theirs {
			t.Errorf("%s: ours %s, lvm2's %s", what, ours, theirs)
		}
	}
	for _, name := range []string{"a", "b"} {
		both("create", func(vg *VG) error {
			_, err := vg.AddStriped(StripedSpec{LinearSpec: LinearSpec{Name: name, Size: Size{Bytes: 4 << 20}}})
			return err
		}, "lvcreate", "-y", "-an", "-Zn", "-Wn", "-l1", "-n", name, "twin")
	}
	both("read-only", func(vg *VG) error { return vg.SetPermission("a", false) }, "lvchange", "-pr", "twin/a")
	both("writable", func(vg *VG) error { return vg.SetPermission("a", true) }, "lvchange", "-prw", "twin/a")
	both("no owner", func(vg *VG) error { vg.SystemID = ""; return nil }, "vgchange", "-y", "--systemid", "", "twin")
}
