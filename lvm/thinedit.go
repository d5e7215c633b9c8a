package lvm

import (
	"fmt"
	"slices"
	"strings"

	"cowhand/dmcore"
)

// thin reports a thin pool or a volume in one.
func (lv *LV) thin() bool { return lv.Thin() != nil || lv.ThinPool() != nil }

// missingBelow is missing, also for what a volume stands on.
func (vg *VG) missingBelow(lv *LV) *PV {
	if !lv.thin() {
		return vg.missing(lv)
	}
	list, _ := vg.stack(lv, nil)
	for _, b := range list {
		if pv := vg.missing(b); pv != nil {
			return pv
		}
	}
	return nil
}

// canBeThickOrigin reports why a thin volume, or pool, cannot have thick snapshots.
func (vg *VG) canBeThickOrigin(lv *LV, links *links) error {
	if lv.ThinPool() != nil {
		return fmt.Errorf("a thin pool has no snapshots: %w", ErrInvalid)
	}
	if s := links.thin.merge[lv.Name]; s != nil {
		return fmt.Errorf("thin snapshot %s waits to be merged into it: %w", s.Name, ErrMerging)
	}
	return nil
}

// canRemoveThin reports why a pool, a thin volume or an external origin must stay.
func (vg *VG) canRemoveThin(lv *LV, links *links, gone map[string]bool) error {
	left := func(lvs []*LV) (names []string) {
		for _, l := range lvs {
			if !gone[l.Name] {
				names = append(names, l.Name)
			}
		}
		return names
	}
	if names := left(links.thin.volumes[lv.Name]); len(names) > 0 {
		return fmt.Errorf("it has volumes in it (%s): %w", strings.Join(names, ", "), ErrInUse)
	}
	if names := left(links.thin.external[lv.Name]); len(names) > 0 {
		return fmt.Errorf("it is the external origin of %s: %w", strings.Join(names, ", "), ErrInUse)
	}
	if s := links.thin.merge[lv.Name]; s != nil && !gone[s.Name] {
		return fmt.Errorf("thin snapshot %s waits to be merged into it: %w", s.Name, ErrMerging)
	}
	t := lv.Thin()
	if t == nil {
		return nil
	}
	if t.Merge != "" && !gone[t.Merge] {
		return fmt.Errorf("it is to be merged into %s: %w", t.Merge, ErrMerging)
	}
	if gone[t.Pool] {
		return nil
	}
	pool, err := vg.usablePool(t.Pool)
	if err != nil {
		return err
	}
	if len(pool.ThinPool().Messages) > 0 {
		return fmt.Errorf("%s has messages that the kernel did not get yet: %w", t.Pool, ErrInUse)
	}
	return nil
}

// GoesWith lists the volumes without which one cannot be removed, and that are
// not shown to hang on it otherwise: what is in a pool, what reads from an external
// origin, thick snapshots, and theirs. The volume itself is not among them.
func (vg *VG) GoesWith(name string) []*LV {
	links := vg.links()
	var list []*LV
	seen := map[string]bool{name: true}
	var visit func(string)
	add := func(lv *LV) {
		if lv != nil && !seen[lv.Name] {
			seen[lv.Name] = true
			visit(lv.Name)
			list = append(list, lv)
		}
	}
	visit = func(name string) {
		for _, k := range links.byOrigin[name] {
			add(vg.LV(k.seg.COW))
		}
		add(links.thin.merge[name])
		for _, lv := range links.thin.volumes[name] {
			add(lv)
		}
		for _, lv := range links.thin.external[name] {
			add(lv)
		}
	}
	visit(name)
	return list
}

// forgetThins has pools delete what goes, and others no longer be snapshots of it
// (lib/metadata/pool_manip.c, detach_pool_lv).
func (vg *VG) forgetThins(gone map[string]bool) {
	for _, lv := range vg.LVs {
		t := lv.Thin()
		switch {
		case t == nil:
		case !gone[lv.Name]:
			if gone[t.Origin] {
				t.Origin = ""
			}
		case !gone[t.Pool]:
			vg.LV(t.Pool).ThinPool().tell(ThinMessage{Delete: t.DeviceID})
		}
	}
}

// dropSpare removes the spare with the last pool.
func (vg *VG) dropSpare() {
	spare := vg.spareLV()
	if spare == nil {
		return
	}
	for _, lv := range vg.LVs {
		for _, s := range lv.Segments {
			if s.ThinPool != nil || strings.HasPrefix(s.Type, "cache") {
				return
			}
		}
	}
	vg.drop(map[string]bool{spare.Name: true})
}

// canRenameThin reports why a pool cannot have a name: its parts follow.
func (vg *VG) canRenameThin(lv *LV, to string) error {
	if lv.ThinPool() == nil {
		return nil
	}
	for _, part := range vg.thinParts(lv) {
		name := partName(part.Name, lv.Name, to)
		if name == part.Name {
			continue
		}
		if err := CheckLVName(vg.Name, name); err != nil {
			return err
		}
		if vg.names()[name] {
			return fmt.Errorf("volume %s: %w", name, ErrExists)
		}
	}
	return nil
}

// renameThin tells pools and thin volumes of a name that changed. The volume has
// it already.
func (vg *VG) renameThin(name, to string) {
	renamed := map[string]string{name: to}
	if p := vg.LV(to).ThinPool(); p != nil {
		for _, part := range vg.thinParts(vg.LV(to)) {
			next := partName(part.Name, name, to)
			renamed[part.Name] = next
			part.Name = next
		}
	}
	follow := func(s *string) {
		if next, ok := renamed[*s]; ok {
			*s = next
		}
	}
	for _, lv := range vg.LVs {
		if p := lv.ThinPool(); p != nil {
			follow(&p.Metadata)
			follow(&p.Data)
			for i := range p.Messages {
				follow(&p.Messages[i].Create)
			}
		}
		if t := lv.Thin(); t != nil {
			follow(&t.Pool)
			follow(&t.Origin)
			follow(&t.ExternalOrigin)
			follow(&t.Merge)
		}
	}
}

// extendThin makes a thin volume appear longer, or a pool hold more. The metadata
// of a pool follows unless physical volumes are chosen, if it could not tell of
// all chunks then (lib/metadata/lv_manip.c, lv_resize).
func (vg *VG) extendThin(lv *LV, to Extents, pvs []string) (notes []string, err error) {
	seg := lv.Segments[0]
	p := lv.ThinPool()
	if p == nil {
		if s := vg.links().thin.merge[lv.Name]; s != nil {
			return nil, fmt.Errorf("thin snapshot %s waits to be merged into it: %w", s.Name, ErrMerging)
		}
		if ext := vg.LV(seg.Thin.ExternalOrigin); ext != nil && vg.settings.WholeExternal && to > ext.Extents() {
			return nil, fmt.Errorf("longer than its external origin %s, which is not possible here: %w", ext.Name, ErrUnsupported)
		}
		seg.Count = to
		return nil, nil
	}
	next := vg.Clone()
	data := next.LV(p.Data)
	if notes, err = next.lengthen(data, to-lv.Extents(), next.space(pvs), nil); err != nil {
		return nil, err
	}
	next.LV(lv.Name).Segments[0].Count = data.Extents()
	if most := vg.settings.maxMetadata() * seg.ChunkSize * (dmcore.SectorSize / bytesPerBlock); vg.Size(data) > most {
		return nil, fmt.Errorf("chunks of %s cannot address more than %s of data: %w", HumanSize(seg.ChunkSize), HumanSize(most), ErrInvalid)
	}
	need := min(vg.whole(thinMetadata(vg.Size(data), seg.ChunkSize)), vg.largestThinMetadata())
	if len(pvs) == 0 && need > vg.LV(p.Metadata).Extents() {
		more, err := next.lengthenMetadata(lv.Name, need, nil)
		if err != nil {
			return nil, err
		}
		notes = append(notes, more...)
	}
	vg.take(next)
	return notes, nil
}

// take makes the volumes of a copy this group's. Volumes that are known by
// pointer stay the same.
func (vg *VG) take(next *VG) {
	for i, lv := range vg.LVs {
		*lv = *next.LVs[i]
	}
}

// ExtendThinMetadata makes the metadata of a pool to extents long, and the spare
// with it.
func (vg *VG) ExtendThinMetadata(pool string, to Extents, pvs ...string) (notes []string, err error) {
	if _, err = vg.usablePool(pool); err == nil {
		err = vg.checkPVs(pvs)
	}
	if err == nil {
		next := vg.Clone()
		if notes, err = next.lengthenMetadata(pool, to, pvs); err == nil {
			vg.take(next)
		}
	}
	return notes, vg.fail(pool, "extend metadata", err)
}

func (vg *VG) lengthenMetadata(pool string, to Extents, pvs []string) (notes []string, err error) {
	meta := vg.LV(vg.LV(pool).ThinPool().Metadata)
	have := meta.Extents()
	if most := vg.largestThinMetadata(); to > most {
		to = max(most, have)
		notes = append(notes, fmt.Sprintf("reached maximum pool metadata size %s (%d extents)", HumanSize(vg.Sectors(most)), most))
	}
	if to <= have {
		return nil, fmt.Errorf("%s asked for, it has %s: %w", HumanSize(vg.Sectors(to)), HumanSize(vg.Sectors(have)), ErrInvalid)
	}
	if _, err := vg.lengthen(meta, to-have, vg.space(pvs), nil); err != nil {
		return nil, err
	}
	notes = append(notes, fmt.Sprintf("size of logical volume %s/%s changed from %s (%d extents) to %s (%d extents)", vg.Name, meta.Name,
		HumanSize(vg.Sectors(have)), have, HumanSize(vg.Sectors(to)), to))
	vg.setCrop(vg.LV(pool))
	spare := vg.spareLV()
	if spare == nil || len(pvs) > 0 {
		return notes, nil
	}
	if n := min(to, vg.whole(maxThinSpare)); n > spare.Extents() {
		if _, err := vg.lengthen(spare, n-spare.Extents(), vg.space(nil), nil); err != nil {
			notes = append(notes, fmt.Sprintf("the spare %s cannot follow: %s", spare.Name, err))
		}
	}
	return notes, nil
}

// MergingThin returns the thin snapshot that waits to take the origin's place,
// nil if there is none.
func (vg *VG) MergingThin(origin string) *LV { return vg.links().thin.merge[origin] }

// around lists the volumes whose devices have to follow when a volume changes:
// its unit and, of a pool, those of all that is in it; each by its origin's name.
func (vg *VG) around(lv string) []string {
	names := []string{lv}
	if o := vg.Origin(lv); o != nil {
		names[0] = o.Name
	}
	for _, t := range vg.ThinVolumes(lv) {
		if !slices.Contains(names, t.Name) && t.Thin().Merge == "" {
			names = append(names, t.Name)
		}
	}
	return names
}
