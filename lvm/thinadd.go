package lvm

import (
	"errors"
	"fmt"
	"slices"

	"cowhand/dmcore"
)

// ThinSpec is a volume to be made in a thin pool.
type ThinSpec struct {
	Pool string
	Name string // empty: lvolN
	Size Size   // as it appears; of a snapshot it is the origin's
	// Origin, if set, is what the volume begins as: a volume in the same pool, and
	// it is a snapshot, or any other that is read-only, its external origin.
	Origin   string
	ReadOnly bool
	// Skip says whether it is activated only when that is insisted on; nil: if it
	// is a snapshot.
	Skip *bool
	Tags []string
	Traits
	Stamp
}

// AddThins adds volumes to thin pools, all or none, and what the kernel has to be
// told of them: their pools list it as messages, and have the next transaction
// id. A pool that has messages already has to be caught up with first.
func (vg *VG) AddThins(specs []ThinSpec) ([]*LV, error) {
	next := vg.Clone()
	before := map[string]uint64{}
	var added []*LV
	for _, spec := range specs {
		lv, err := next.addThin(spec, before)
		if err != nil {
			of := spec.Origin
			if of == "" {
				of = spec.Pool
			}
			return nil, vg.fail(of, fmt.Sprintf("thin volume %q", spec.Name), err)
		}
		added = append(added, lv)
	}
	if err := vg.checkCount(len(specs)); err != nil {
		return nil, err
	}
	vg.LVs = next.LVs
	return added, nil
}

func (vg *VG) addThin(spec ThinSpec, before map[string]uint64) (*LV, error) {
	pool, err := vg.usablePool(spec.Pool)
	if err != nil {
		return nil, err
	}
	p := pool.ThinPool()
	if _, ok := before[pool.Name]; !ok {
		if len(p.Messages) > 0 {
			return nil, fmt.Errorf("%s has messages that the kernel did not get yet: %w", pool.Name, ErrInUse)
		}
		before[pool.Name] = p.TransactionID
	}
	t := &Thin{Pool: pool.Name, TransactionID: before[pool.Name]}
	n, err := vg.thinOrigin(spec, t)
	if err != nil {
		return nil, err
	}
	if t.DeviceID, err = vg.freeThinID(pool.Name); err != nil {
		return nil, err
	}
	lv, err := vg.newLV(spec.Name, vg.names(), spec.Tags, spec.Stamp)
	if err != nil {
		return nil, err
	}
	lv.setStatus(statusWrite, !spec.ReadOnly)
	if skip := t.Origin != "" && spec.Skip == nil || spec.Skip != nil && *spec.Skip; skip {
		lv.setFlag(flagSkipActivation, true)
	}
	lv.adopt(spec.Traits)
	lv.Segments = []*Segment{{Count: n, Type: typeThin, Thin: t}}
	vg.LVs = append(slices.Clip(vg.LVs), lv)
	p.tell(ThinMessage{Create: lv.Name})
	return lv, nil
}

// tell adds a message. The first makes a step to the next transaction id
// (lib/metadata/thin_manip.c, attach_pool_message).
func (p *ThinPool) tell(m ThinMessage) {
	if len(p.Messages) == 0 {
		p.TransactionID++
	}
	p.Messages = append(slices.Clip(p.Messages), m)
}

// usablePool returns a pool in which something can be changed.
func (vg *VG) usablePool(name string) (*LV, error) {
	pool := vg.LV(name)
	if pool == nil {
		return nil, fmt.Errorf("thin pool %s: %w", name, ErrNotFound)
	}
	if pool.ThinPool() == nil {
		return nil, fmt.Errorf("%s is no thin pool: %w", name, ErrInvalid)
	}
	if err := vg.canChange(pool); err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", name, err)
	}
	return pool, nil
}

// thinOrigin finds how long a volume is, and what it begins as.
func (vg *VG) thinOrigin(spec ThinSpec, t *Thin) (Extents, error) {
	if spec.Origin == "" {
		if spec.Size.Of != 0 && spec.Size.Of != OfVG {
			return 0, fmt.Errorf("size %s: a thin volume takes no part of that: %w", spec.Size, ErrInvalid)
		}
		n, _, err := spec.Size.Extents(vg, Basis{})
		return n, err
	}
	if !spec.Size.IsZero() {
		return 0, fmt.Errorf("a thin snapshot is as long as its origin: %w", ErrInvalid)
	}
	links := vg.links()
	origin := vg.LV(spec.Origin)
	switch {
	case origin == nil:
		return 0, fmt.Errorf("origin: %w", ErrNotFound)
	case !links.shown(origin):
		return 0, fmt.Errorf("a hidden volume has no snapshots: %w", ErrInvalid)
	case origin.ThinPool() != nil:
		return 0, fmt.Errorf("a thin pool has no snapshots: %w", ErrInvalid)
	}
	if o := origin.Thin(); o != nil && o.Pool == spec.Pool {
		if s := links.thin.merge[origin.Name]; s != nil {
			return 0, fmt.Errorf("snapshot %s waits to be merged into it: %w", s.Name, ErrMerging)
		}
		if err := vg.canChange(origin); err != nil {
			return 0, err
		}
		t.Origin, t.ExternalOrigin = origin.Name, o.ExternalOrigin
		return origin.Extents(), nil
	}
	if err := vg.canBeExternal(origin, links); err != nil {
		return 0, err
	}
	if err := vg.wholeChunks(origin, vg.LV(spec.Pool)); err != nil {
		return 0, err
	}
	t.ExternalOrigin = origin.Name
	return origin.Extents(), nil
}

// canBeExternal reports why a volume cannot be read from by thin volumes
// (lib/metadata/lv_manip.c, _lv_create_an_lv; and what this package does not map).
func (vg *VG) canBeExternal(lv *LV, links *links) error {
	if links.isCOW(lv) || len(links.byOrigin[lv.Name]) > 0 {
		return fmt.Errorf("an external origin that is, or has, a thick snapshot: %w", ErrUnsupported)
	}
	if lv.Writable() {
		return fmt.Errorf("is writable, an external origin must not be (lvchange -an, lvchange -pr): %w", ErrInvalid)
	}
	if len(links.thin.external[lv.Name]) > 0 { // it is one already
		return nil
	}
	return vg.canChange(lv)
}

// freeThinID is one more than the highest in the pool
// (lib/metadata/thin_manip.c, get_free_pool_device_id).
func (vg *VG) freeThinID(pool string) (uint32, error) {
	var id uint32
	for _, lv := range vg.ThinVolumes(pool) {
		id = max(id, lv.Thin().DeviceID)
	}
	if id >= dmcore.MaxThinID {
		return 0, fmt.Errorf("no device id is free in it: %w", ErrNoSpace)
	}
	return id + 1, nil
}

// CheckThinPool reports a pool in which the kernel, as it tells, should not make
// volumes (lib/metadata/thin_manip.c, pool_below_threshold). Unlike lvm2 a pool
// whose data is full is refused too.
func (vg *VG) CheckThinPool(pool string, st dmcore.ThinPoolStatus) error {
	return vg.fail(pool, "", vg.checkThinPool(pool, st))
}

func (vg *VG) checkThinPool(pool string, st dmcore.ThinPoolStatus) error {
	lv := vg.LV(pool)
	if lv == nil || lv.ThinPool() == nil {
		return fmt.Errorf("thin pool: %w", ErrNotFound)
	}
	p := lv.ThinPool()
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if err := vg.unchangeable(pool, st); err != nil {
		return err
	}
	switch {
	case st.Mode == dmcore.ThinPoolOutOfDataSpace || st.UsedData >= st.TotalData:
		bad("its data is full (%d of %d chunks), extend it: %w", st.UsedData, st.TotalData, ErrNoSpace)
	}
	if meta := vg.LV(p.Metadata); meta != nil && st.TotalMetadata > 0 {
		keep := min(25, 100*float64(4<<20/dmcore.SectorSize)/float64(max(1, vg.Size(meta))))
		if used := 100 * float64(st.UsedMetadata) / float64(st.TotalMetadata); used >= 100-keep {
			bad("too little of its metadata is free (%.2f%% of it is used, at most %.2f%% may be), extend it: %w", used, 100-keep, ErrNoSpace)
		}
	}
	if st.TransactionID != p.TransactionID && (len(p.Messages) == 0 || st.TransactionID+1 != p.TransactionID) {
		bad("transaction id is %d in the kernel, %d was expected: %w", st.TransactionID, p.TransactionID, ErrTransaction)
	}
	return errors.Join(wrong...)
}

// unchangeable reports a pool that takes no messages, and what to do about it
// (Linux 6.1, drivers/md/dm-thin.c, pool_message and set_pool_mode). One whose data is
// full takes them.
func (vg *VG) unchangeable(pool string, st dmcore.ThinPoolStatus) error {
	name := vg.Name + "/" + pool
	switch {
	case st.State != dmcore.ThinOK:
		return fmt.Errorf("has failed, it tells nothing but %q: deactivate all that is in it, look after its disks and activate it again, or have lvm2 repair it (lvconvert --repair %s): %w",
			st.State, name, ErrInUse)
	case st.NeedsCheck:
		// Of itself lvm2 2.03.16 clears the mark or not as it was built; thin_repair 0.9.0
		// keeps it.
		return fmt.Errorf(`its metadata needs a check, and is read-only until then: deactivate all that is in it, and have lvm2 check it (lvchange -ay %s --config 'global/thin_check_options=["-q","--clear-needs-check-flag"]'): %w`,
			name, ErrInUse)
	case st.Mode == dmcore.ThinPoolReadOnly:
		return fmt.Errorf("its metadata is read-only: deactivate all that is in it, and activate it again: %w", ErrInUse)
	}
	return nil
}
