package lvm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
			if more, err := vg.DeviceUUIDs(name); err == nil {
				uuids = append(uuids, more...)
			}
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

func (w *world) change(to *VG, lvs ...string) Plan {
	w.t.Helper()
	must(w.t, to.Validate())
	p, err := w.plan(to, false, false, lvs...)
	must(w.t, err)
	w.run(p, to, -1)
	return p
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

// scenarios are changes of a group whose volumes are active.
var scenarios = []struct {
	name   string
	before func(t testing.TB, vg *VG) // what is active
	after  func(t testing.TB, vg *VG) // the change
	lvs    []string                   // the units it concerns
	up     bool                       // nothing is active before
	down   bool                       // nothing is wanted after
}{
	{
		name: "activate-plain", up: true, lvs: []string{"root"},
	}, {
		name: "activate-snapshots", up: true, lvs: []string{"root"},
		before: func(t testing.TB, vg *VG) {
			snap(t, vg, "root", "s1", 3)
			snap(t, vg, "root", "s2", 3)
			must(t, vg.SetPermission("s2", false))
		},
	}, {
		name: "activate-merging", up: true, lvs: []string{"root"},
		before: func(t testing.TB, vg *VG) {
			snap(t, vg, "root", "s1", 3)
			snap(t, vg, "root", "s2", 3)
			must(t, vg.StartMerge("s1"))
		},
	}, {
		name: "deactivate", down: true, lvs: []string{"root"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
	}, {
		name: "snapshot", lvs: []string{"root"},
		after: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
	}, {
		name: "snapshot-second", lvs: []string{"root"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
		after:  func(t testing.TB, vg *VG) { snap(t, vg, "root", "s2", 3) },
	}, {
		name: "snapshot-set", lvs: []string{"root", "data"},
		after: func(t testing.TB, vg *VG) {
			_, err := vg.AddSnapshots([]SnapshotSpec{
				{Origin: "root", Name: "root.s", Size: Size{Count: 3}, Stamp: testStamp(100)},
				{Origin: "data", Name: "data.s", Size: Size{Count: 3}, ReadOnly: true, Stamp: testStamp(101)},
			})
			must(t, err)
		},
	}, {
		name: "remove-last", lvs: []string{"root", "s1"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
		after:  func(t testing.TB, vg *VG) { must(t, vg.Remove("s1")) },
	}, {
		name: "remove-one-of-two", lvs: []string{"root", "s2"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3); snap(t, vg, "root", "s2", 3) },
		after:  func(t testing.TB, vg *VG) { must(t, vg.Remove("s2")) },
	}, {
		name: "remove-plain-and-snapshot", lvs: []string{"root", "s1", "data"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
		after:  func(t testing.TB, vg *VG) { must(t, vg.Remove("s1", "data")) },
	}, {
		name: "remove-plain", lvs: []string{"data"},
		after: func(t testing.TB, vg *VG) { must(t, vg.Remove("data")) },
	}, {
		name: "remove-all", lvs: []string{"root", "s1"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
		after:  func(t testing.TB, vg *VG) { must(t, vg.Remove("root", "s1")) },
	}, {
		name: "detach", lvs: []string{"root", "s2"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3); snap(t, vg, "root", "s2", 3) },
		after:  func(t testing.TB, vg *VG) { must(t, vg.Detach("s2")) },
	}, {
		name: "merge-start", lvs: []string{"root"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
		after:  func(t testing.TB, vg *VG) { must(t, vg.StartMerge("s1")) },
	}, {
		name: "merge-start-with-sibling", lvs: []string{"root"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3); snap(t, vg, "root", "s2", 3) },
		after:  func(t testing.TB, vg *VG) { must(t, vg.StartMerge("s1")) },
	}, {
		name: "merge-finish", lvs: []string{"root", "s1"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3); must(t, vg.StartMerge("s1")) },
		after:  func(t testing.TB, vg *VG) { must(t, vg.FinishMerge("s1")) },
	}, {
		name: "merge-finish-with-sibling", lvs: []string{"root", "s1"},
		before: func(t testing.TB, vg *VG) {
			snap(t, vg, "root", "s1", 3)
			snap(t, vg, "root", "s2", 3)
			must(t, vg.StartMerge("s1"))
		},
		after: func(t testing.TB, vg *VG) { must(t, vg.FinishMerge("s1")) },
	}, {
		name: "rename-origin", lvs: []string{"root", "top"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
		after:  func(t testing.TB, vg *VG) { must(t, vg.Rename("root", "top")) },
	}, {
		name: "rename-snapshot", lvs: []string{"root"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
		after:  func(t testing.TB, vg *VG) { must(t, vg.Rename("s1", "web-1")) },
	}, {
		name: "extend-plain", lvs: []string{"root"},
		after: func(t testing.TB, vg *VG) { _, err := vg.ExtendLV("root", 20); must(t, err) },
	}, {
		name: "extend-snapshot", lvs: []string{"root"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
		after:  func(t testing.TB, vg *VG) { _, err := vg.ExtendLV("s1", 5); must(t, err) },
	}, {
		name: "read-only", lvs: []string{"root"},
		after: func(t testing.TB, vg *VG) { must(t, vg.SetPermission("root", false)) },
	}, {
		name: "nothing", lvs: []string{"root"},
		before: func(t testing.TB, vg *VG) { snap(t, vg, "root", "s1", 3) },
	},
}

func baseVG(t testing.TB) *VG {
	vg := testVG(t, 100, 100)
	add(t, vg, "root", 8)
	add(t, vg, "data", 4)
	return vg
}

func TestPlans(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			vg := baseVG(t)
			if sc.before != nil {
				sc.before(t, vg)
			}
			w := newWorld(t, vg)
			if !sc.up {
				w.activate("root", "data")
			}
			after := vg.Clone()
			if sc.after != nil {
				sc.after(t, after)
			}
			must(t, after.Validate())
			p := w.scenario(after, sc.lvs, sc.up, sc.down)
			compare(t, sc.name, p.String())
			w.run(p, after, -1)
			w.settled(after, sc.down)
		})
	}
}

func (w *world) scenario(after *VG, lvs []string, up, down bool) Plan {
	w.t.Helper()
	if down {
		uuids, err := w.vg.DeviceUUIDs(lvs[0])
		must(w.t, err)
		p, err := PlanDevices(w.dm.have(uuids...), nil)
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
	if diff := cmp.Diff(fresh.dm.String(), w.dm.String()); diff != "" {
		w.t.Fatalf("devices differ from those of a fresh activation:\n%s", diff)
	}
	if down && w.dm.devs[vg.uuid(vg.LV("root"), "")] != nil {
		w.t.Fatal("root is still there")
	}
}

// Whoever executes a plan may die before any step. Then the devices are brought
// to the committed metadata, the old or the new.
func TestPlansAfterDeath(t *testing.T) {
	for _, sc := range scenarios {
		for die := 0; ; die++ {
			vg := baseVG(t)
			if sc.before != nil {
				sc.before(t, vg)
			}
			w := newWorld(t, vg)
			if !sc.up {
				w.activate("root", "data")
			}
			after := vg.Clone()
			if sc.after != nil {
				sc.after(t, after)
			}
			p := w.scenario(after, sc.lvs, sc.up, sc.down)
			died := w.run(p, after, die)
			if !died {
				break
			}
			committed := w.vg
			w.repair(committed)
			w.settled(committed, false)
		}
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

// Undo before the commit leaves what was there.
func TestUndo(t *testing.T) {
	for _, sc := range scenarios {
		vg := baseVG(t)
		if sc.before != nil {
			sc.before(t, vg)
		}
		w := newWorld(t, vg)
		if !sc.up {
			w.activate("root", "data")
		}
		after := vg.Clone()
		if sc.after != nil {
			sc.after(t, after)
		}
		was := w.dm.String()
		p := w.scenario(after, sc.lvs, sc.up, sc.down)
		if slices.ContainsFunc(p.Prepare, func(s Step) bool { return s.Do == dmcore.Remove }) {
			continue // nothing is wanted
		}
		for stop := 0; stop <= len(p.Prepare)+len(p.Suspend); stop++ {
			half := Plan{Prepare: p.Prepare, Suspend: p.Suspend}
			w.run(half, vg, stop)
			w.vg = vg
			for _, s := range p.Undo() {
				if err := w.dm.do(s); err != nil && !errors.Is(err, dmcore.ErrNotFound) {
					t.Fatalf("%s, stopped after %d: undo: %v", sc.name, stop, err)
				}
			}
			if diff := cmp.Diff(was, w.dm.String()); diff != "" {
				t.Fatalf("%s, stopped after %d:\n%s", sc.name, stop, diff)
			}
		}
	}
}

func TestPlanDeferredMerge(t *testing.T) {
	vg := baseVG(t)
	snap(t, vg, "root", "s1", 3)
	w := newWorld(t, vg)
	w.activate("root")
	after := vg.Clone()
	must(t, after.StartMerge("s1"))
	p, err := w.plan(after, true, false, "root")
	must(t, err)
	if !p.Empty() {
		t.Errorf("a merge that waits changes no device:\n%s", p)
	}
	w.run(p, after, -1)
	p, err = w.plan(after, false, false, "root")
	must(t, err)
	if !strings.Contains(p.String(), "snapshot-merge") {
		t.Errorf("the merge does not start:\n%s", p)
	}
	w.run(p, after, -1)
	// And back again, as long as nobody minds.
	p, err = w.plan(after, true, false, "root")
	must(t, err)
	w.run(p, after, -1)
}

func TestPlanRefuses(t *testing.T) {
	vg := baseVG(t)
	snap(t, vg, "root", "s1", 3)
	w := newWorld(t, vg)
	w.activate("root")
	w.dm.devs[vg.uuid(vg.LV("s1"), "")].info.OpenCount = 2
	after := vg.Clone()
	must(t, after.Remove("s1"))
	if p, err := w.plan(after, false, false, "root", "s1"); !errors.Is(err, ErrInUse) {
		t.Errorf("an open snapshot is removed: %v\n%s", err, p)
	}
	stranger := Device{Info: dmcore.Info{Name: "vg-data", UUID: "LVM-other"}}
	want, err := vg.Activations("data", pvDevice(vg))
	must(t, err)
	if _, err := PlanDevices([]Device{stranger}, want); !errors.Is(err, ErrExists) {
		t.Errorf("a stranger's device of that name: %v", err)
	}
}

func TestActivationsRefuse(t *testing.T) {
	vg := baseVG(t)
	snap(t, vg, "root", "s1", 3)
	broken := errors.New("no such disk")
	for _, tt := range []struct {
		lv   string
		o    ActivateOptions
		prep func(*VG)
		want error
	}{
		{"none", pvDevice(vg), nil, ErrNotFound},
		{"snapshot0", pvDevice(vg), nil, ErrInvalid},
		{"root", ActivateOptions{}, nil, ErrInvalid},
		{"root", ActivateOptions{PVDevice: func(ID) (dmcore.Dev, error) { return "", broken }}, nil, broken},
		{"root", pvDevice(vg), func(vg *VG) { vg.PVs[0].Flags = []string{"MISSING"} }, ErrMissingPV},
		{"s1", pvDevice(vg), func(vg *VG) { vg.LV("root").Segments[0].Type = "raid1" }, ErrUnsupported},
	} {
		c := vg.Clone()
		if tt.prep != nil {
			tt.prep(c)
		}
		if list, err := c.Activations(tt.lv, tt.o); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v and %d devices, want %v", tt.lv, err, len(list), tt.want)
		}
	}
}

// The kernel state lvm2 made of the golden text, with the merge waiting.
func TestActivationsGolden(t *testing.T) {
	vg := mustParse(t, golden(t))
	o := pvDevice(vg)
	o.NoMerging = true
	list, err := vg.Activations("s1", o)
	must(t, err)
	id := func(lv, layer string) string { return fmt.Sprintf("@%s", vg.uuid(vg.LV(lv), layer)) }
	var got strings.Builder
	for _, a := range list {
		fmt.Fprintf(&got, "%s %s\n", a.Name, a.Table)
	}
	want := "vg-root-real 0 32768 linear /dev/vdb 2048\n" +
		"vg-s1-cow 0 16384 linear /dev/vdb 34816\n" +
		"vg-s1 0 32768 snapshot " + id("root", "real") + " " + id("s1", "cow") + " P 8\n" +
		"vg-root 0 32768 snapshot-origin " + id("root", "real") + "\n"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
	if _, err := vg.Activations("t1", o); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a thin volume: %v", err)
	}
}
