package lvm

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"cowhand/dmcore"
)

// LinearSpec is a volume to be made of whole runs of extents.
type LinearSpec struct {
	Name     string // empty: lvolN
	Size     Size
	ReadOnly bool
	PVs      []string // where to allocate, by name (pv0); none: anywhere
	Tags     []string
	Skip     bool // it is not activated unless that is asked for with -K
	NoZero   bool // what lay at its beginning stays
	Traits
	Stamp
}

// StripedSpec is a volume to be spread over several physical volumes.
type StripedSpec struct {
	LinearSpec
	Stripes    int
	StripeSize dmcore.Sectors // 0: 64 KiB
}

// DefaultStripe is the stripe size of lvm2, 64 KiB.
const DefaultStripe dmcore.Sectors = 128

// AddLinear adds a volume: in one run if there is one large enough, or in as
// few as can be.
func (vg *VG) AddLinear(spec LinearSpec) (*LV, error) {
	return vg.AddStriped(StripedSpec{LinearSpec: spec, Stripes: 1})
}

// AddStriped adds a volume striped over as many physical volumes as it has
// stripes; its size is rounded up to whole rows.
func (vg *VG) AddStriped(spec StripedSpec) (*LV, error) {
	lv, err := vg.newVolume(spec)
	if err != nil {
		return nil, vg.fail(spec.Name, "create", err)
	}
	if err := vg.checkCount(1); err != nil {
		return nil, err
	}
	vg.LVs = append(slices.Clip(vg.LVs), lv)
	return lv, nil
}

func (vg *VG) newVolume(spec StripedSpec) (*LV, error) {
	lv, err := vg.newLV(spec.Name, vg.names(), spec.Tags, spec.Stamp)
	if err != nil {
		return nil, err
	}
	lv.setStatus(statusWrite, !spec.ReadOnly)
	lv.setFlag(flagSkipActivation, spec.Skip)
	lv.adopt(spec.Traits)
	if err := vg.checkPVs(spec.PVs); err != nil {
		return nil, err
	}
	n, _, err := spec.Size.Extents(vg, Basis{PVs: spec.PVs})
	if err != nil {
		return nil, err
	}
	free := vg.space(spec.PVs)
	if spec.Stripes <= 1 {
		runs, err := free.linear(n)
		lv.Segments = segments(0, runs)
		return lv, cmp.Or(err, vg.contiguous(lv, len(runs)))
	}
	size := spec.StripeSize
	if size == 0 {
		size = DefaultStripe
	}
	if size < 8 || bits.OnesCount64(uint64(size)) != 1 || size > vg.ExtentSize {
		return nil, fmt.Errorf("stripe size %s: want a power of two from 4 KiB to %s: %w", HumanSize(size), HumanSize(vg.ExtentSize), ErrInvalid)
	}
	stripes := Extents(spec.Stripes)
	rows, err := free.striped(spec.Stripes, (n+stripes-1)/stripes)
	lv.Segments = stripedSegments(0, size, rows)
	return lv, cmp.Or(err, vg.contiguous(lv, len(rows)))
}

// Remove removes snapshots, plain volumes, thin volumes and thin pools. An origin
// goes only together with all its thick snapshots, a snapshot that is being merged
// only together with its origin, a pool only together with all that is in it: name
// them all. Of a thin volume that was the origin of others they keep what they
// share with it. What the kernel has to delete in pools that stay, these list as
// messages.
func (vg *VG) Remove(names ...string) error {
	links := vg.links()
	gone := map[string]bool{}
	for _, name := range names {
		gone[name] = true
	}
	for _, name := range names {
		lv := vg.LV(name)
		if err := vg.canRemove(lv, links, gone); err != nil {
			return vg.fail(name, "remove", err)
		}
		if k, ok := links.byCOW[name]; ok {
			gone[k.helper.Name] = true
			gone[k.seg.Origin] = gone[k.seg.Origin] || vg.VirtualOrigin(vg.LV(k.seg.Origin))
		}
		if lv.ThinPool() != nil {
			for _, part := range vg.thinParts(lv) {
				gone[part.Name] = true
			}
		}
	}
	vg.record(names)
	vg.forgetThins(gone)
	vg.drop(gone)
	vg.dropSpare()
	vg.pruneHistory()
	return nil
}

func (vg *VG) canRemove(lv *LV, links *links, gone map[string]bool) error {
	switch {
	case lv == nil:
		return ErrNotFound
	case links.helpers[lv.Name]:
		return fmt.Errorf("a hidden volume is removed with what it belongs to: %w", ErrInvalid)
	}
	if k, ok := links.byCOW[lv.Name]; ok && k.seg.Merging && !gone[k.seg.Origin] {
		return fmt.Errorf("it is being merged into %s: %w", k.seg.Origin, ErrMerging)
	} else if !ok && !lv.Visible() && !lv.spare() && (lv.Thin() == nil || lv.Thin().Merge == "") {
		return fmt.Errorf("a hidden volume is removed with what it belongs to: %w", ErrInvalid)
	}
	var left []string
	for _, k := range links.byOrigin[lv.Name] {
		if !gone[k.seg.COW] {
			left = append(left, k.seg.COW)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("it has snapshots (%s): %w", strings.Join(left, ", "), ErrInUse)
	}
	if err := vg.canRemoveThin(lv, links, gone); err != nil {
		return err
	}
	err := vg.canChangeBeside(lv, gone)
	if errors.Is(err, ErrMissingPV) { // what is lost can be let go of
		return nil
	}
	return err
}

// drop removes volumes without a question.
func (vg *VG) drop(gone map[string]bool) {
	vg.LVs = slices.DeleteFunc(slices.Clone(vg.LVs), func(lv *LV) bool { return gone[lv.Name] })
}

// Rename gives a volume another name, and tells those that refer to it.
func (vg *VG) Rename(name, to string) error {
	if err := vg.canRename(name, to); err != nil {
		return vg.fail(name, "rename", err)
	}
	vg.LV(name).Name = to
	vg.renameThin(name, to)
	vg.renamePast(name, to)
	vg.renameVirtual(name, to)
	for _, k := range vg.links().all {
		if k.seg.Origin == name {
			k.seg.Origin = to
		}
		if k.seg.COW == name {
			k.seg.COW = to
		}
	}
	return nil
}

func (vg *VG) canRename(name, to string) error {
	lv := vg.LV(name)
	if lv == nil {
		return ErrNotFound
	}
	if !vg.Shown(lv) {
		return fmt.Errorf("it is hidden: %w", ErrInvalid)
	}
	if err := errors.Join(CheckLVName(vg.Name, to), CheckReserved(to)); err != nil {
		return err
	}
	if vg.names()[to] {
		return fmt.Errorf("volume %s: %w", to, ErrExists)
	}
	if err := vg.canRenameThin(lv, to); err != nil {
		return err
	}
	err := vg.canChange(lv)
	if errors.Is(err, ErrMissingPV) {
		return nil
	}
	return err
}

// SetPermission makes a volume writable or read-only. The COW device of a
// read-only snapshot stays writable for the kernel.
func (vg *VG) SetPermission(name string, write bool) error {
	lv := vg.LV(name)
	if lv == nil {
		return vg.fail(name, "permission", ErrNotFound)
	}
	links := vg.links()
	if !links.shown(lv) {
		return vg.fail(name, "permission", fmt.Errorf("it is hidden: %w", ErrInvalid))
	}
	if k, ok := links.merging(name); ok && !write {
		return vg.fail(name, "permission", fmt.Errorf("%s is being merged into it: %w", k.seg.COW, ErrMerging))
	}
	if lv.ThinPool() != nil {
		return vg.fail(name, "permission", fmt.Errorf("a thin pool is always writable: %w", ErrInvalid))
	}
	if err := vg.canChange(lv); err != nil {
		return vg.fail(name, "permission", err)
	}
	lv.setStatus(statusWrite, write)
	if !write {
		lv.setFlag(flagWriteLocked, false)
	}
	return nil
}
