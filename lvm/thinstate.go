package lvm

import (
	"context"
	"errors"

	"cowhand/dmcore"
)

// ThinState is what the device mapper tells of a thin pool or a thin volume; the
// other of Pool and Volume is nil.
type ThinState struct {
	Pool   *dmcore.ThinPoolStatus
	Volume *dmcore.ThinStatus

	size, block dmcore.Sectors
}

// DataPercent is how full a pool is, or how much of a volume is mapped; ok is
// false where lvs prints nothing.
func (s *ThinState) DataPercent() (percent float64, ok bool) {
	switch {
	case s == nil:
		return 0, false
	case s.Pool != nil:
		return s.Pool.DataPercent()
	case s.Volume != nil:
		return s.Volume.Percent(s.size, s.block)
	}
	return 0, false
}

// MetadataPercent is how full a pool's metadata is.
func (s *ThinState) MetadataPercent() (percent float64, ok bool) {
	if s == nil || s.Pool == nil {
		return 0, false
	}
	return s.Pool.MetadataPercent()
}

// failed reports a pool or volume whose I/O fails.
func (s *ThinState) failed() bool {
	return s != nil && (s.Pool != nil && s.Pool.State != dmcore.ThinOK || s.Volume != nil && s.Volume.State != dmcore.ThinOK)
}

// ThinStates tells of the thin pools, their parts and the thin volumes of a
// group, by name, what lvs wants to know; they have devices of other names than
// plain volumes (lvm2 2.03.16, lib/activate/activate.c,
// lv_info_with_seg_status). infos are all devices there are, by UUID.
func (e *Engine) ThinStates(ctx context.Context, vg *VG, infos map[dmcore.UUID]dmcore.Info) (map[string]LVState, error) {
	if !vg.hasThin() {
		return nil, nil
	}
	states := map[string]LVState{}
	links := vg.links()
	for _, lv := range vg.LVs {
		var err error
		st := LVState{Known: true}
		switch {
		case lv.ThinPool() != nil:
			st, err = e.poolState(ctx, vg, lv, infos)
		case lv.Thin() != nil:
			st, err = e.thinState(ctx, vg, lv, links, infos)
		case links.thin.pool[lv.Name] != nil:
			st.Info, st.Exists = infos[vg.uuid(lv, links.own(lv))]
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		states[lv.Name] = st
	}
	return states, nil
}

// poolState: the layer that volumes stand on tells everything, but whether the
// pool itself is active.
func (e *Engine) poolState(ctx context.Context, vg *VG, lv *LV, infos map[dmcore.UUID]dmcore.Info) (LVState, error) {
	st := LVState{Known: true}
	layer := vg.uuid(lv, layerTPool)
	if st.Info, st.Exists = infos[layer]; !st.Exists {
		return st, nil
	}
	if st.Info.Live {
		s, err := e.DM.ThinPoolStatus(ctx, layer)
		if err != nil {
			return gone(err)
		}
		st.Thin = &ThinState{Pool: &s}
	}
	if _, itself := infos[vg.uuid(lv, layerPool)]; !itself && !lv.ThinPool().fresh() && (st.Thin == nil || !st.Thin.Pool.NeedsCheck) {
		st.Exists = false
	}
	return st, nil
}

// thinState: a volume with layers tells how much is mapped in the lowest.
func (e *Engine) thinState(ctx context.Context, vg *VG, lv *LV, links *links, infos map[dmcore.UUID]dmcore.Info) (LVState, error) {
	st := LVState{Known: true}
	if st.Info, st.Exists = infos[vg.uuid(lv, "")]; !st.Exists {
		return st, nil
	}
	layer := vg.uuid(lv, "")
	if len(links.byOrigin[lv.Name]) > 0 || len(links.thin.external[lv.Name]) > 0 {
		layer = vg.uuid(lv, layerReal)
	}
	if info, ok := infos[layer]; !ok || !info.Live {
		return st, nil
	}
	s, err := e.DM.ThinStatus(ctx, layer)
	if err != nil {
		return gone(err)
	}
	st.Thin = &ThinState{Volume: &s, size: vg.Size(lv)}
	if pool := vg.LV(lv.Thin().Pool); pool != nil && pool.ThinPool() != nil {
		st.Thin.block = pool.Segments[0].ChunkSize
	}
	return st, nil
}

// gone forgives a device that was removed, or got another table, since it was
// listed.
func gone(err error) (LVState, error) {
	if errors.Is(err, dmcore.ErrNotFound) || errors.Is(err, dmcore.ErrInvalid) {
		err = nil
	}
	return LVState{Known: true}, err
}
