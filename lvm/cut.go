package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cowhand/dmcore"
)

// SnapshotRequest asks for one snapshot of a set.
type SnapshotRequest struct {
	Origin   Ref
	Name     string
	Size     Size           // of a thick one
	Chunk    dmcore.Sectors // 0: DefaultChunk
	ReadOnly bool
	Tags     []string
	PVs      []string // where to allocate, by name (pv0); none: anywhere
	// Thin takes the snapshot in the origin's thin pool: it has no size, store or
	// place of its own.
	Thin bool
	// Activate says of a thin one that it is to be active, now and whenever its
	// group is; otherwise it is activated only when that is insisted on, as
	// lvm2's are. A thick one is active with its origin.
	Activate bool
	Traits
}

// Spec is the request as its group takes it.
func (r SnapshotRequest) Spec() SnapshotSpec {
	return SnapshotSpec{Origin: r.Origin.LV, Name: r.Name, Size: r.Size, Chunk: r.Chunk, ReadOnly: r.ReadOnly, Tags: r.Tags, PVs: r.PVs, Traits: r.Traits}
}

// Snapshot takes all the snapshots at one instant, or none of them: thick ones
// with one commit in each group, thin ones with one more before it. Volumes that
// this host may not activate ([ErrExcluded]) get no thick one, as with lvm2.
func (e *Engine) Snapshot(ctx context.Context, reqs []SnapshotRequest) (err error) {
	groups := groupsOf(origins(reqs))
	unlock, err := e.Locks.VGs(ctx, true, groups...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if slices.ContainsFunc(reqs, func(r SnapshotRequest) bool { return r.Thin }) {
		return e.snapshotThin(ctx, groups, reqs)
	}
	before, err := e.loaded(ctx, groups)
	if err != nil {
		return err
	}
	var made []Ref
	err = e.changeLocked(ctx, groups, before, func(groups map[string]*VG) (ed edit, err error) {
		ed, made, err = e.addThick(groups, reqs)
		return ed, err
	})
	return e.torn(ctx, made, err)
}

// addThick adds the thick ones of the snapshots, and tells which.
func (e *Engine) addThick(groups map[string]*VG, reqs []SnapshotRequest) (ed edit, made []Ref, err error) {
	specs := map[string][]SnapshotSpec{}
	for _, r := range reqs {
		if !r.Thin {
			s := r.Spec()
			s.Stamp = e.stamp()
			specs[r.Origin.VG] = append(specs[r.Origin.VG], s)
			ed.units = append(ed.units, touch{Ref: r.Origin, noMerging: true})
		}
	}
	for name, vg := range groups {
		cows, err := vg.AddSnapshots(specs[name])
		if err != nil {
			return ed, nil, err
		}
		for i, cow := range cows {
			if err := vg.allowed(vg.Origin(cow.Name)); err != nil {
				return ed, nil, err
			}
			made = append(made, Ref{name, cow.Name})
			ed.fresh = append(ed.fresh, blank{Ref: Ref{name, cow.Name}, length: storeHead(orDefault(specs[name][i].Chunk))})
		}
	}
	return ed, made, nil
}

func origins(reqs []SnapshotRequest) []Ref {
	refs := make([]Ref, len(reqs))
	for i, r := range reqs {
		refs[i] = r.Origin
	}
	return refs
}

// ErrTorn is a snapshot that is recorded, but that its origin may have been
// written without. It is good for nothing but removal.
var ErrTorn = errors.New("snapshot may miss writes of its origin")

// torn tells, when the device mapper was lost or refused on the way, which snapshots were
// committed before: nobody knows since when their origins feed them.
func (e *Engine) torn(ctx context.Context, made []Ref, err error) error {
	if !errors.Is(err, dmcore.ErrUnavailable) && !errors.Is(err, errNotResumed) {
		return err
	}
	ctx, cancel := cleanup(ctx)
	defer cancel()
	for _, r := range made {
		if vg, again := e.Store.Load(ctx, r.VG); again == nil && vg.LV(r.LV) != nil {
			err = errors.Join(err, fmt.Errorf("%s: is recorded: %w: remove it", r, ErrTorn))
		}
	}
	return err
}
