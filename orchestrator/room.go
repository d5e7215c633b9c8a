package orchestrator

import (
	"fmt"
	"slices"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// usualChange is the part of a volume for which a snapshot should have room if
// nothing better is known: administrators' guides say a tenth.
const usualChange = 10

// roomNotes warns of thick snapshots with less room than changes are expected to
// need: those that another snapshot of the origin has taken up already, or the
// usual part of it.
func (f *Facts) roomNotes(cut *CutSet) (notes []string) {
	for i := range cut.Sets {
		for _, m := range cut.Sets[i].Members {
			vg := f.group(m.Origin.VG)
			if m.Thin || vg == nil || vg.LV(m.Origin.LV) == nil {
				continue
			}
			n, _, err := vg.SnapshotExtents(cut.request(&cut.Sets[i], m).Spec())
			if err != nil { // it blocks the plan
				continue
			}
			note := f.roomNote(vg, m.Origin, vg.Sectors(n))
			if note != "" && !slices.Contains(notes, note) {
				notes = append(notes, note)
			}
		}
	}
	return notes
}

func (f *Facts) roomNote(vg *lvm.VG, origin lvm.Ref, room dmcore.Sectors) string {
	var most dmcore.Sectors
	var of lvm.Ref
	for _, lv := range vg.Snapshots(origin.LV) {
		ref := lvm.Ref{VG: vg.Name, LV: lv.Name}
		if st := f.States[ref].Snapshot; st != nil && st.Allocated > most {
			most, of = st.Allocated, ref
		}
	}
	size := vg.Size(vg.LV(origin.LV))
	switch {
	case most > room:
		return fmt.Sprintf("the snapshot of %s has room for %s of changes; %s took up %s already: one that is full is lost, choose a larger --size",
			origin, lvm.HumanSize(room), of, lvm.HumanSize(most))
	case room*usualChange < size:
		return fmt.Sprintf("the snapshot of %s has room for %s of changes, less than a tenth of %s: one that is full is lost, choose a larger --size or run 'cowhand monitor'",
			origin, lvm.HumanSize(room), lvm.HumanSize(size))
	}
	return ""
}
