package orchestrator_test

import (
	"errors"
	"strings"
	"testing"

	"cowhand/dmcore"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// A guest whose disks are in a thin pool is tried, kept, rolled back and cloned on
// thin snapshots; those that a guest runs on are active, those to go back to not.
func TestThinWorkflows(t *testing.T) {
	h := newHost(t, "web1")
	h.run(h.planTry())
	f := h.facts()
	for _, m := range f.Set("try").Members {
		if m.Thin != (m.Disk == "vda") || !f.States[m.Snapshot].Active {
			t.Errorf("%+v, active %v", m, f.States[m.Snapshot].Active)
		}
	}
	h.write("vg/web1.try", 2)
	h.write("vg/data.try", 2)
	if got := h.read("vg/web1"); got != 1 {
		t.Errorf("the origin reads %d during the trial", got)
	}
	h.run(h.facts().PlanKeep(orchestrator.EndRequest{Target: "web1"}))
	h.want("kept", "web1 running; data=2 web1=2")

	h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "before", CutOptions: h.cut()}))
	h.want("snapshot", "web1 running; set before snapshot crash 2; data=2 data.before=2 web1=2 web1.before off")
	h.write("vg/web1", 3)
	h.write("vg/data", 3)
	h.run(h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", EndRequest: orchestrator.EndRequest{Timeout: 1e9}, KeepSnapshot: true, CutOptions: h.cut()}))
	h.want("rolled back", "web1 running; set before snapshot clean 2; data=2 data.before=2 web1=2 web1.before off")
	if f := h.facts(); !f.Set("before").Members[0].Thin {
		t.Error("the snapshot taken again is not thin")
	}
	h.run(h.facts().PlanRemove([]string{"before"}))

	cut := h.cut()
	cut.Kind = orchestrator.CutThin
	if _, err := h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", CutOptions: cut}); !errors.Is(err, orchestrator.ErrConflict) || !strings.Contains(err.Error(), "vg/data is not in a thin pool") {
		t.Errorf("nothing but thin: %v", err)
	}
	cut.Kind = orchestrator.CutThick
	h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "thick", CutOptions: cut}))
	if s := h.facts().Set("thick"); s.Members[0].Thin || h.facts().Groups[0].Snapshot("web1.thick") == nil {
		t.Errorf("thick of thin: %+v", s)
	}
}

// A set whose cut was not finished says so, and is good for nothing but removal.
func TestUncutSet(t *testing.T) {
	h := newHost(t, "web1", "data")
	h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "s", CutOptions: h.cut()}))
	uncut := []string{lvm.TagUncut}
	if err := h.volumes.Tag(t.Context(), lvm.Ref{VG: "vg", LV: "data.s"}, uncut, nil); err != nil {
		t.Fatal(err)
	}
	_, err := h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", Set: "s", CutOptions: h.cut()})
	if !errors.Is(err, orchestrator.ErrIncomplete) || !strings.Contains(err.Error(), "cowhand rm s") {
		t.Errorf("rollback: %v", err)
	}
	cut := &orchestrator.CutSet{Sets: []orchestrator.Set{*h.facts().Set("s")}}
	if err := cut.Do(t.Context(), h.World); err != nil {
		t.Fatal(err)
	}
	if s := h.facts().Set("s"); s.Torn || !s.Complete() {
		t.Errorf("cut again: %+v", s)
	}
	h.run(h.facts().PlanRemove([]string{"s"}))
	h.want("removed", "web1 running; data=1 web1=1")
}

// A pool that should not be written to blocks the plan before anything is touched.
func TestThinPoolBlocksThePlan(t *testing.T) {
	h := newHost(t, "web1", "data")
	f := h.facts()
	pool := lvm.Ref{VG: "vg", LV: "pool"}
	st := f.States[pool]
	if st.Pool == nil {
		t.Fatal("nothing is known of the pool")
	}
	request := orchestrator.SnapshotRequest{Guest: "web1", CutOptions: h.cut()}
	if _, err := f.PlanSnapshot(request); err != nil {
		t.Errorf("a pool that is fit: %v", err)
	}
	for want, change := range map[string]func(*dmcore.ThinPoolStatus){
		"needs a check":  func(p *dmcore.ThinPoolStatus) { p.NeedsCheck = true },
		"is full":        func(p *dmcore.ThinPoolStatus) { p.UsedData = p.TotalData },
		"is read-only":   func(p *dmcore.ThinPoolStatus) { p.Mode = dmcore.ThinPoolReadOnly },
		"transaction id": func(p *dmcore.ThinPoolStatus) { p.TransactionID++ },
		"too little of":  func(p *dmcore.ThinPoolStatus) { p.UsedMetadata = p.TotalMetadata },
	} {
		p := *st.Pool
		change(&p)
		f.States[pool] = lvm.State{Pool: &p}
		if _, err := f.PlanSnapshot(request); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
