package lvm

import (
	"errors"
	"strings"
	"testing"
)

func snapshotted(t *testing.T) *VG {
	vg := testVG(t, 100)
	add(t, vg, "root", 8)
	snap(t, vg, "root", "s1", 3)
	snap(t, vg, "root", "s2", 3)
	add(t, vg, "data", 2)
	return vg
}

func TestRemove(t *testing.T) {
	for _, tt := range []struct {
		names string
		merge bool // s1 is being merged
		want  error
		left  string
	}{
		{names: "data", left: "root s1 snapshot0 s2 snapshot1"},
		{names: "s1", left: "root s2 snapshot1 data"},
		{names: "s1 s2", left: "root data"},
		{names: "root", want: ErrInUse},
		{names: "root s1", want: ErrInUse},
		{names: "root s1 s2", left: "data"},
		{names: "s1", merge: true, want: ErrMerging},
		{names: "s2", merge: true, left: "root s1 snapshot0 data"},
		{names: "root s1 s2", merge: true, left: "data"},
		{names: "snapshot0", want: ErrInvalid},
		{names: "data none", want: ErrNotFound},
		{names: "data data", left: "root s1 snapshot0 s2 snapshot1"},
	} {
		vg := snapshotted(t)
		if tt.merge {
			must(t, vg.StartMerge("s1"))
		}
		all := order(vg)
		err := vg.Remove(strings.Fields(tt.names)...)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.names, err, tt.want)
		}
		if tt.want != nil {
			tt.left = all
		}
		if got := order(vg); got != tt.left {
			t.Errorf("%s: left %q, want %q", tt.names, got, tt.left)
		}
		must(t, vg.Validate())
	}
	vg := mustParse(t, golden(t))
	for name, want := range map[string]error{"pool": ErrInUse, "pool_tdata": ErrInvalid} {
		if err := vg.Remove(name); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	// What lies on a lost disk can be let go of.
	vg = snapshotted(t)
	vg.PVs[0].Flags = []string{"MISSING"}
	must(t, vg.Remove("s1", "data"))
}

// A volume that an unknown type refers to is not removed, renamed or
// snapshotted.
func TestReferredTo(t *testing.T) {
	vg := mustParse(t, []byte(strings.Replace(strange, `plates = ["pv0", 20]`, `plates = ["pv0", 20, "plain"]`, 1)))
	for op, err := range map[string]error{
		"remove": vg.Remove("plain"),
		"rename": vg.Rename("plain", "x"),
		"snapshot": func() error {
			_, err := vg.AddSnapshots([]SnapshotSpec{{Origin: "plain", Size: Size{Count: 1}}})
			return err
		}(),
		"extend": func() error { _, err := vg.ExtendLV("plain", 3); return err }(),
	} {
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "r1") {
			t.Errorf("%s: got %v, want ErrInUse by r1", op, err)
		}
	}
}

func TestRename(t *testing.T) {
	vg := snapshotted(t)
	must(t, vg.Rename("root", "top"))
	must(t, vg.Rename("s2", "night"))
	vg = reread(t, vg)
	if got, want := order(vg), "top s1 night data snapshot0 snapshot1"; got != want {
		t.Errorf("volumes %q, want %q", got, want)
	}
	if vg.Origin("night") != vg.LV("top") || vg.Origin("s1") != vg.LV("top") {
		t.Error("snapshots lost their origin")
	}
	must(t, vg.StartMerge("s1"))
	for _, tt := range []struct {
		from, to string
		want     error
	}{
		{"none", "x", ErrNotFound},
		{"data", "top", ErrExists},
		{"data", "data", ErrExists},
		{"data", "snapshot5", ErrInvalid},
		{"data", "pv0", ErrInvalid},
		{"data", "-x", ErrInvalid},
		{"snapshot0", "x", ErrInvalid},
		{"s1", "x", ErrInvalid},
		{"top", "again", nil},
	} {
		if err := vg.Rename(tt.from, tt.to); !errors.Is(err, tt.want) {
			t.Errorf("%s to %s: got %v, want %v", tt.from, tt.to, err, tt.want)
		}
	}
}

func TestSetPermission(t *testing.T) {
	vg := snapshotted(t)
	must(t, vg.SetPermission("s1", false))
	must(t, vg.SetPermission("data", false))
	if got := strings.Join(vg.LV("s1").Status, " ") + "/" + strings.Join(vg.LV("data").Status, " "); got != "READ/READ VISIBLE" {
		t.Errorf("status %s", got)
	}
	must(t, vg.SetPermission("data", true))
	if got := strings.Join(vg.LV("data").Status, " "); got != "READ WRITE VISIBLE" {
		t.Errorf("status %s", got)
	}
	must(t, vg.StartMerge("s2"))
	for name, want := range map[string]error{"none": ErrNotFound, "snapshot0": ErrInvalid, "s2": ErrInvalid, "root": ErrMerging} {
		if err := vg.SetPermission(name, false); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
}

func TestMerge(t *testing.T) {
	vg := snapshotted(t)
	must(t, vg.StartMerge("s1"))
	must(t, vg.Validate())
	for name, want := range map[string]error{"s1": ErrMerging, "s2": ErrMerging, "root": ErrInvalid, "none": ErrNotFound, "data": ErrInvalid} {
		if err := vg.StartMerge(name); !errors.Is(err, want) {
			t.Errorf("start %s: got %v, want %v", name, err, want)
		}
	}
	raw := text(t, vg)
	if s := section(raw, "snapshot0"); !strings.Contains(s, "status = [\"READ\", \"WRITE\"]\n") || !strings.Contains(s, "merging_store = \"s1\"\n") || strings.Contains(s, "cow_store") {
		t.Errorf("helper:\n%s", s)
	}
	vg = mustParse(t, raw)
	if vg.Merging("root") == nil || vg.Shown(vg.LV("s1")) || !vg.Shown(vg.LV("s2")) {
		t.Error("s1 is not the one that is being merged")
	}
	if err := vg.FinishMerge("s2"); !errors.Is(err, ErrInvalid) {
		t.Errorf("finish s2: %v", err)
	}
	if err := vg.FinishMerge("data"); !errors.Is(err, ErrNotFound) {
		t.Errorf("finish data: %v", err)
	}
	must(t, vg.FinishMerge("s1"))
	if got, want := order(reread(t, vg)), "root s2 data snapshot1"; got != want {
		t.Errorf("left %q, want %q", got, want)
	}
	must(t, vg.SetPermission("root", false))
	if err := vg.StartMerge("s2"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("into a read-only origin: %v", err)
	}
}

func TestTags(t *testing.T) {
	vg := snapshotted(t)
	must(t, vg.AddTags("s1", "b", "a", "b"))
	must(t, vg.AddTags("s2", "a"))
	must(t, vg.AddTags("", "all"))
	must(t, vg.AddTags("s1", "a", "c"))
	must(t, vg.DelTags("s1", "c", "unknown"))
	for _, err := range []error{vg.AddTags("none", "x"), vg.DelTags("none", "x")} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
	}
	if err := vg.AddTags("s1", "good", "not good"); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
	vg = reread(t, vg)
	if got := strings.Join(vg.LV("s1").Tags, " "); got != "a b" {
		t.Errorf("tags %q", got)
	}
	for which, want := range map[string]string{
		"@a": "s1 s2", "@b s2": "s1 s2", "s2 @a": "s2 s1", "@none": "", "data": "data",
		"@all": "root s1 s2 data", "snapshot0": "snapshot0",
	} {
		lvs, err := vg.Select(strings.Fields(which)...)
		var names []string
		for _, lv := range lvs {
			names = append(names, lv.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", which, got, err, want)
		}
	}
	for which, want := range map[string]error{"none": ErrNotFound, "@": ErrInvalid, "@a@b": ErrInvalid} {
		if _, err := vg.Select(which); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", which, err, want)
		}
	}
}
