package lvm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"cowhand/dmcore"

	"github.com/google/go-cmp/cmp"
)

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
