package lvm

import (
	"testing"

	"cowhand/dmcore"
)

// What lvs printed of the golden group.
func TestAttrGolden(t *testing.T) {
	vg := mustParse(t, golden(t))
	off := LVState{Known: true}
	on := LVState{Known: true, Exists: true, Info: dmcore.Info{Live: true}}
	open := LVState{Known: true, Exists: true, Info: dmcore.Info{Live: true, OpenCount: 1}}
	for _, tt := range []struct {
		lv   string
		st   LVState
		want string
	}{
		{"root", open, "Owi-aos---"},
		{"s1", on, "Swi-a-s---"},
		{"pool", open, "twi-aotz--"},
		{"t1", on, "Vwi-a-tz--"},
		{"ts1", off, "Vwi---tz-k"},
		{"lvol0_pmspare", off, "ewi-------"},
		{"pool_tmeta", open, "ewi-ao----"},
		{"pool_tdata", open, "Twi-ao----"},
	} {
		if got := vg.Attr(vg.LV(tt.lv), tt.st); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.lv, got, tt.want)
		}
	}
}

func TestAttr(t *testing.T) {
	vg := snapshotted(t)
	must(t, vg.SetPermission("s2", false))
	vg.LV("data").Flags = []string{"ACTIVATION_SKIP"}
	vg.LV("data").allocation = "contiguous"
	state := func(info dmcore.Info, s *dmcore.SnapshotStatus) LVState {
		return LVState{Known: true, Exists: true, Info: info, Snapshot: s}
	}
	live := dmcore.Info{Live: true}
	half := &dmcore.SnapshotStatus{Allocated: 50, Total: 100, Metadata: 16}
	invalid := &dmcore.SnapshotStatus{State: dmcore.SnapshotInvalid}
	failed := &dmcore.SnapshotStatus{State: dmcore.MergeFailed}
	for _, tt := range []struct {
		lv   string
		st   LVState
		want string
	}{
		{"root", LVState{}, "owi-XXs---"},
		{"root", state(live, nil), "owi-a-s---"},
		{"s1", state(live, half), "swi-a-s---"},
		{"s1", state(live, invalid), "swi-I-s---"},
		{"s1", state(dmcore.Info{Live: true, Suspended: true}, invalid), "swi-S-s---"},
		{"s1", state(dmcore.Info{Live: true, Suspended: true}, failed), "swi-M-s---"},
		{"root", state(live, failed), "owi-m-s---"},
		{"s2", state(dmcore.Info{Live: true, ReadOnly: true}, half), "sri-a-s---"},
		{"data", state(dmcore.Info{Live: true, ReadOnly: true}, nil), "-Rc-a----k"},
		{"data", state(dmcore.Info{Suspended: true}, nil), "-wc-s----k"},
		{"data", state(dmcore.Info{Inactive: true}, nil), "-wc-i----k"},
		{"data", state(dmcore.Info{}, nil), "-wc-d----k"},
	} {
		if got := vg.Attr(vg.LV(tt.lv), tt.st); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.lv, got, tt.want)
		}
	}
	vg.PVs[0].Flags = []string{"MISSING"}
	if got, want := vg.Attr(vg.LV("root"), LVState{Known: true}), "owi---s-p-"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if p, ok := state(live, half).DataPercent(); !ok || p != 50 {
		t.Errorf("half full: %v, %v", p, ok)
	}
	if p, ok := state(live, invalid).DataPercent(); !ok || p != 100 {
		t.Errorf("invalid: %v, %v", p, ok)
	}
	if _, ok := state(live, failed).DataPercent(); ok {
		t.Error("a failed merge has no percentage")
	}
	if got := vg.LV("root").SegType() + " " + vg.LV("snapshot0").SegType(); got != "linear snapshot" {
		t.Errorf("types %s", got)
	}
}
