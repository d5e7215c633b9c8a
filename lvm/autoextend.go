package lvm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"cowhand/dmcore"
)

// ExtendPolicy says when a store is made larger, and by how much: lvm2's
// activation/snapshot_autoextend_threshold and _percent. The zero value never
// does.
type ExtendPolicy struct {
	Threshold int // percent in use, 50 to 99; 100 or 0: never
	Amount    int // percent of what it has; more, if that does not bring it below the threshold
}

// Growth is by how many percent a store of which used percent are taken should
// grow; 0 if it need not (lvm2 2.03.40, lib/metadata/lv_manip.c, _adjust_amount).
func (p ExtendPolicy) Growth(used float64) int {
	threshold := max(p.Threshold, 50)
	if p.Threshold <= 0 || p.Threshold >= 100 || p.Amount <= 0 || used > 100 || used <= float64(threshold) {
		return 0
	}
	least := int(math.Ceil(used*100/float64(threshold))) - 100
	return max(least, p.Amount)
}

// Autoextended is a snapshot that was, or should have been, made larger.
type Autoextended struct {
	Snapshot Ref
	Used     float64 // percent, before
	Was, Is  dmcore.Sectors
	Err      error // why it was not
}

// Autoextend makes those snapshots larger that the policy wants larger. policy
// is asked for each. That one is still as full as it was found is looked at
// again under the group's lock: dmeventd, or another of us, may have extended it.
// fills tells how full all active and valid snapshots were found, in percent.
func (e *Engine) Autoextend(ctx context.Context, policy func(vg *VG, snap *LV) ExtendPolicy) (done []Autoextended, fills map[Ref]float64, err error) {
	groups, err := e.Groups(ctx)
	if err != nil {
		return nil, nil, err
	}
	fills = map[Ref]float64{}
	var errs []error
	for _, vg := range groups {
		states, err := e.States(ctx, vg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, k := range vg.links().all {
			snap := vg.LV(k.seg.COW)
			if snap == nil || k.seg.Merging {
				continue
			}
			used, ok := storeUse(states[snap.Name])
			if !ok {
				continue
			}
			ref := Ref{vg.Name, snap.Name}
			fills[ref] = used
			p := policy(vg, snap)
			if p.Growth(used) == 0 {
				continue
			}
			if a, tried := e.autoextend(ctx, ref, p); tried {
				done = append(done, a)
			}
		}
	}
	return done, fills, errors.Join(errs...)
}

// NextLook is how long to wait before snapshots are looked at again, at most most
// and at least a second: a quarter of the time in which the fastest will be full,
// as it filled from before to now, which took spent.
func NextLook(before, now map[Ref]float64, spent, most time.Duration) time.Duration {
	next := most
	for ref, used := range now {
		if was, ok := before[ref]; ok && used > was && spent > 0 {
			full := time.Duration((100 - used) / (used - was) * float64(spent))
			next = min(next, full/4)
		}
	}
	return max(next, time.Second)
}

// storeUse is how full an active, valid snapshot is, in percent.
func storeUse(st State) (used float64, ok bool) {
	if !st.Active || st.Snapshot == nil || st.Snapshot.State != dmcore.SnapshotOK {
		return 0, false
	}
	return st.Snapshot.Percent(), true
}

// errEnough is a snapshot that need not grow any more, or cannot use more.
var errEnough = errors.New("large enough")

func (e *Engine) autoextend(ctx context.Context, ref Ref, p ExtendPolicy) (a Autoextended, tried bool) {
	a.Snapshot = ref
	err := e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[ref.VG]
		lv := vg.LV(ref.LV)
		if lv == nil || vg.Snapshot(ref.LV) == nil {
			return edit{}, errEnough
		}
		states, err := e.States(ctx, vg)
		if err != nil {
			return edit{}, err
		}
		used, ok := storeUse(states[ref.LV])
		grow := p.Growth(used)
		if !ok || grow == 0 {
			return edit{}, errEnough
		}
		a.Used, a.Was = used, vg.Size(lv)
		more := (uint64(lv.Extents())*uint64(grow) + 99) / 100
		if _, err := vg.ExtendLV(ref.LV, lv.Extents()+Extents(more)); err != nil {
			return edit{}, err
		}
		if a.Is = vg.Size(lv); a.Is == a.Was {
			return edit{}, errEnough
		}
		return e.unitsOf(ctx, groups, Ref{ref.VG, e.originOf(vg, ref.LV)})
	})
	if errors.Is(err, errEnough) {
		return a, false
	}
	if err != nil {
		a.Is, a.Err = a.Was, fmt.Errorf("%s: %.1f%% full, and cannot be extended: %w", ref, a.Used, err)
	}
	return a, true
}
