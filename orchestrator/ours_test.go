package orchestrator_test

import (
	"errors"
	"testing"

	"cowhand/hypervisor"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// A guest that only bears the name of a trial or clone is nobody's to stop.
func TestGuestOfThatNameIsNotOurs(t *testing.T) {
	for name, c := range map[string]struct {
		plan func(*host) (*orchestrator.Plan, error)
		want string
	}{
		"discard": {func(h *host) (*orchestrator.Plan, error) {
			return h.facts().PlanDiscard(orchestrator.EndRequest{Target: "try"})
		}, "web1 running;web1-try running; data=1 web1=1"},
		"rm": {func(h *host) (*orchestrator.Plan, error) { return h.facts().PlanRemove([]string{"try"}) },
			"web1 shut off;web1-try running; data=1 web1=1"},
		"keep": {(*host).planKeep, "web1 running;web1-try running; data=1 web1=1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.run(h.planTry())
			g, err := h.guests.Guest(t.Context(), "web1-try")
			if err == nil {
				err = g.Destroy(t.Context())
			}
			if err == nil {
				err = g.Undefine(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			h.define("web1-try", "")
			h.start("web1-try")
			h.run(c.plan(h))
			h.want("afterwards", c.want)
		})
	}
}

// The guest that a step is about to power off is looked at then.
func TestStepsStopOnlyOurs(t *testing.T) {
	h := newHost(t)
	before := h.picture()
	for _, step := range []orchestrator.Step{
		&orchestrator.StopGuest{Guest: "web1", Set: "try", Hard: true},
		&orchestrator.StopGuest{Guest: "web1", Set: "try"},
		&orchestrator.UndefineGuest{Guest: "web1", Set: "try"},
	} {
		if err := step.Do(t.Context(), h.World); err != nil {
			t.Errorf("%s: %v", step, err)
		}
	}
	for _, step := range []orchestrator.Step{
		&orchestrator.StartGuest{Guest: "web1", Set: "try"},
		&orchestrator.DefineGuest{Guest: "x", As: "web1", UUID: "00000000-0000-0000-0000-00000000ffff", Set: "try"},
	} {
		if err := step.Undo(t.Context(), h.World); err != nil {
			t.Errorf("%s: %v", step, err)
		}
	}
	h.want("nothing was touched", before)
}

// A guest that somebody paused, or its hypervisor after an I/O error, is cut as
// it stands and stays paused.
func TestSnapshotOfPausedGuest(t *testing.T) {
	for _, mode := range []orchestrator.Mode{orchestrator.ModePause, orchestrator.ModeLive} {
		h := newHost(t)
		h.setState("web1", hypervisor.Paused)
		h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "x", Mode: mode, CutOptions: h.cut()}))
		h.want(string(mode), "web1 paused; set x snapshot paused 2; data=1 data.x=1 web1=1 web1.x=1")
	}
}

// A volume that only bears the name of a snapshot is left alone, and is no
// reason not to undo or end a set.
func TestVolumeOfThatNameIsNotOurs(t *testing.T) {
	h := newHost(t)
	spec := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: "web1.try", Size: lvm.Size{Bytes: 4 << 20}}}
	if _, err := h.volumes.Create(t.Context(), "vg", spec, true); err != nil {
		t.Fatal(err)
	}
	h.write("vg/web1.try", 7)
	before := h.picture()
	set := orchestrator.Set{Name: "try", Guest: "web1", Members: []orchestrator.Member{
		{Disk: "vda", Origin: lvm.Ref{VG: "vg", LV: "web1"}, Snapshot: lvm.Ref{VG: "vg", LV: "web1.try"}}}}
	cut := &orchestrator.CutSet{Sets: []orchestrator.Set{set}, Size: lvm.Size{Bytes: 1 << 20}, Chunk: 8}
	if err := cut.Do(t.Context(), h.World); !errors.Is(err, lvm.ErrExists) {
		t.Errorf("cut: %v", err)
	}
	if err := cut.Undo(t.Context(), h.World); err != nil {
		t.Errorf("undo: %v", err)
	}
	if err := (&orchestrator.RemoveSet{Set: set}).Do(t.Context(), h.World); err != nil {
		t.Errorf("remove: %v", err)
	}
	h.want("it is there", before)
}
