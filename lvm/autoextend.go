package lvm

import (
	"context"
	"errors"
	"fmt"
	"math"

	"cowhand/dmcore"
)

// ExtendPolicy says when a space is made larger, and by how much: lvm2's
// activation/snapshot_autoextend_threshold and _percent, or those of thin pools.
// The zero value never does.
type ExtendPolicy struct {
	Threshold int // percent in use, 50 to 99; 100 or 0: never
	Amount    int // percent of what it has; more, if that does not bring it below the threshold
}

// leastThreshold is the least that lvm2 goes by.
const leastThreshold = 50

// Never tells that it extends nothing.
func (p ExtendPolicy) Never() bool { return p.Threshold <= 0 || p.Threshold >= 100 || p.Amount <= 0 }

// Growth is by how many percent a space of which used percent are taken should
// grow; 0 if it need not (lvm2 2.03.40, lib/metadata/lv_manip.c, _adjust_amount).
func (p ExtendPolicy) Growth(used float64) int {
	threshold := max(p.Threshold, leastThreshold)
	if p.Never() || used > 100 || used <= float64(threshold) {
		return 0
	}
	least := int(math.Ceil(used*100/float64(threshold))) - 100
	return max(least, p.Amount)
}

// MetadataGrowth is Growth of the metadata, so large, of a thin pool. It is kept
// below what the kernel warns of, whatever the threshold is, and one percent more
// makes up for what it takes to grow (lvm2 2.03.16, lib/metadata/lv_manip.c,
// _lvresize_adjust_policy; lib/metadata/thin_manip.c,
// pool_metadata_min_threshold).
func (p ExtendPolicy) MetadataGrowth(used float64, size dmcore.Sectors) int {
	if p.Never() {
		return 0
	}
	p.Threshold = min(max(p.Threshold, leastThreshold), metadataThreshold(size))
	if grow := p.Growth(used); grow > 0 {
		return grow + 1
	}
	return 0
}

// metadataThreshold leaves 4 MiB free, or a quarter of metadata of less than 16
// MiB. There the kernel raises its event (Linux 6.1, drivers/md/dm-thin.c,
// calc_metadata_threshold).
func metadataThreshold(size dmcore.Sectors) int {
	const kept dmcore.Sectors = 4 << 11
	if size < 4*kept {
		return 75
	}
	return int(math.Floor(100 - 100*float64(kept)/float64(size)))
}

// Autoextended is a space that was, or should have been, made larger.
type Autoextended struct {
	Space
	Used    float64 // percent, before
	Was, Is dmcore.Sectors
	Err     error // why it was not
}

// Autoextend makes those snapshots and thin pools larger that the policy wants
// larger. policy is asked for each. That one is still as full as it was found is
// looked at again under the group's lock: dmeventd, or another of us, may have
// extended it. The fills are those of all that are active, after that.
func (e *Engine) Autoextend(ctx context.Context, policy func(vg *VG, lv *LV) ExtendPolicy) (done []Autoextended, fills Fills, err error) {
	wanted := map[Ref]ExtendPolicy{}
	var order []Ref
	fills, err = e.fills(ctx, func(vg *VG, f Fill) {
		lv := vg.LV(f.LV)
		p := policy(vg, lv)
		if _, ok := wanted[f.Ref]; !ok && !f.Lost && p.grows(vg, lv, f) > 0 {
			wanted[f.Ref] = p
			order = append(order, f.Ref)
		}
	})
	for _, ref := range order {
		for _, a := range e.autoextend(ctx, ref, wanted[ref]) {
			done = append(done, a)
			for i := range fills.Spaces {
				if f := &fills.Spaces[i]; f.Space == a.Space && a.Err == nil {
					f.Used = a.Used * float64(a.Was) / float64(a.Is)
				}
			}
		}
	}
	return done, fills, err
}

// grows is by how many percent the space is to grow.
func (p ExtendPolicy) grows(vg *VG, lv *LV, f Fill) int {
	if f.Part == PoolMetadata {
		return p.MetadataGrowth(f.Used, vg.Size(vg.LV(lv.ThinPool().Metadata)))
	}
	return p.Growth(f.Used)
}

// errEnough is a space that need not grow any more, or cannot use more.
var errEnough = errors.New("large enough")

// autoextend makes the spaces of one volume larger: of a pool that needs both its
// metadata first, and data even if there is no room for that.
func (e *Engine) autoextend(ctx context.Context, ref Ref, p ExtendPolicy) []Autoextended {
	var done []Autoextended
	err := e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[ref.VG]
		fills, err := e.fillsNow(ctx, vg, ref.LV)
		if err != nil {
			return edit{}, err
		}
		grown := false
		for _, f := range fills {
			a, tried := vg.autoextend(f, p)
			if tried {
				done = append(done, a)
				grown = grown || a.Err == nil
			}
		}
		if !grown {
			return edit{}, errEnough
		}
		return e.unitsAround(ctx, groups, Ref{ref.VG, e.originOf(vg, ref.LV)})
	})
	if err == nil || errors.Is(err, errEnough) {
		return done
	}
	if len(done) == 0 { // it was not even looked at
		done = []Autoextended{{Space: Space{Ref: ref}}}
	}
	for i := range done {
		if done[i].Err == nil {
			done[i].Is, done[i].Err = done[i].Was, err
		}
	}
	return done
}

// fillsNow looks at one volume of a locked group; metadata comes before data.
func (e *Engine) fillsNow(ctx context.Context, vg *VG, name string) ([]Fill, error) {
	lv := vg.LV(name)
	switch {
	case lv == nil:
		return nil, nil
	case lv.ThinPool() != nil:
		st, err := e.DM.ThinPoolStatus(ctx, vg.uuid(lv, layerTPool))
		if err != nil {
			return nil, err
		}
		if st.NeedsCheck {
			return nil, vg.fail(name, "", fmt.Errorf("its metadata needs a check (lvconvert --repair) before it can grow: %w", ErrInUse))
		}
		fills := poolFill(Ref{vg.Name, name}, st)
		if len(fills) == 2 {
			fills[0], fills[1] = fills[1], fills[0]
		}
		return fills, nil
	case vg.Snapshot(name) == nil:
		return nil, nil
	}
	states, err := e.States(ctx, vg)
	if err != nil {
		return nil, err
	}
	f, ok := snapshotFill(states[name])
	if !ok {
		return nil, nil
	}
	f.Space = Space{Ref: Ref{vg.Name, name}}
	return []Fill{f}, nil
}

// autoextend makes one space larger; tried is false if it need not, or has all
// that it can use.
func (vg *VG) autoextend(f Fill, p ExtendPolicy) (a Autoextended, tried bool) {
	lv := vg.LV(f.LV)
	grow := p.grows(vg, lv, f)
	if f.Lost || grow == 0 {
		return a, false
	}
	part := lv
	if f.Part == PoolMetadata {
		part = vg.LV(lv.ThinPool().Metadata)
	}
	a = Autoextended{Space: f.Space, Used: f.Used, Was: vg.Size(part)}
	to := part.Extents() + Extents((uint64(part.Extents())*uint64(grow)+99)/100)
	if f.Part == PoolMetadata {
		_, a.Err = vg.ExtendThinMetadata(f.LV, to)
	} else {
		_, a.Err = vg.ExtendLV(f.LV, to)
	}
	a.Is = vg.Size(part)
	return a, a.Err != nil || a.Is != a.Was
}
