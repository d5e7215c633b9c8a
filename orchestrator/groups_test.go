package orchestrator_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cowhand/dmcore/blockdev"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// newHostOfTwo is newHost with web1's vdb in a group of its own.
func newHostOfTwo(t *testing.T) *host {
	t.Helper()
	h := newHost(t)
	second := blockdev.NewMem(64 << 20)
	first := h.volumes.Store.Open
	h.addDisk("/second", func(path string, write bool) (blockdev.Device, error) {
		if path == "/second" {
			return kept{second}, nil
		}
		return first(path, write)
	})
	ctx := t.Context()
	if _, err := h.volumes.CreatePV(ctx, "/second", lvm.PVOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.volumes.CreateVG(ctx, lvm.VGSpec{Name: "vh", PVs: []string{"/second"}, ExtentSize: 2048}); err != nil {
		t.Fatal(err)
	}
	spec := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: "data", Size: lvm.Size{Bytes: 4 << 20}}}
	if _, err := h.volumes.Create(ctx, "vh", spec, true); err != nil {
		t.Fatal(err)
	}
	h.redefine("web1", nbdDisk("vda", "vg/web1")+nbdDisk("vdb", "vh/data"))
	h.write("vh/data", 1)
	return h
}

// A set that was cut in one group and not in the other, because the process
// died between their commits, is cut anew behind the point of no return.
func TestTornCutIsMended(t *testing.T) {
	h := newHostOfTwo(t)
	h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "x", CutOptions: h.cut()}))
	h.write("vg/web1", 2)
	h.write("vh/data", 2)
	p := h.mustPlan(h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", KeepSnapshot: true, CutOptions: h.cut()}))
	commits := 0
	h.effect = func(what string) {
		if what == "vh: commit" { // of the merge, its end, the cut
			if commits++; commits == 3 {
				panic(died{})
			}
		}
	}
	func() {
		defer func() {
			if r := recover(); r != (died{}) {
				t.Fatal(r)
			}
		}()
		t.Error(h.Run(t.Context(), p))
	}()
	h.effect = func(string) {}
	h.reconcile()
	if out := h.recovered(); out.Result != "finished" || out.Err != nil {
		t.Fatalf("outcome %+v", out)
	}
	s := h.facts().Set("x")
	if s == nil || len(s.Members) != 2 || h.read("vg/web1") != 1 || h.read("vh/data") != 1 {
		t.Errorf("set %+v", s)
	}
}

// A set of which not all is seen is not merged: the guest would have disks of
// two times.
func TestIncompleteSet(t *testing.T) {
	h := newHostOfTwo(t)
	h.run(h.planTry())
	h.write("vg/web1.try", 2)
	h.write("vh/data.try", 2)
	devices := h.volumes.Store.Devices
	h.volumes.Store.Devices = devices[:1]
	if _, err := h.planKeep(); !errors.Is(err, orchestrator.ErrIncomplete) {
		t.Errorf("keep with a group out of sight: %v", err)
	}
	h.volumes.Store.Devices = devices
	h.run(h.planKeep())
	if h.read("vg/web1") != 2 || h.read("vh/data") != 2 {
		t.Error("not kept")
	}

	h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "x", CutOptions: h.cut()}))
	rollback := func(disks ...string) (*orchestrator.Plan, error) {
		r := orchestrator.RollbackRequest{Guest: "web1", CutOptions: h.cut()}
		r.Disks = disks
		return h.facts().PlanRollback(r)
	}
	saved := filepath.Join(h.World.Files.Dir, "sets", "x", "web1.xml")
	h.run(rollback("vda"))
	if _, err := os.Stat(saved); err != nil {
		t.Errorf("the definition saved with what is left: %v", err)
	}
	if _, err := rollback(); !errors.Is(err, orchestrator.ErrIncomplete) || !strings.Contains(err.Error(), "--disk") {
		t.Errorf("the rest of a set, not named: %v", err)
	}
	h.run(rollback("vdb"))
	if _, err := os.Stat(saved); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the definition saved with nothing: %v", err)
	}
	if s := h.facts().Set("x"); s != nil {
		t.Errorf("left: %+v", s)
	}
}

// Sets of one name that belong to two guests, as of groups that came from
// elsewhere, are two.
func TestSetsOfOneName(t *testing.T) {
	h := newHostOfTwo(t)
	h.define("other", nbdDisk("vda", "vh/data"))
	h.redefine("web1", nbdDisk("vda", "vg/web1"))
	snapshot := func(guest, set string) {
		h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: guest, Set: set, CutOptions: h.cut()}))
	}
	snapshot("web1", "x")
	snapshot("other", "y")
	ref := lvm.Ref{VG: "vh", LV: "data.y"}
	if err := h.volumes.Tag(t.Context(), ref, []string{"cowhand.set=x"}, []string{"cowhand.set=y"}); err != nil {
		t.Fatal(err)
	}
	for guest, want := range map[string]string{"web1": "vg/web1.x", "other": "vh/data.y"} {
		sets := h.facts().Of(guest, "")
		if len(sets) != 1 || len(sets[0].Members) != 1 || sets[0].Members[0].Snapshot.String() != want {
			t.Errorf("%s has %+v", guest, sets)
		}
	}
	if _, err := h.facts().PlanRemove([]string{"x"}); !errors.Is(err, orchestrator.ErrConflict) {
		t.Errorf("rm: %v", err)
	}
}

// A cut whose process died after its commit, and whose devices the engine could
// only let go on as they had been, is finished by recovery: from then on the
// snapshots get what is overwritten.
func TestCutWithoutDevices(t *testing.T) {
	h := newHost(t)
	h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "x", CutOptions: h.cut()}))
	h.write("vg/web1", 2)
	p := h.mustPlan(h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", KeepSnapshot: true, CutOptions: h.cut()}))
	commits := 0
	h.effect = func(what string) {
		if what == "vg: commit" { // of the merge, two ends, the cut
			commits++
		}
		if commits == 4 && strings.HasPrefix(what, "dm: resume") {
			panic(died{})
		}
	}
	func() {
		defer func() {
			if r := recover(); r != (died{}) {
				t.Fatal(r)
			}
		}()
		t.Error(h.Run(t.Context(), p))
	}()
	h.effect = func(string) {}
	infos, err := h.volumes.DM.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range infos {
		if i.Suspended && i.Live {
			err := h.volumes.DM.Clear(t.Context(), i.UUID)
			if err == nil {
				_, err = h.volumes.DM.Resume(t.Context(), i.UUID)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if out := h.recovered(); out.Result != "finished" || out.Err != nil {
		t.Fatalf("outcome %+v", out)
	}
	h.write("vg/web1", 9)
	h.want("recovered", "web1 running; set x snapshot clean 2; data=1 data.x=1 web1=9 web1.x=1")
}
