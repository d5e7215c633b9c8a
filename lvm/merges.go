package lvm

import (
	"context"
	"fmt"

	"cowhand/dmcore"
)

// MergePhase is where a recorded merge stands.
type MergePhase int

const (
	MergeWaits    MergePhase = iota // until origin and snapshot are closed and activated anew
	MergeCopies                     // the device mapper is at it
	MergeComplete                   // nothing is left to copy; the snapshot is to be dropped
	MergeStopped                    // I/O failed: activating the origin again goes on with it
)

func (p MergePhase) String() string {
	switch p {
	case MergeWaits:
		return "waits"
	case MergeCopies:
		return "merging"
	case MergeComplete:
		return "complete"
	case MergeStopped:
		return "failed"
	}
	return fmt.Sprintf("MergePhase(%d)", int(p))
}

// Merge is a merge that the metadata records.
type Merge struct {
	Snapshot, Origin Ref
	Phase            MergePhase
	Left             dmcore.Sectors // still to be copied; 0 if that is not known
	OriginActive     bool
	// Open are, if it waits, those of origin and snapshot that somebody has open.
	Open map[Ref]State
}

// Merges lists all merges that are recorded, by group, in the order of their
// snapshots.
func (e *Engine) Merges(ctx context.Context) ([]Merge, error) {
	groups, err := e.Groups(ctx)
	if err != nil {
		return nil, err
	}
	var all []Merge
	for _, vg := range groups {
		states, err := e.States(ctx, vg)
		if err != nil {
			return nil, err
		}
		links := vg.links()
		for _, k := range links.all {
			if k.seg.Merging {
				all = append(all, vg.merge(Ref{vg.Name, k.seg.COW}, Ref{vg.Name, k.seg.Origin}, states))
			}
		}
		for _, lv := range vg.LVs { // a thin one that is not waiting is done
			if s := links.thin.merge[lv.Name]; s != nil {
				all = append(all, vg.merge(Ref{vg.Name, s.Name}, Ref{vg.Name, lv.Name}, states))
			}
		}
	}
	return all, nil
}

func (vg *VG) merge(snap, of Ref, states map[string]State) Merge {
	m := Merge{Snapshot: snap, Origin: of}
	origin := states[of.LV]
	m.OriginActive = origin.Active
	switch {
	case !origin.Copying:
		m.Open = map[Ref]State{}
		for _, r := range []Ref{m.Origin, m.Snapshot} {
			if st := states[r.LV]; st.Open() {
				m.Open[r] = st
			}
		}
	case origin.Snapshot.State != dmcore.SnapshotOK:
		m.Phase = MergeStopped
	case origin.Snapshot.Merged():
		m.Phase = MergeComplete
	default:
		m.Phase, m.Left = MergeCopies, origin.Snapshot.Allocated-origin.Snapshot.Metadata
	}
	return m
}
