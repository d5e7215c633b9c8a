package orchestrator_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cowhand/hypervisor"
	"cowhand/hypervisor/hvtest"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

func (h *host) want(what, want string) {
	h.t.Helper()
	if diff := cmp.Diff(want, h.picture()); diff != "" {
		h.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (h *host) planTry() (*orchestrator.Plan, error) {
	return h.facts().PlanTry(orchestrator.TryRequest{Guest: "web1", CutOptions: h.cut()}, h.World)
}

func TestTryDiscard(t *testing.T) {
	h := newHost(t)
	h.run(h.planTry())
	h.want("on trial", "web1 shut off;web1-try running; set try trial clean 2; data=1 data.try=1 web1=1 web1.try=1")
	h.write("vg/web1.try", 2)
	h.run(h.facts().PlanDiscard(orchestrator.EndRequest{Target: "web1"}))
	h.want("discarded", "web1 running; data=1 web1=1")
}

func TestTryKeep(t *testing.T) {
	h := newHost(t)
	h.run(h.planTry())
	h.write("vg/web1.try", 2)
	h.run(h.facts().PlanKeep(orchestrator.EndRequest{Target: "web1-try"}))
	h.want("kept", "web1 running; data=1 web1=2")
}

func TestSnapshotRollback(t *testing.T) {
	h := newHost(t)
	h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "before", CutOptions: h.cut()}))
	h.write("vg/web1", 2)
	h.want("patched", "web1 running; set before snapshot crash 2; data=1 data.before=1 web1=2 web1.before=1")
	h.run(h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", KeepSnapshot: true, CutOptions: h.cut()}))
	h.want("rolled back, snapshot kept", "web1 running; set before snapshot clean 2; data=1 data.before=1 web1=1 web1.before=1")
	h.write("vg/web1", 3)
	h.run(h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", Set: "before", CutOptions: h.cut()}))
	h.want("rolled back", "web1 running; data=1 web1=1")
}

func TestClone(t *testing.T) {
	h := newHost(t)
	g, err := h.guests.Guest(t.Context(), "web1")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := h.volumes.Group(t.Context(), "vg")
	if err != nil {
		t.Fatal(err)
	}
	names, err := orchestrator.CloneNames("c%02d", 2)
	if err != nil {
		t.Fatal(err)
	}
	h.run(h.facts().PlanClone(orchestrator.CloneRequest{Guest: "web1", Names: names, CutOptions: h.cut()}, h.World))
	after, err := h.volumes.Group(t.Context(), "vg")
	if err != nil {
		t.Fatal(err)
	}
	if after.Seqno != before.Seqno+1 {
		t.Errorf("cloning took %d commits, want 1", after.Seqno-before.Seqno)
	}
	h.write("vg/web1.c01", 2)
	h.write("vg/web1.c02", 3)
	h.want("cloned", "web1 shut off;c01 running;c02 running; set c01 clone clean 2; set c02 clone clean 2; "+
		"data=1 data.c01=1 data.c02=1 web1=1 web1.c01=2 web1.c02=3")
	h.run(h.facts().PlanRemove([]string{"c01", "c02"}))
	h.want("removed", "web1 shut off; data=1 web1=1")
}

func TestBlockers(t *testing.T) {
	h := newHost(t)
	h.define("odd", nbdDisk("vda", "vg/none")+`    <disk type='file' device='disk'><source file='/srv/x.img'/><target dev='vdb' bus='virtio'/></disk>
`)
	before := h.picture()
	cut := h.cut()
	huge := cut
	huge.Size = lvm.Size{Bytes: 1 << 40}
	f := h.facts()
	for _, c := range []struct {
		name string
		plan func() (*orchestrator.Plan, error)
		want []error
	}{
		{"unknown guest", func() (*orchestrator.Plan, error) {
			return f.PlanTry(orchestrator.TryRequest{Guest: "none", CutOptions: cut}, h.World)
		}, []error{hypervisor.ErrNotFound}},
		{"all reasons at once", func() (*orchestrator.Plan, error) {
			return f.PlanTry(orchestrator.TryRequest{Guest: "odd", Set: "a b", CutOptions: cut}, h.World)
		}, []error{orchestrator.ErrBadName, orchestrator.ErrNotOnLV, lvm.ErrNotFound}},
		{"running", func() (*orchestrator.Plan, error) {
			return f.PlanClone(orchestrator.CloneRequest{Guest: "web1", Names: []string{"x"}, CutOptions: cut}, h.World)
		}, []error{orchestrator.ErrRunning}},
		{"running, fail", func() (*orchestrator.Plan, error) {
			return f.PlanTry(orchestrator.TryRequest{Guest: "web1", FailRunning: true, CutOptions: cut}, h.World)
		}, []error{orchestrator.ErrRunning}},
		{"name taken", func() (*orchestrator.Plan, error) {
			return f.PlanClone(orchestrator.CloneRequest{Guest: "odd", Names: []string{"web1"}, CutOptions: cut}, h.World)
		}, []error{hypervisor.ErrExists}},
		{"no snapshot", func() (*orchestrator.Plan, error) {
			return f.PlanRollback(orchestrator.RollbackRequest{Guest: "web1", CutOptions: cut})
		}, []error{orchestrator.ErrNoSet}},
		{"no trial", func() (*orchestrator.Plan, error) { return f.PlanKeep(orchestrator.EndRequest{Target: "web1"}) },
			[]error{orchestrator.ErrNoTrial}},
		{"no set", func() (*orchestrator.Plan, error) { return f.PlanRemove([]string{"x", "y"}) }, []error{orchestrator.ErrNoSet}},
	} {
		_, err := c.plan()
		for _, want := range c.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", c.name, err, want)
			}
		}
	}
	// The group has 55 MiB left; eighty sets of 1 MiB would not fit.
	var many []string
	for i := range 80 {
		many = append(many, "m"+string(rune('a'+i%26))+string(rune('a'+i/26)))
	}
	g, err := h.guests.Guest(t.Context(), "web1")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.facts().PlanClone(orchestrator.CloneRequest{Guest: "web1", Names: many, CutOptions: cut}, h.World); !errors.Is(err, lvm.ErrNoSpace) {
		t.Errorf("full group: %v", err)
	}
	h.start("web1")
	h.run(h.planTry())
	f = h.facts()
	if _, err := f.PlanTry(orchestrator.TryRequest{Guest: "web1", Set: "try", CutOptions: cut}, h.World); !errors.Is(err, orchestrator.ErrSetExists) || !errors.Is(err, orchestrator.ErrHasTrial) {
		t.Errorf("second trial: %v", err)
	}
	h.run(f.PlanDiscard(orchestrator.EndRequest{Target: "try"}))
	h.want("nothing was changed", before)
}

// A guest that does not power off in time has the run undone.
func TestShutdownHangs(t *testing.T) {
	h := newHost(t)
	h.guests.OnShutdown = hvtest.Hang
	before := h.picture()
	p, err := h.facts().PlanTry(orchestrator.TryRequest{Guest: "web1", Timeout: time.Millisecond, CutOptions: h.cut()}, h.World)
	if err != nil {
		t.Fatal(err)
	}
	err = h.Run(t.Context(), p)
	if !errors.Is(err, hypervisor.ErrTimeout) || !errors.Is(err, orchestrator.ErrUndone) {
		t.Errorf("run: %v", err)
	}
	h.want("undone", before)
}

// Who asks to roll a guest back that has nothing but a trial is told how it becomes
// what it was.
func TestRollbackNamesTheTrial(t *testing.T) {
	h := newHost(t)
	h.run(h.planTry())
	_, err := h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", CutOptions: h.cut()})
	if !errors.Is(err, orchestrator.ErrNoSet) || !strings.Contains(err.Error(), "'cowhand discard try'") {
		t.Errorf("%v", err)
	}
}
