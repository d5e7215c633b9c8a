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
		for _, k := range vg.links().all {
			if k.seg.Merging {
				all = append(all, vg.merge(k, states))
			}
		}
	}
	return all, nil
}

func (vg *VG) merge(k link, states map[string]State) Merge {
	m := Merge{Snapshot: Ref{vg.Name, k.seg.COW}, Origin: Ref{vg.Name, k.seg.Origin}}
	origin := states[k.seg.Origin]
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
