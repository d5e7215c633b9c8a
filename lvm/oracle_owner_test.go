package lvm

import (
	"errors"
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
