package lvm

import (
	"context"
	"errors"
	"testing"

	"cowhand/dmcore"
)

// What lvs printed of such volumes.
func TestThinAttr(t *testing.T) {
	live := func(s *ThinState) LVState {
		return LVState{Known: true, Exists: true, Info: dmcore.Info{Live: true}, Thin: s}
	}
	pool := func(s dmcore.ThinPoolStatus) LVState { return live(&ThinState{Pool: &s}) }
	on, off := live(nil), LVState{Known: true}
	for _, tt := range []struct {
		lv     string
		st     LVState
		want   string
		change func(*VG)
	}{
		{"base", on, "ori-a-----", nil},
		{"base", on, "ori-a-----", func(vg *VG) { vg.LV("base").setStatus(statusWrite, true) }},
		{"pool_tmeta", on, "ewi-a-----", nil},
		{"pool_tdata", on, "Twi-a-----", nil},
		{"lvol0_pmspare", off, "ewi-------", nil},
		{"pool", pool(dmcore.ThinPoolStatus{}), "twi-a-tz--", nil},
		{"new", off, "twi---t---", func(vg *VG) { vg.LV("new").ThinPool().Zero = false }},
		{"pool", pool(dmcore.ThinPoolStatus{State: dmcore.ThinFail}), "twi-a-tzF-", nil},
		{"pool", pool(dmcore.ThinPoolStatus{Mode: dmcore.ThinPoolOutOfDataSpace}), "twi-a-tzD-", nil},
		{"pool", pool(dmcore.ThinPoolStatus{Mode: dmcore.ThinPoolReadOnly}), "twi-a-tzM-", nil},
		{"pool", pool(dmcore.ThinPoolStatus{Mode: dmcore.ThinPoolReadOnly, NeedsCheck: true}), "twi-c-tzM-", nil},
		{"t1", on, "Vwi-a-tz--", nil},
		{"t1", live(&ThinState{Volume: &dmcore.ThinStatus{State: dmcore.ThinFail}}), "Vwi-a-tzF-", nil},
		{"ts1", off, "Vwi---tz-k", nil},
		{"text", on, "Vwi-a-t---", func(vg *VG) { vg.LV("pool").ThinPool().Zero = false }},
		{"thick", on, "owi-a-tz--", nil},
		{"cow", on, "swi-a-s---", nil},
		{"t5", on, "Owi-a-tz--", nil},
		{"ts5", off, "Swi---tz--", nil},
		{"t1", on, "ori-a-tz--", func(vg *VG) { vg.LV("text").Thin().ExternalOrigin = "t1"; vg.LV("t1").setStatus(statusWrite, true) }},
		{"t1", off, "Vwi---tzp-", func(vg *VG) { vg.PVs[0].Flags = []string{"MISSING"} }},
		{"pool", LVState{}, "twi-XXtz--", nil},
	} {
		vg := thinVG(t)
		if tt.change != nil {
			tt.change(vg)
		}
		if got := vg.Attr(vg.LV(tt.lv), tt.st); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.lv, got, tt.want)
		}
	}
}

// statuses answers what devices tell, by UUID.
type statuses map[dmcore.UUID]dmcore.TargetStatus

func (s statuses) Do(_ context.Context, cmd dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
	st, ok := s[r.UUID]
	if !ok || cmd != dmcore.TargetStatusOf {
		return nil, &dmcore.Error{Cmd: cmd, Name: dmcore.Name(r.UUID), Err: dmcore.ErrNotFound}
	}
	if st.Type == "broken" {
		return nil, errTest
	}
	return &dmcore.Reply{Targets: []dmcore.TargetStatus{st}}, nil
}

func TestThinStates(t *testing.T) {
	vg := thinVG(t)
	told := statuses{}
	infos := map[dmcore.UUID]dmcore.Info{}
	up := func(lv, layer, kind, status string) dmcore.UUID {
		u := vg.uuid(vg.LV(lv), layer)
		infos[u] = dmcore.Info{UUID: u, Live: true}
		told[u] = dmcore.TargetStatus{Type: kind, Params: status}
		return u
	}
	up("pool", layerTPool, "thin-pool", "6 128/1024 64/512 - rw discard_passdown queue_if_no_space - 256")
	up("pool", layerTData, "linear", "")
	up("pool_tmeta", layerTMeta, "linear", "")
	up("t1", "", "thin", "20480 40959")
	up("thick", "", "snapshot-origin", "")
	up("thick", layerReal, "thin", "4096 4095")
	up("ts1", "", "thin", "Fail")
	e := &Engine{DM: dmcore.NewClient(told)}
	states, err := e.ThinStates(t.Context(), vg, infos)
	must(t, err)
	for _, tt := range []struct {
		lv         string
		exists     bool
		data, meta float64 // -1: not told
	}{
		{"pool", false, 12.5, 12.5}, // volumes are active, the pool itself is not
		{"pool_tmeta", true, -1, -1},
		{"pool_tdata", false, -1, -1},
		{"t1", true, 50, -1},
		{"thick", true, 25, -1},
		{"ts1", true, -1, -1},
		{"text", false, -1, -1},
		{"new", false, -1, -1},
	} {
		st, ok := states[tt.lv]
		data, meta := -1.0, -1.0
		if p, ok := st.DataPercent(); ok {
			data = p
		}
		if p, ok := st.Thin.MetadataPercent(); ok {
			meta = p
		}
		if !ok || !st.Known || st.Exists != tt.exists || data != tt.data || meta != tt.meta {
			t.Errorf("%s: %v, exists %v, %v%%, %v%%; want %+v", tt.lv, ok, st.Exists, data, meta, tt)
		}
	}
	for _, plain := range []string{"root", "base", "cow"} {
		if _, ok := states[plain]; ok {
			t.Errorf("%s is nothing thin", plain)
		}
	}
	up("pool", layerPool, "linear", "")
	up("new", layerTPool, "thin-pool", "0 10/1024 0/512 - rw discard_passdown queue_if_no_space - 256")
	states, err = e.ThinStates(t.Context(), vg, infos)
	if err != nil || !states["pool"].Exists || !states["new"].Exists {
		t.Errorf("both pools are active: %+v, %+v, %v", states["pool"], states["new"], err)
	}
	// A device that is gone since it was listed, and one that cannot be asked.
	delete(told, vg.uuid(vg.LV("t1"), ""))
	if states, err = e.ThinStates(t.Context(), vg, infos); err != nil || states["t1"].Exists {
		t.Errorf("gone: %+v, %v", states["t1"], err)
	}
	told[vg.uuid(vg.LV("pool"), layerTPool)] = dmcore.TargetStatus{Type: "broken"}
	if _, err = e.ThinStates(t.Context(), vg, infos); !errors.Is(err, errTest) {
		t.Errorf("an error: %v", err)
	}
	if states, err = e.ThinStates(t.Context(), testVG(t, 10), infos); states != nil || err != nil {
		t.Errorf("no thin pool: %v, %v", states, err)
	}
}
