package lvm

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// sameVG compares what two groups say, not the texts they came from.
func sameVG(a, b *VG) string {
	return cmp.Diff(a, b, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(VG{}, PV{}, LV{}, Segment{}),
		cmpopts.SortSlices(func(a, b *LV) bool { return a.Name < b.Name }))
}

// TestModel does random changes to a group some of whose volumes are mapped,
// now and then dying on the way. After each, the group is valid and prints as
// it is, no extent is used twice or lost, what is refused changes nothing, and
// the devices are those of a fresh activation. rapid prints the seed of what
// fails; COWHAND_SEED sets it.
func TestModel(t *testing.T) {
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		must(t, flag.Set("rapid.seed", s))
	}
	rapid.Check(t, func(r *rapid.T) {
		vg := testVG(t, 30, 20, 10)
		w := newWorld(t, vg)
		ids := newCounter(1<<32 + rapid.Uint64Range(0, 1<<20).Draw(r, "ids")) // the group has its own
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			before := string(text(t, w.vg))
			to := w.vg.Clone()
			m := &model{r, to, ids, nil}
			op, err := m.change()
			if err != nil {
				if after := string(text(t, to)); before != after {
					r.Fatalf("%s was refused (%v), but changed:\n%s", op, err, cmp.Diff(before, after))
				}
				continue
			}
			if after := string(text(t, w.vg)); before != after {
				r.Fatalf("%s changed what was cloned:\n%s", op, cmp.Diff(before, after))
			}
			if err := to.Validate(); err != nil {
				r.Fatalf("%s: %v", op, err)
			}
			again := reread(t, to)
			if diff := sameVG(to, again); diff != "" {
				r.Fatalf("%s: reads as another:\n%s", op, diff)
			}
			if used := count(to.UsedRuns()); used+to.FreeExtents() != to.TotalExtents() {
				r.Fatalf("%s: %d used, %d free, %d in all", op, used, to.FreeExtents(), to.TotalExtents())
			}
			m.carryOut(w, op, again)
		}
	})
}

type model struct {
	*rapid.T
	vg  *VG
	ids counter
	lvs []string // that the change concerns
}

func (m *model) pick() string {
	names := []string{"none"}
	for _, lv := range m.vg.LVs {
		names = append(names, lv.Name)
	}
	return rapid.SampledFrom(names).Draw(m.T, "volume")
}

func (m *model) stamp() Stamp { return Stamp{Time: testTime, Host: "h", Rand: m.ids} }

func (m *model) size() Size { return Size{Count: Extents(rapid.IntRange(1, 12).Draw(m.T, "extents"))} }

// change does one random change to the group.
func (m *model) change() (op string, err error) {
	lv := m.pick()
	m.lvs = []string{lv}
	if o := m.vg.Origin(lv); o != nil {
		m.lvs = append(m.lvs, o.Name)
	}
	switch op = rapid.SampledFrom([]string{"create", "stripe", "snapshot", "snapshot", "snapshots", "remove", "remove all",
		"merge", "finish", "rename", "extend", "tag", "permission", "nothing"}).Draw(m.T, "op"); op {
	case "create":
		_, err = m.vg.AddLinear(LinearSpec{Size: m.size(), Stamp: m.stamp()})
	case "stripe":
		_, err = m.vg.AddStriped(StripedSpec{LinearSpec{Size: m.size(), Stamp: m.stamp()}, 2, 0})
	case "snapshot":
		_, err = m.vg.AddSnapshots([]SnapshotSpec{{Origin: lv, Size: m.size(), Stamp: m.stamp(), ReadOnly: rapid.Bool().Draw(m.T, "read-only")}})
	case "snapshots":
		other := m.pick()
		m.lvs = append(m.lvs, other)
		_, err = m.vg.AddSnapshots([]SnapshotSpec{{Origin: lv, Size: m.size(), Stamp: m.stamp()}, {Origin: other, Size: m.size(), Stamp: m.stamp()}})
	case "remove":
		err = m.vg.Remove(lv)
	case "remove all":
		for _, s := range m.vg.Snapshots(lv) {
			m.lvs = append(m.lvs, s.Name)
		}
		if m.vg.Origin(lv) == nil {
			err = m.vg.Remove(m.lvs...)
		}
	case "merge":
		err = m.vg.StartMerge(lv)
	case "finish":
		err = m.vg.FinishMerge(lv)
	case "rename":
		to := fmt.Sprintf("n%d", rapid.IntRange(0, 5).Draw(m.T, "n"))
		if err = m.vg.Rename(lv, to); err == nil {
			m.lvs = append(m.lvs, to)
		}
	case "extend":
		_, err = m.vg.ExtendLV(lv, m.size().Count+5)
	case "tag":
		err = m.vg.AddTags(lv, fmt.Sprintf("t%d", rapid.IntRange(0, 3).Draw(m.T, "n")))
	case "permission":
		err = m.vg.SetPermission(lv, rapid.Bool().Draw(m.T, "write"))
	}
	return op + " " + lv, err
}

// carryOut brings the devices of what changed, and of a random volume, to the
// new metadata, dying now and then.
func (m *model) carryOut(w *world, op string, to *VG) {
	activate := rapid.Bool().Draw(m.T, "activate")
	p, err := w.plan(to, false, activate, m.lvs...)
	if err != nil {
		m.Fatalf("%s: %v", op, err)
	}
	die := -1
	if rapid.IntRange(0, 3).Draw(m.T, "dies") == 0 {
		die = rapid.IntRange(0, 20).Draw(m.T, "die")
	}
	if w.run(p, to, die) {
		w.repair(w.vg) // the old metadata or the new, as far as it came
	}
	w.settled(w.vg, false)
	for u, d := range w.dm.devs {
		if d.info.Suspended || d.inactive != nil {
			m.Fatalf("%s: device %s was left suspended, or with a table to come", op, u)
		}
	}
}
