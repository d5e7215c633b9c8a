package orchestrator_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/lvm"
	"cowhand/orchestrator"
)

var update = flag.Bool("update", false, "rewrite testdata")

// The plans people see, as they see them; and a plan read back from its journal
// prints the same.
func TestPlansAsShown(t *testing.T) {
	h := newHost(t)
	show := func(name string, p *orchestrator.Plan, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again := new(orchestrator.Plan)
		if err := json.Unmarshal(b, again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p.String(), again.String()); diff != "" {
			t.Errorf("%s, from the journal (-want +got):\n%s", name, diff)
		}
		file := filepath.Join("testdata", name+".plan")
		if *update {
			if err := os.WriteFile(file, []byte(p.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), p.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	cut := h.cut()
	cut.Size = lvm.Size{Percent: 20, Of: lvm.OfOrigin}
	p, err := h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "before", Mode: orchestrator.ModeShutdown, CutOptions: cut})
	show("snapshot", p, err)
	p, err = h.planTry()
	show("try", p, err)
	h.run(p, err)
	p, err = h.facts().PlanKeep(orchestrator.EndRequest{Target: "web1"})
	show("keep", p, err)
	p, err = h.facts().PlanDiscard(orchestrator.EndRequest{Target: "web1"})
	show("discard", p, err)
	h.run(p, err)
	g, err := h.guests.Guest(t.Context(), "web1")
	if err == nil {
		err = g.Destroy(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err = h.facts().PlanClone(orchestrator.CloneRequest{Guest: "web1", Names: []string{"c01", "c02"}, CutOptions: cut}, h.World)
	show("clone", p, err)
}

func TestSetsAreInTags(t *testing.T) {
	h := newHost(t)
	h.define("odd náme %", nbdDisk("vda", "vg/data"))
	h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "odd náme %", Set: "s1", CutOptions: h.cut()}))
	f := h.facts()
	s := f.Set("s1")
	if s == nil || s.Guest != "odd náme %" || s.Grade != orchestrator.GradeClean || !s.Time.Equal(h.World.Now()) {
		t.Fatalf("set is %+v", s)
	}
	if diff := cmp.Diff([]orchestrator.Member{{Disk: "vda", Origin: lvm.Ref{VG: "vg", LV: "data"}, Snapshot: lvm.Ref{VG: "vg", LV: "data.s1"}}}, s.Members); diff != "" {
		t.Error(diff)
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"try": true, "a.b-c_1": true, "": false, "-a": false, ".a": false, "a/b": false, "a b": false, "a:b": false,
		"0123456789012345678901234567890123456789": true, "01234567890123456789012345678901234567890": false} {
		if err := orchestrator.CheckSetName(name); (err == nil) != ok {
			t.Errorf("set name %q: %v", name, err)
		}
	}
	names, err := orchestrator.CloneNames("web%02d", 3)
	if diff := cmp.Diff([]string{"web01", "web02", "web03"}, names); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, pattern := range []string{"web", "web%s", "%d%d", "%", ""} {
		if names, err := orchestrator.CloneNames(pattern, 2); err == nil {
			t.Errorf("pattern %q gives %v", pattern, names)
		}
	}
}
