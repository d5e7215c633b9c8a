package lvm

import "fmt"

// ThinMerge tells what a merge of a thin snapshot does: it takes its origin's
// place, which is deleted. others are the snapshots of the origin as it was.
type ThinMerge struct {
	Origin string
	Others []string
}

// canMergeThin: tools/lvconvert.c, _lvconvert_merge_thin_snapshot.
func (vg *VG) canMergeThin(snap string) (origin *LV, err error) {
	lv := vg.LV(snap)
	links := vg.links()
	if lv == nil {
		return nil, ErrNotFound
	}
	t := lv.Thin()
	switch {
	case t == nil || t.Origin == "":
		return nil, fmt.Errorf("it is no thin snapshot: %w", ErrInvalid)
	case links.thin.merge[snap] != nil:
		return nil, fmt.Errorf("%s waits to be merged into it: %w", links.thin.merge[snap].Name, ErrMerging)
	}
	origin = vg.LV(t.Origin)
	if origin == nil || origin.Thin() == nil {
		return nil, fmt.Errorf("its origin %s: %w", t.Origin, ErrNotFound)
	}
	if other := links.thin.merge[t.Origin]; other != nil && other != lv {
		return nil, fmt.Errorf("snapshot %s waits to be merged into %s: %w", other.Name, t.Origin, ErrMerging)
	}
	if n := len(links.byOrigin[origin.Name]); n > 0 {
		return nil, fmt.Errorf("its origin %s has %d thick snapshots: %w", origin.Name, n, ErrInUse)
	}
	if len(links.thin.external[origin.Name]) > 0 {
		return nil, fmt.Errorf("its origin %s is an external origin, and read-only: %w", origin.Name, ErrInUse)
	}
	if _, err := vg.usablePool(t.Pool); err != nil {
		return nil, err
	}
	for _, lv := range []*LV{origin, lv} {
		if err := vg.canChange(lv); err != nil {
			return nil, fmt.Errorf("%s: %w", lv.Name, err)
		}
	}
	return origin, nil
}

// MergeThin has a thin snapshot take its origin's place, at once: the origin keeps
// its name, ID and everything else but what it holds, the snapshot's device
// becomes its own, and its old one is deleted (tools/lvconvert_poll.c,
// thin_merge_finish). Neither may be open. Other snapshots of the origin still
// are listed as its own, where lvm2 makes them volumes without an origin.
func (vg *VG) MergeThin(snap string) (m ThinMerge, err error) {
	origin, err := vg.canMergeThin(snap)
	if err == nil && len(vg.LV(origin.Thin().Pool).ThinPool().Messages) > 0 {
		err = fmt.Errorf("%s has messages that the kernel did not get yet: %w", origin.Thin().Pool, ErrInUse)
	}
	if err != nil {
		return m, vg.fail(snap, "merge", err)
	}
	m.Origin = origin.Name
	lv := vg.LV(snap)
	old, t := origin.Segments[0], *lv.Thin()
	was := old.Thin.DeviceID
	t.Origin, t.Merge = "", ""
	old.Count, old.Thin = lv.Extents(), &t
	for _, other := range vg.LVs {
		o := other.Thin()
		if o == nil || other == lv {
			continue
		}
		if o.Origin == origin.Name {
			m.Others = append(m.Others, other.Name)
		}
		if o.Origin == snap {
			o.Origin = origin.Name
		}
		if o.ExternalOrigin == snap {
			o.ExternalOrigin = origin.Name
		}
	}
	for _, k := range vg.links().byOrigin[snap] {
		k.seg.Origin = origin.Name
	}
	vg.mergePast(snap, origin.Name)
	vg.LV(t.Pool).ThinPool().tell(ThinMessage{Delete: was})
	vg.drop(map[string]bool{snap: true})
	return m, nil
}

// DeferThinMerge records that a thin snapshot is to take its origin's place when
// that is next activated; from now on it is hidden, and its thick snapshots are not
// to be had.
func (vg *VG) DeferThinMerge(snap string) error {
	origin, err := vg.canMergeThin(snap)
	if err == nil && vg.LV(snap).Thin().Merge != "" {
		err = fmt.Errorf("into %s: %w", origin.Name, ErrMerging)
	}
	if err != nil {
		return vg.fail(snap, "merge", err)
	}
	lv := vg.LV(snap)
	lv.Thin().Merge = origin.Name
	lv.setStatus(statusVisible, false)
	return nil
}
