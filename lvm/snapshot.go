package lvm

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"cowhand/dmcore"
)

// Stamp is what a new volume remembers of its making.
type Stamp struct {
	Time time.Time
	Host string
	Rand io.Reader // for the volume's ID; nil: crypto/rand
}

// SnapshotSpec is a snapshot to be made.
type SnapshotSpec struct {
	Origin   string
	Name     string         // empty: lvolN
	Size     Size           // of the COW volume
	Chunk    dmcore.Sectors // 0: DefaultChunk
	ReadOnly bool
	PVs      []string // where to allocate, by name (pv0); none: anywhere
	Tags     []string
	Traits
	Stamp
}

const helperPrefix = "snapshot"

// AddSnapshots adds all the snapshots or, if any cannot be, none. It returns
// their COW volumes, in order. What [VG.SnapshotExtents] notes about sizes is
// done without a word.
func (vg *VG) AddSnapshots(specs []SnapshotSpec) ([]*LV, error) {
	names := vg.names()
	links := vg.links()
	next := vg.nextNumber(helperPrefix)
	added := []*LV{}
	free := vg.space(nil)
	for _, spec := range specs {
		op := fmt.Sprintf("snapshot %q", spec.Name)
		cow, err := vg.newCOW(spec, names, links, free)
		if err != nil {
			return nil, vg.fail(spec.Origin, op, err)
		}
		helper, err := vg.newHelper(spec, cow, next)
		if err != nil {
			return nil, vg.fail(spec.Origin, op, err)
		}
		names[cow.Name], names[helper.Name] = true, true
		next++
		added = append(added, cow, helper)
	}
	if err := vg.checkCount(len(specs)); err != nil {
		return nil, err
	}
	vg.LVs = append(slices.Clip(vg.LVs), added...)
	var cows []*LV
	for i := 0; i < len(added); i += 2 {
		cows = append(cows, added[i])
	}
	return cows, nil
}

func (vg *VG) newCOW(spec SnapshotSpec, names map[string]bool, links *links, free *space) (*LV, error) {
	origin := vg.LV(spec.Origin)
	if err := vg.canBeOrigin(origin, links); err != nil {
		return nil, err
	}
	if err := vg.checkPVs(spec.PVs); err != nil {
		return nil, err
	}
	from := free.on(spec.PVs)
	n, _, err := vg.snapshotExtents(spec, origin, from)
	if err != nil {
		return nil, err
	}
	runs, err := from.linear(n)
	if err != nil {
		return nil, err
	}
	free.remove(runs)
	lv, err := vg.newLV(spec.Name, names, spec.Tags, spec.Stamp)
	if err != nil {
		return nil, err
	}
	lv.setStatus(statusVisible, false)
	lv.setStatus(statusWrite, !spec.ReadOnly)
	lv.adopt(spec.Traits)
	lv.Segments = segments(0, runs)
	return lv, vg.contiguous(lv, len(runs))
}

// newHelper makes "snapshotN". It bears VISIBLE, which its COW volume does not.
func (vg *VG) newHelper(spec SnapshotSpec, cow *LV, n int) (*LV, error) {
	id, err := NewID(spec.Rand)
	if err != nil {
		return nil, err
	}
	return &LV{
		Name:         helperPrefix + strconv.Itoa(n),
		ID:           id,
		Status:       []string{statusRead, statusWrite, statusVisible},
		CreationTime: cow.CreationTime,
		CreationHost: cow.CreationHost,
		Segments: []*Segment{{
			Count:     vg.LV(spec.Origin).Extents(),
			Type:      typeSnapshot,
			ChunkSize: orDefault(spec.Chunk),
			Origin:    spec.Origin,
			COW:       cow.Name,
		}},
	}, nil
}

// canBeOrigin reports why no snapshot can be taken of a volume
// (lib/metadata/snapshot_manip.c, validate_snapshot_origin; and what this
// package does not map).
func (vg *VG) canBeOrigin(lv *LV, links *links) error {
	if lv == nil {
		return ErrNotFound
	}
	if k, ok := links.byCOW[lv.Name]; ok {
		return fmt.Errorf("it is itself a snapshot, of %s: %w", k.seg.Origin, ErrInvalid)
	}
	if !links.shown(lv) {
		return fmt.Errorf("a hidden volume has no snapshots: %w", ErrInvalid)
	}
	if k, ok := links.merging(lv.Name); ok {
		return fmt.Errorf("snapshot %s is being merged into it: %w", k.seg.COW, ErrMerging)
	}
	if err := vg.canBeThickOrigin(lv, links); err != nil {
		return err
	}
	return vg.canChange(lv)
}

// canChange reports a volume that this package must not touch: one that lvm2 is
// moving, that others are made of, or whose segments it does not know.
func (vg *VG) canChange(lv *LV) error { return vg.canChangeBeside(lv, nil) }

// canChangeBeside is canChange where those that are made of it may be gone.
func (vg *VG) canChangeBeside(lv *LV, gone map[string]bool) error {
	for _, word := range []string{"PVMOVE", "LOCKED"} {
		if slices.Contains(lv.Status, word) {
			return fmt.Errorf("has the status %s: %w", word, ErrInUse)
		}
	}
	for _, s := range lv.Segments {
		if !s.known() && !lv.thin() {
			return fmt.Errorf("segment type %q: %w", s.Type, ErrUnsupported)
		}
	}
	if !lv.thin() && !vg.simple(lv) {
		return fmt.Errorf("does not lie on physical volumes: %w", ErrUnsupported)
	}
	users := slices.DeleteFunc(vg.users(lv.Name), func(name string) bool { return gone[name] })
	if len(users) > 0 {
		return fmt.Errorf("is part of %s: %w", strings.Join(users, ", "), ErrInUse)
	}
	if pv := vg.missingBelow(lv); pv != nil {
		return fmt.Errorf("%s (%s): %w", pv.Name, pv.Device, ErrMissingPV)
	}
	return nil
}

// newLV makes a visible volume without segments.
func (vg *VG) newLV(name string, taken map[string]bool, tags []string, stamp Stamp) (*LV, error) {
	if name == "" {
		for n := vg.nextNumber("lvol"); name == "" || taken[name]; n++ {
			name = "lvol" + strconv.Itoa(n)
		}
	}
	if err := errors.Join(CheckLVName(vg.Name, name), CheckReserved(name)); err != nil {
		return nil, err
	}
	if taken[name] {
		return nil, fmt.Errorf("volume %s: %w", name, ErrExists)
	}
	id, err := NewID(stamp.Rand)
	if err != nil {
		return nil, err
	}
	lv := &LV{
		Name:         name,
		ID:           id,
		Status:       []string{statusRead, statusWrite, statusVisible},
		CreationHost: stamp.Host,
	}
	if !stamp.Time.IsZero() {
		lv.CreationTime = stamp.Time.UTC().Truncate(time.Second)
	}
	return lv, lv.addTags(tags)
}

// names are those that no new volume can have.
func (vg *VG) names() map[string]bool {
	taken := make(map[string]bool, len(vg.LVs))
	for _, lv := range vg.LVs {
		taken[lv.Name] = true
	}
	for _, h := range vg.Historical {
		taken[h.Name], taken[h.was] = true, true
	}
	return taken
}

// nextNumber is one more than the highest N of the names prefixN, removed
// volumes that lvm2 remembers among them; holes are not filled
// (lib/metadata/lv_manip.c, generate_lv_name).
func (vg *VG) nextNumber(prefix string) int {
	next := 0
	for name := range vg.names() {
		if digits, ok := strings.CutPrefix(name, prefix); ok {
			digits = digits[:len(digits)-len(strings.TrimLeft(digits, "0123456789"))] // lvol0_pmspare counts
			if n, err := strconv.Atoi(digits); err == nil && n >= next {
				next = n + 1
			}
		}
	}
	return next
}
