package lvm

import "fmt"

// StartMerge records that a snapshot is to be merged into its origin, as lvm2
// does: from now on the origin's next activation merges. The states are
//
//	snapshot ──StartMerge──▶ merging (deferred until the origin is activated, then copied by the kernel)
//	                            └──FinishMerge──▶ gone, the origin holds its contents
func (vg *VG) StartMerge(snap string) error {
	if err := vg.canMerge(snap); err != nil {
		return vg.fail(snap, "merge", err)
	}
	k := vg.links().byCOW[snap]
	k.seg.Merging = true
	k.helper.setStatus(statusVisible, false)
	return nil
}

// CanMerge reports why a snapshot, thick or thin, cannot be merged into its
// origin.
func (vg *VG) CanMerge(snap string) error {
	if !vg.Thin(snap) {
		return vg.fail(snap, "merge", vg.canMerge(snap))
	}
	origin, err := vg.canMergeThin(snap)
	if err == nil && vg.LV(snap).Thin().Merge != "" {
		err = fmt.Errorf("into %s: %w", origin.Name, ErrMerging)
	}
	return vg.fail(snap, "merge", err)
}

// canMerge: tools/lvconvert.c, _lvconvert_merge_old_snapshot.
func (vg *VG) canMerge(snap string) error {
	lv := vg.LV(snap)
	links := vg.links()
	k, ok := links.byCOW[snap]
	switch {
	case lv == nil:
		return ErrNotFound
	case !ok:
		return fmt.Errorf("it is no snapshot: %w", ErrInvalid)
	case k.seg.Merging:
		return fmt.Errorf("into %s: %w", k.seg.Origin, ErrMerging)
	}
	if other, ok := links.merging(k.seg.Origin); ok {
		return fmt.Errorf("snapshot %s into %s: %w", other.seg.COW, k.seg.Origin, ErrMerging)
	}
	origin := vg.LV(k.seg.Origin)
	if origin == nil {
		return fmt.Errorf("its origin %s: %w", k.seg.Origin, ErrNotFound)
	}
	if !origin.Writable() {
		return fmt.Errorf("into the read-only origin %s: %w", origin.Name, ErrInvalid)
	}
	if err := vg.canChange(origin); err != nil {
		return fmt.Errorf("its origin %s: %w", origin.Name, err)
	}
	return vg.canChange(lv)
}

// FinishMerge removes a snapshot whose merge is complete; that it is, is for the
// caller to know.
func (vg *VG) FinishMerge(snap string) error {
	k, ok := vg.links().byCOW[snap]
	if !ok || vg.LV(snap) == nil {
		return vg.fail(snap, "finish merge", ErrNotFound)
	}
	if !k.seg.Merging {
		return vg.fail(snap, "finish merge", fmt.Errorf("it is not being merged: %w", ErrInvalid))
	}
	vg.drop(map[string]bool{snap: true, k.helper.Name: true})
	return nil
}
