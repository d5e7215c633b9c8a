package orchestrator_test

import (
	"errors"
	"testing"

	"cowhand/hypervisor"
	"cowhand/orchestrator"
)

// What is merged into an origin is copied out into its other snapshots first.
// Those that might be full before the end block it: a clone would be lost.
func TestMergeThatMayFillOthers(t *testing.T) {
	h := newHost(t)
	h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "x", CutOptions: h.cut()}))
	d := h.open("vg/web1")
	if _, err := d.WriteAt(make([]byte, 600<<10), 1<<20); err != nil {
		t.Fatal(err)
	}
	d.Close()
	h.setState("web1", hypervisor.ShutOff)
	clone := func(name string) {
		h.run(h.facts().PlanClone(orchestrator.CloneRequest{Guest: "web1", Names: []string{name}, CutOptions: h.cut()}, h.World))
	}
	rollback := func() (*orchestrator.Plan, error) {
		return h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", Set: "x", CutOptions: h.cut()})
	}
	clone("c01")
	if _, err := rollback(); err != nil {
		t.Errorf("there is room for all: %v", err)
	}
	d = h.open("vg/web1.c01")
	if _, err := d.WriteAt(make([]byte, 600<<10), 2<<20); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := rollback(); !errors.Is(err, orchestrator.ErrConflict) {
		t.Errorf("there is not: %v", err)
	}
	h.run(h.facts().PlanRemove([]string{"c01"}))
	h.run(rollback())
}
