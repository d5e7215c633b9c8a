package lvm

import (
	"context"
	"fmt"
	"slices"
)

// A virtual snapshot is a volume that may be larger than what its group has: the
// snapshot of a hidden volume of zeroes, NAME_vorigin, that is made for it alone
// and shares its fate.

const (
	typeZero      = "zero"
	virtualSuffix = "_vorigin"
)

// VirtualOrigin reports the hidden volume behind a virtual snapshot
// (lib/metadata/snapshot_manip.c, lv_is_virtual_origin).
func (vg *VG) VirtualOrigin(lv *LV) bool {
	return lv != nil && !lv.Visible() && len(lv.Segments) > 0 &&
		!slices.ContainsFunc(lv.Segments, func(s *Segment) bool { return s.Type != typeZero })
}

// VirtualSpec is a virtual snapshot to be made. Size is what may be written to it.
type VirtualSpec struct {
	SnapshotSpec      // without an origin
	Virtual      Size // what it pretends to be
}

// AddVirtual adds a virtual snapshot and returns it; the notes tell people what
// was done differently from what was asked.
func (vg *VG) AddVirtual(spec VirtualSpec) (*LV, []string, error) {
	added, notes, err := vg.newVirtual(spec)
	if err == nil {
		err = vg.checkCount(1)
	}
	if err != nil {
		return nil, nil, vg.fail(spec.Name, "create", err)
	}
	vg.LVs = append(slices.Clip(vg.LVs), added...)
	return added[0], notes, nil
}

func (vg *VG) newVirtual(spec VirtualSpec) (added []*LV, notes []string, err error) {
	cow, err := vg.newLV(spec.Name, vg.names(), spec.Tags, spec.Stamp)
	if err != nil {
		return nil, nil, err
	}
	spec.Origin = cow.Name + virtualSuffix
	if err := CheckLVName(vg.Name, spec.Origin); err != nil {
		return nil, nil, err
	}
	if vg.names()[spec.Origin] {
		return nil, nil, fmt.Errorf("volume %s: %w", spec.Origin, ErrExists)
	}
	length, note, err := spec.Virtual.Extents(vg, Basis{PVs: spec.PVs})
	if err != nil {
		return nil, nil, err
	}
	if vg.Sectors(length) > maxSectors {
		return nil, nil, fmt.Errorf("size %s: more than a device can have: %w", spec.Virtual, ErrInvalid)
	}
	if note != "" {
		notes = append(notes, note)
	}
	if err := vg.checkPVs(spec.PVs); err != nil {
		return nil, nil, err
	}
	origin := &LV{Name: spec.Origin, Status: []string{statusRead}, CreationTime: cow.CreationTime, CreationHost: cow.CreationHost,
		Segments: []*Segment{{Count: length, Type: typeZero}}}
	if origin.ID, err = NewID(spec.Rand); err != nil {
		return nil, nil, err
	}
	free := vg.space(spec.PVs)
	n, more, err := vg.snapshotExtents(spec.SnapshotSpec, origin, free)
	if err != nil {
		return nil, nil, err
	}
	runs, err := free.linear(n)
	if err != nil {
		return nil, nil, err
	}
	cow.setStatus(statusVisible, false)
	cow.setStatus(statusWrite, !spec.ReadOnly)
	cow.adopt(spec.Traits)
	cow.Segments = segments(0, runs)
	next := vg.Clone()
	next.LVs = append(next.LVs, cow, origin)
	helper, err := next.newHelper(spec.SnapshotSpec, cow, vg.nextNumber(helperPrefix))
	return []*LV{cow, origin, helper}, append(notes, more...), err
}

// renameVirtual has a virtual origin follow its snapshot to another name.
func (vg *VG) renameVirtual(from, to string) {
	k, ok := vg.links().byCOW[from]
	if !ok {
		if k, ok = vg.links().byCOW[to]; !ok {
			return
		}
	}
	origin := vg.LV(k.seg.Origin)
	name := to + virtualSuffix
	if !vg.VirtualOrigin(origin) || origin.Name != from+virtualSuffix || vg.names()[name] || CheckLVName(vg.Name, name) != nil {
		return
	}
	origin.Name, k.seg.Origin = name, name
}

// CreateVirtual makes a virtual snapshot, and activates it unless told otherwise.
func (e *Engine) CreateVirtual(ctx context.Context, vg string, spec VirtualSpec, activate bool) (name string, notes []string, err error) {
	spec.Stamp = e.stamp()
	err = e.change(ctx, []string{vg}, func(groups map[string]*VG) (edit, error) {
		lv, said, err := groups[vg].AddVirtual(spec)
		if err != nil {
			return edit{}, err
		}
		name, notes = lv.Name, said
		if activate {
			if err := groups[vg].allowed(lv); err != nil {
				return edit{}, err
			}
		}
		ref := Ref{vg, name}
		return edit{units: []touch{{Ref: ref, activate: activate}}, fresh: []blank{{Ref: ref, length: storeHead(orDefault(spec.Chunk))}}}, nil
	})
	return name, notes, err
}
