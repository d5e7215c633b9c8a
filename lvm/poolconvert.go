package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// PoolConversion says how a volume becomes the data of a thin pool, which then has its
// name, ID and tags.
type PoolConversion struct {
	LV       string
	Metadata string // the volume that becomes the metadata; "": a new one, as Spec says
	Spec     ThinPoolSpec
}

// ConvertPool makes a plain volume a thin pool. What it and the metadata volume held
// is lost (lvm2 2.03.16, tools/lvconvert.c, _lvconvert_to_pool).
func (vg *VG) ConvertPool(c PoolConversion) (pool *LV, notes []string, err error) {
	next := vg.Clone()
	if notes, err = next.convertPool(c); err != nil {
		return nil, nil, vg.fail(c.LV, "make a thin pool", err)
	}
	vg.LVs = next.LVs
	return vg.LV(c.LV), notes, nil
}

func (vg *VG) convertPool(c PoolConversion) ([]string, error) {
	links := vg.links()
	lv := vg.LV(c.LV)
	if err := vg.canBePart(lv, links); err != nil {
		return nil, err
	}
	spec := c.Spec
	if err := errors.Join(vg.checkPVs(spec.PVs), CheckDiscards(spec.Discards)); err != nil {
		return nil, err
	}
	spec.Size = Size{Count: lv.Extents()}
	var meta *LV
	if c.Metadata != "" {
		meta = vg.LV(c.Metadata)
		if meta == lv {
			return nil, fmt.Errorf("its own metadata: %w", ErrInvalid)
		}
		if err := vg.canBePart(meta, links); err != nil {
			return nil, fmt.Errorf("metadata %s: %w", c.Metadata, err)
		}
		if vg.Size(meta) < minThinMetadata {
			return nil, fmt.Errorf("metadata %s: %s, at least %s are needed: %w", c.Metadata, HumanSize(vg.Size(meta)), HumanSize(minThinMetadata), ErrNoSpace)
		}
		spec.Metadata = Size{Count: meta.Extents()}
	}
	g, notes, err := vg.thinGeometry(&spec)
	if err != nil {
		return nil, err
	}
	data, err := vg.newThinPart(lv, "_tdata", spec.Stamp)
	if err != nil {
		return nil, err
	}
	data.CreationTime, data.CreationHost = spec.Stamp.Time.UTC(), spec.Stamp.Host
	if meta == nil {
		if meta, err = vg.newThinPart(lv, "_tmeta", spec.Stamp); err != nil {
			return nil, err
		}
		meta.CreationTime, meta.CreationHost = data.CreationTime, data.CreationHost
		if err := vg.placeMetadata(spec, lv, meta, g.metadata); err != nil {
			return nil, err
		}
		vg.LVs = append(vg.LVs, meta)
	} else {
		name := lv.Name + "_tmeta"
		if err := CheckLVName(vg.Name, name); err != nil {
			return nil, err
		}
		if vg.names()[name] {
			return nil, fmt.Errorf("volume %s: %w", name, ErrExists)
		}
		meta.Name = name
		meta.hide()
	}
	if err := vg.keepSpare(meta.Extents(), spec); err != nil {
		return nil, err
	}
	if spec.NoSpare {
		notes = append(notes, "recovery of pools without pool metadata spare LV is not automated")
	}
	data.Segments, lv.Segments = lv.Segments, []*Segment{{
		Count: lv.Extents(), Type: typeThinPool, ChunkSize: g.chunk,
		ThinPool: &ThinPool{Metadata: meta.Name, Data: data.Name, Discards: spec.Discards, Zero: !spec.NoZero},
	}}
	for _, s := range data.Segments { // they are printed anew
		s.was = ""
	}
	vg.LVs = append(vg.LVs, data)
	lv.setStatus(statusWrite, true)
	lv.setNumber(nil)
	lv.setFlag(flagSkipActivation, false)
	lv.setFlag(flagErrorWhenFull, spec.ErrorWhenFull)
	vg.setCrop(lv)
	return notes, nil
}

// placeMetadata allocates the metadata of a pool whose data is there.
func (vg *VG) placeMetadata(spec ThinPoolSpec, data, meta *LV, n Extents) error {
	free := vg.space(spec.PVs)
	if i := free.apart(data, n, n); i >= 0 {
		meta.Segments = segments(0, []Run{free.cut(i, n)})
		return nil
	}
	if vg.settings.SeparateMetadata {
		return fmt.Errorf("metadata of %s on other physical volumes than the data (allocation/thin_pool_metadata_require_separate_pvs): %w", HumanSize(vg.Sectors(n)), ErrNoSpace)
	}
	runs, err := free.linear(n)
	meta.Segments = segments(0, runs)
	return err
}

// hide makes a volume one that nobody sees, of which only the pool tells anything.
func (lv *LV) hide() {
	lv.setStatus(statusVisible, false)
	lv.setStatus(statusWrite, true)
	lv.setFlag(flagSkipActivation, false)
	lv.setNumber(nil)
}

// canBePart reports a volume that is not plain, or used by others.
func (vg *VG) canBePart(lv *LV, links *links) error {
	switch {
	case lv == nil:
		return ErrNotFound
	case lv.thin() || links.thin.pool[lv.Name] != nil:
		return fmt.Errorf("belongs to a thin pool: %w", ErrInvalid)
	case len(links.thin.external[lv.Name]) > 0:
		return fmt.Errorf("is an external origin: %w", ErrInUse)
	case links.isCOW(lv) || len(links.byOrigin[lv.Name]) > 0:
		return fmt.Errorf("is, or has, a thick snapshot: %w", ErrInUse)
	case !links.shown(lv):
		return fmt.Errorf("it is hidden: %w", ErrInvalid)
	case !vg.simple(lv):
		return fmt.Errorf("does not lie on physical volumes: %w", ErrUnsupported)
	}
	return vg.canChange(lv)
}

// ConvertPool is [VG.ConvertPool] of volumes that nothing has open. A volume that was
// active is a pool that is.
func (e *Engine) ConvertPool(ctx context.Context, vg string, c PoolConversion) (notes []string, err error) {
	c.Spec.Stamp = e.stamp()
	unlock, err := e.Locks.VGs(ctx, true, vg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	before, err := e.loaded(ctx, []string{vg})
	if err != nil {
		return nil, err
	}
	if _, _, err := before[vg].Clone().ConvertPool(c); err != nil { // before any device goes
		return nil, err
	}
	var were []string
	for _, name := range []string{c.LV, c.Metadata} {
		was, err := e.takeDown(ctx, before[vg], name)
		if err != nil {
			return nil, errors.Join(err, e.bringBack(ctx, before[vg], were))
		}
		if was {
			were = append(were, name)
		}
	}
	err = e.changeLocked(ctx, []string{vg}, before, func(groups map[string]*VG) (edit, error) {
		g := groups[vg]
		had := g.spareLV() != nil
		pool, more, err := g.ConvertPool(c)
		if err != nil {
			return edit{}, err
		}
		notes = more
		ed := edit{units: []touch{{Ref: Ref{vg, pool.Name}, activate: slices.Contains(were, c.LV) && g.allowed(pool) == nil}}}
		blanks := []*LV{g.LV(pool.ThinPool().Metadata)}
		if spare := g.spareLV(); spare != nil && !had {
			blanks = append(blanks, spare)
		}
		for _, lv := range blanks {
			ed.fresh = append(ed.fresh, blank{Ref: Ref{vg, lv.Name}, length: g.settings.blank(g.Size(lv)), part: true})
		}
		return ed, nil
	})
	if err != nil {
		if now, again := e.Store.Load(ctx, vg); again == nil && now.Seqno == before[vg].Seqno {
			err = errors.Join(err, e.bringBack(ctx, now, were))
		}
	}
	return notes, err
}

// takeDown removes the device of a volume that is to become something else, and tells
// whether it was active.
func (e *Engine) takeDown(ctx context.Context, vg *VG, name string) (was bool, err error) {
	lv := vg.LV(name)
	if lv == nil {
		return false, nil
	}
	elsewhere, err := e.elsewhere()
	if err == nil {
		err = vg.leftAlone(lv, elsewhere)
	}
	if err != nil {
		return false, err
	}
	devs, err := e.look(ctx)
	if err != nil || !devs.active(vg, lv) {
		return false, err
	}
	return true, e.dropUnit(ctx, vg, name)
}

// bringBack makes volumes active again that were taken down for nothing.
func (e *Engine) bringBack(ctx context.Context, vg *VG, names []string) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	var units []touch
	for _, name := range names {
		units = append(units, touch{Ref: Ref{vg.Name, name}, activate: true})
	}
	if len(units) == 0 {
		return nil
	}
	return e.bringUnits(ctx, vg, units)
}

// SwapPoolMetadata gives a pool's metadata volume the extents of another volume, and
// that one its own. What is on either stays (tools/lvconvert.c,
// _lvconvert_swap_pool_metadata).
func (vg *VG) SwapPoolMetadata(pool, other string) error {
	p, err := vg.usablePool(pool)
	if err != nil {
		return vg.fail(pool, "swap metadata", err)
	}
	if len(p.ThinPool().Messages) > 0 {
		return vg.fail(pool, "swap metadata", fmt.Errorf("has messages that the kernel did not get yet, activate it once: %w", ErrInUse))
	}
	lv, meta := vg.LV(other), vg.LV(p.ThinPool().Metadata)
	err = vg.canBePart(lv, vg.links())
	if err == nil && vg.Size(lv) < minThinMetadata {
		err = fmt.Errorf("%s, at least %s are needed: %w", HumanSize(vg.Size(lv)), HumanSize(minThinMetadata), ErrNoSpace)
	}
	if err != nil {
		return vg.fail(other, "swap metadata", err)
	}
	lv.Segments, meta.Segments = meta.Segments, lv.Segments
	for _, s := range slices.Concat(lv.Segments, meta.Segments) {
		s.was = ""
	}
	vg.setCrop(p)
	return nil
}

// SwapPoolMetadata is [VG.SwapPoolMetadata] of a pool that is not active, and a volume
// that nothing has open, which is not active afterwards.
func (e *Engine) SwapPoolMetadata(ctx context.Context, vg, pool, other string) (err error) {
	unlock, err := e.Locks.VGs(ctx, true, vg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	before, err := e.loaded(ctx, []string{vg})
	if err != nil {
		return err
	}
	g := before[vg]
	if err := g.Clone().SwapPoolMetadata(pool, other); err != nil { // before any device goes
		return err
	}
	devs, err := e.look(ctx)
	if err != nil {
		return err
	}
	own, shared := g.UnitDevices([]*LV{g.LV(pool)})
	if slices.ContainsFunc(slices.Concat(own, shared), devs.live) {
		return g.fail(pool, "swap metadata", fmt.Errorf("is active, deactivate it first: %w", ErrInUse))
	}
	was, err := e.takeDown(ctx, g, other)
	if err != nil {
		return err
	}
	err = e.changeLocked(ctx, []string{vg}, before, func(groups map[string]*VG) (edit, error) {
		return edit{}, groups[vg].SwapPoolMetadata(pool, other)
	})
	if err != nil && was {
		if now, again := e.Store.Load(ctx, vg); again == nil && now.Seqno == g.Seqno {
			err = errors.Join(err, e.bringBack(ctx, now, []string{other}))
		}
	}
	return err
}
