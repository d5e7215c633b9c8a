package lvm

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"cowhand/dmcore"

	"github.com/google/go-cmp/cmp"
)

// world is a group and the devices that are mapped of it.
type world struct {
	t  testing.TB
	vg *VG
	dm *fakeDM
}

// plan plans the way from what is mapped of the volumes' units to vg's idea of
// them. Units that have no device are left alone unless activate is set.
func (w *world) plan(to *VG, noMerging, activate bool, lvs ...string) (Plan, error) {
	var uuids []dmcore.UUID
	var want []Activation
	seen := map[dmcore.UUID]bool{}
	o := pvDevice(to)
	o.NoMerging = noMerging
	for _, name := range lvs {
		for _, vg := range []*VG{w.vg, to} {
			uuids = append(uuids, unitUUIDs(vg, name)...)
		}
		unit, err := to.Unit(name)
		if err != nil || seen[to.uuid(unit[0], "")] {
			continue
		}
		if w.dm.devs[to.uuid(unit[0], "")] == nil && !activate {
			continue
		}
		list, err := to.Activations(name, o)
		if err != nil {
			return Plan{}, err
		}
		seen[to.uuid(unit[0], "")] = true
		want = append(want, list...)
	}
	return PlanDevices(w.dm.have(uuids...), want)
}

// unitUUIDs lists every device the volume's unit can have.
func unitUUIDs(vg *VG, name string) []dmcore.UUID {
	var uuids []dmcore.UUID
	unit, _ := vg.Unit(name)
	for _, lv := range unit {
		for _, layer := range []string{layerReal, layerCOW, ""} {
			uuids = append(uuids, vg.uuid(lv, layer))
		}
	}
	return uuids
}

// run executes the plan around the commit of to; it dies before step number die
// (counted from 0; -1: never). It checks after each step that no snapshot is
// forgotten and none remembered.
func (w *world) run(p Plan, to *VG, die int) (died bool) {
	w.t.Helper()
	for i, phase := range [][]Step{p.Prepare, p.Suspend, p.Resume, p.Cleanup} {
		if i == 2 {
			w.vg = to
			if err := w.dm.unfed(w.vg); err != nil {
				w.t.Fatalf("after the commit: %v\nplan:\n%sdevices:\n%s", err, p, w.dm)
			}
		}
		for _, s := range phase {
			if die == 0 {
				return true
			}
			die--
			if err := w.dm.do(s); err != nil {
				w.t.Fatalf("%v\nplan:\n%sdevices:\n%s", err, p, w.dm)
			}
			if err := w.dm.unfed(w.vg); err != nil {
				w.t.Fatalf("after %s: %v\nplan:\n%sdevices:\n%s", s, err, p, w.dm)
			}
		}
	}
	return false
}

func newWorld(t testing.TB, vg *VG) *world { return &world{t, vg, newFakeDM()} }

func (w *world) activate(lvs ...string) Plan {
	w.t.Helper()
	p, err := w.plan(w.vg, false, true, lvs...)
	must(w.t, err)
	w.run(p, w.vg, -1)
	return p
}

// compare checks a plan against testdata/plan/NAME.txt, or writes that file if
// COWHAND_UPDATE is set.
func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "plan", name+".txt")
	if os.Getenv("COWHAND_UPDATE") != "" {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (COWHAND_UPDATE=1 rewrites it):\n%s", path, diff)
	}
}

// repair brings all devices of the group to the committed metadata: what has a
// device of its own stays active, what is not in the metadata goes.
func (w *world) repair(vg *VG) {
	w.t.Helper()
	var all []dmcore.UUID
	for u := range w.dm.devs {
		all = append(all, u)
	}
	slices.Sort(all)
	var want []Activation
	for _, lv := range vg.ShownLVs() {
		if unit, err := vg.Unit(lv.Name); err == nil && unit[0] == lv && w.dm.devs[vg.uuid(lv, "")] != nil {
			list, err := vg.Activations(lv.Name, pvDevice(vg))
			must(w.t, err)
			want = append(want, list...)
		}
	}
	p, err := PlanDevices(w.dm.have(all...), want)
	must(w.t, err)
	w.run(p, vg, -1)
}

func (w *world) scenario(after *VG, lvs []string, up, down bool) Plan {
	w.t.Helper()
	if down {
		p, err := PlanDevices(w.dm.have(unitUUIDs(w.vg, lvs[0])...), nil)
		must(w.t, err)
		return p
	}
	p, err := w.plan(after, false, up, lvs...)
	must(w.t, err)
	return p
}

// settled checks that the devices are those a fresh activation makes, and that
// nothing is left to do.
func (w *world) settled(vg *VG, down bool) {
	w.t.Helper()
	fresh := newWorld(w.t, vg)
	for _, lv := range vg.ShownLVs() {
		if w.dm.devs[vg.uuid(lv, "")] != nil {
			fresh.activate(lv.Name)
		}
	}
	if want, got := fresh.dm.String(), w.dm.String(); want != got {
		w.t.Fatalf("devices differ from those of a fresh activation:\n%s", cmp.Diff(want, got))
	}
	if down && w.dm.devs[vg.uuid(vg.LV("root"), "")] != nil {
		w.t.Fatal("root is still there")
	}
}
