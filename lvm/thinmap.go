package lvm

import (
	"fmt"
	"slices"

	"cowhand/dmcore"
)

// maxThinMetadata is how much of a pool's metadata is mapped where crop_metadata is
// set (device_mapper/all.h, DM_THIN_MAX_METADATA_SIZE); the kernel could use
// maxThinPoolMetadata.
const maxThinMetadata dmcore.Sectors = 255*(1<<14)*8 - 256*1024

// own is the layer of the device that stands for a volume.
func (l *links) own(lv *LV) string {
	if p := lv.ThinPool(); p != nil {
		if p.fresh() { // nothing was ever made in it: it is mapped as it is
			return layerTPool
		}
		return layerPool
	}
	if pool := l.thin.pool[lv.Name]; pool != nil {
		if pool.ThinPool().Metadata == lv.Name {
			return layerTMeta
		}
		return layerTData
	}
	return ""
}

func (l *links) isCOW(lv *LV) bool { _, ok := l.byCOW[lv.Name]; return ok }

// DeviceUUID is the UUID of the device that stands for a volume: a plain one has
// that of the volume, parts of thin pools and pools have a suffix.
func (vg *VG) DeviceUUID(lv *LV) dmcore.UUID {
	if !vg.hasThin() {
		return vg.uuid(lv, "")
	}
	return vg.uuid(lv, vg.links().own(lv))
}

// hasThin reports a group with thin pools. Most have none, and are spared the
// search for what belongs together.
func (vg *VG) hasThin() bool {
	return slices.ContainsFunc(vg.LVs, func(lv *LV) bool { return lv.ThinPool() != nil })
}

// UnitDevices lists the UUIDs of all devices that the volumes of a unit may have,
// and of those that they may stand on together with other units: the layers of a
// thin pool, and what external origins really are. The shared ones stay as long
// as anything stands on them.
func (vg *VG) UnitDevices(unit []*LV) (own, shared []dmcore.UUID) {
	links := &links{}
	if vg.hasThin() {
		links = vg.links()
	}
	for _, lv := range unit {
		switch {
		case lv.ThinPool() != nil:
			own = append(own, vg.uuid(lv, layerPool))
		case len(links.thin.external[lv.Name]) > 0:
			own = append(own, vg.uuid(lv, layerCOW), vg.uuid(lv, ""))
		default:
			own = append(own, vg.uuid(lv, layerReal), vg.uuid(lv, layerCOW), vg.uuid(lv, ""))
		}
	}
	for _, lv := range unit {
		below, _ := vg.stack(lv, links)
		for _, b := range below {
			var u dmcore.UUID
			switch {
			case b.ThinPool() != nil:
				u = vg.uuid(b, layerTPool)
			case links.thin.pool[b.Name] != nil:
				u = vg.uuid(b, links.own(b))
			case len(links.thin.external[b.Name]) > 0:
				u = vg.uuid(b, layerReal)
			default:
				continue
			}
			if !slices.Contains(shared, u) {
				shared = append(shared, u)
			}
		}
	}
	return own, shared
}

// stack lists a volume and those it stands on, lowest first, as far as they are
// there. What is not, or goes in circles, is an error.
func (vg *VG) stack(lv *LV, links *links) (list []*LV, err error) {
	doing := map[*LV]bool{}
	var visit func(lv *LV)
	fail := func(lv *LV, format string, args ...any) {
		if err == nil {
			err = fmt.Errorf("%s: %w", lv.Name, fmt.Errorf(format, args...))
		}
	}
	visit = func(lv *LV) {
		if slices.Contains(list, lv) {
			return
		}
		if doing[lv] {
			fail(lv, "stands on itself: %w", ErrInvalid)
			return
		}
		doing[lv] = true
		var names []string
		if t := lv.Thin(); t != nil {
			names = append(names, t.ExternalOrigin, t.Pool)
		}
		if p := lv.ThinPool(); p != nil {
			names = append(names, p.Metadata, p.Data)
		}
		for _, name := range names {
			switch below := vg.LV(name); {
			case name == "":
			case below == nil:
				fail(lv, "stands on %s: %w", name, ErrNotFound)
			default:
				visit(below)
			}
		}
		list = append(list, lv)
	}
	visit(lv)
	return list, err
}

// canStack reports a volume that cannot be mapped, or that stands on one that
// cannot.
func (vg *VG) canStack(lv *LV, links *links) error {
	list, err := vg.stack(lv, links)
	if err != nil {
		return err
	}
	for _, b := range list {
		if err := vg.canMapThin(b, links); err != nil {
			if b != lv {
				err = fmt.Errorf("%s: %w", b.Name, err)
			}
			return err
		}
	}
	return nil
}

// canMapThin is canMap, but for thin pools and thin volumes too. A snapshot that
// waits to take its origin's place has no device until then.
func (vg *VG) canMapThin(lv *LV, links *links) error {
	switch t := lv.Thin(); {
	case lv.ThinPool() != nil:
		return nil
	case links.isCOW(lv) && len(links.thin.external[lv.Name]) > 0:
		return fmt.Errorf("a thick snapshot as an external origin: %w", ErrUnsupported)
	case t == nil:
		return vg.canMap(lv)
	case t.Merge != "":
		return fmt.Errorf("waits to be merged into %s, activate that: %w", t.Merge, ErrMerging)
	}
	return nil
}

// pool maps a pool's metadata and data, and the layer that volumes in it stand
// on (lib/activate/dev_manager.c, _add_segment_to_dtree).
func (m *mapper) pool(lv *LV) {
	p := lv.ThinPool()
	meta, data := m.vg.LV(p.Metadata), m.vg.LV(p.Data)
	t := m.stripes(meta)
	if p.Crop {
		t = crop(t, maxThinMetadata)
	}
	m.add(meta, layerTMeta, t)
	m.add(data, layerTData, m.stripes(data))
	size, threshold := m.vg.Size(lv), 0
	if m.o.PoolThreshold != nil {
		threshold = m.o.PoolThreshold(lv)
	}
	m.add(lv, layerTPool, whole(size, dmcore.ThinPool{
		Metadata:  m.vg.uuid(meta, layerTMeta).Dev(),
		Data:      m.vg.uuid(data, layerTData).Dev(),
		BlockSize: lv.Segments[0].ChunkSize,
		LowWater:  lowWater(size, lv.Segments[0].ChunkSize, threshold),
		Features: dmcore.ThinPoolFeatures{
			SkipBlockZeroing:  !p.Zero,
			IgnoreDiscard:     p.Discards == DiscardsIgnore,
			NoDiscardPassdown: p.Discards == DiscardsNoPassdown,
			ErrorIfNoSpace:    slices.Contains(lv.Flags, flagErrorWhenFull),
		},
	}))
}

// lowWater is the count of free blocks at which an event is raised
// (lib/thin/thin.c, _thin_pool_add_target_line).
func lowWater(size, block dmcore.Sectors, threshold int) uint64 {
	if threshold <= 0 || threshold >= 100 || block == 0 {
		return 0
	}
	return uint64(size/block) * uint64(100-max(threshold, 50)) / 100
}

// crop cuts a table off at a length.
func crop(t dmcore.Table, n dmcore.Sectors) dmcore.Table {
	for i, s := range t {
		switch {
		case s.Start >= n:
			return t[:i]
		case s.Start+s.Length > n:
			s.Length = n - s.Start
			return append(slices.Clone(t[:i]), s)
		}
	}
	return t
}

// thin maps a thin volume, and before it its external origin and its pool.
func (m *mapper) thin(lv *LV, t *Thin) dmcore.Table {
	target := dmcore.Thin{Pool: m.vg.uuid(m.vg.LV(t.Pool), layerTPool).Dev(), DeviceID: t.DeviceID}
	if t.ExternalOrigin != "" {
		ext := m.vg.LV(t.ExternalOrigin)
		m.base(ext, layerReal)
		target.ExternalOrigin = m.vg.uuid(ext, layerReal).Dev()
	}
	m.pool(m.vg.LV(t.Pool))
	if s := m.links.thin.merge[lv.Name]; s != nil && m.o.ThinMerged {
		target.DeviceID = s.Thin().DeviceID
		lv = s
	}
	return whole(m.vg.Size(lv), target)
}
