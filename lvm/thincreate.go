package lvm

import (
	"context"
	"fmt"
)

// CreateThinPool makes a thin pool and activates it unless told otherwise. It
// returns its name, and what people should know of it.
func (e *Engine) CreateThinPool(ctx context.Context, vg string, spec ThinPoolSpec, activate bool) (name string, notes []string, err error) {
	spec.Stamp = e.stamp()
	err = e.change(ctx, []string{vg}, func(groups map[string]*VG) (edit, error) {
		g := groups[vg]
		had := g.spareLV() != nil
		pool, more, err := g.AddThinPool(spec)
		if err != nil {
			return edit{}, err
		}
		if activate {
			if err := g.allowed(pool); err != nil {
				return edit{}, err
			}
		}
		name, notes = pool.Name, more
		meta := g.LV(pool.ThinPool().Metadata)
		ed := edit{units: []touch{{Ref: Ref{vg, name}, activate: activate}}}
		blanks := []*LV{meta}
		if spare := g.spareLV(); spare != nil && !had {
			blanks = append(blanks, spare)
		}
		for _, lv := range blanks {
			ed.fresh = append(ed.fresh, blank{Ref: Ref{vg, lv.Name}, length: g.settings.blank(g.Size(lv)), part: true})
		}
		return ed, nil
	})
	return name, notes, err
}

// ThinOptions say what becomes of new thin volumes.
type ThinOptions struct {
	Activate   bool
	IgnoreSkip bool // activate also those that are activated only when that is insisted on
	// NoZero leaves what lay there where the pool does not zero new blocks.
	NoZero bool
}

// CreateThins makes volumes in thin pools, all in one step of each pool. The
// origins of snapshots that are active are suspended meanwhile: all snapshots
// show one instant. Volumes that this host may not activate are made in a pool that
// is live, and stay inactive. It returns their names.
func (e *Engine) CreateThins(ctx context.Context, vg string, specs []ThinSpec, o ThinOptions) (names []string, err error) {
	for i := range specs {
		specs[i].Stamp = e.stamp()
	}
	var made []*LV
	c := poolChange{
		makes: true,
		pools: func(map[string]*VG) ([]Ref, error) {
			var pools []Ref
			seen := map[string]bool{}
			for _, s := range specs {
				if !seen[s.Pool] {
					seen[s.Pool] = true
					pools = append(pools, Ref{vg, s.Pool})
				}
			}
			return pools, nil
		},
		edit: func(groups map[string]*VG) (ed edit, err error) {
			g := groups[vg]
			if err := e.externalsInactive(ctx, g, specs); err != nil {
				return ed, err
			}
			if made, err = g.AddThins(specs); err != nil {
				return ed, err
			}
			names = nil
			for _, lv := range made {
				names = append(names, lv.Name)
			}
			return ed, nil
		},
		then: func(groups map[string]*VG) (units []touch) {
			for _, lv := range made {
				if !o.Activate || !o.IgnoreSkip && lv.SkipsActivation() {
					continue
				}
				if err := groups[vg].allowed(lv); err != nil {
					e.warn(err)
					continue
				}
				units = append(units, touch{Ref: Ref{vg, lv.Name}, activate: true, noMerging: true})
			}
			return units
		},
		done: func(ctx context.Context, groups map[string]*VG) error {
			for _, lv := range made {
				if o.NoZero {
					continue
				}
				if err := e.zeroThin(ctx, groups[vg], lv); err != nil {
					return err
				}
			}
			return nil
		},
	}
	if len(specs) == 0 {
		return nil, fmt.Errorf("%s: no volume to be made: %w", vg, ErrInvalid)
	}
	// What cannot be is refused before anything is made live for it.
	if err := e.tryThins(ctx, vg, specs); err != nil {
		return nil, err
	}
	return names, e.changePools(ctx, []string{vg}, c)
}

// zeroThin zeroes the beginning of a new volume whose pool shows what lay there
// before, if it is active and can be written.
func (e *Engine) zeroThin(ctx context.Context, vg *VG, lv *LV) error {
	t := lv.Thin()
	if t.Origin != "" || t.ExternalOrigin != "" || vg.LV(t.Pool).ThinPool().Zero || !lv.Writable() {
		return nil
	}
	info, found, err := e.DM.Find(ctx, vg.uuid(lv, ""))
	if err != nil || !found || !info.Live {
		return err
	}
	if info.Dev.Major == 0 { // it has no node in /dev, and reads as zeroes where nothing was written
		return nil
	}
	if err := e.trace("%s: zero %d sectors", Ref{vg.Name, lv.Name}, volumeHead); err != nil {
		return err
	}
	return vg.fail(lv.Name, "zero", e.zeroDevice(fmt.Sprintf("/dev/dm-%d", info.Dev.Minor), 0, volumeHead.Bytes()))
}

// tryThins makes the volumes in a copy of the group.
func (e *Engine) tryThins(ctx context.Context, vg string, specs []ThinSpec) error {
	g, err := e.Store.Load(ctx, vg)
	if err != nil {
		return err
	}
	g = g.Clone()
	for _, lv := range g.LVs { // what is pending is caught up with first
		if p := lv.ThinPool(); p != nil {
			p.Messages = nil
		}
	}
	_, err = g.AddThins(specs)
	return err
}

// externalsInactive makes sure that nobody writes, or may have cached, what is to
// become an external origin.
func (e *Engine) externalsInactive(ctx context.Context, vg *VG, specs []ThinSpec) error {
	links := vg.links()
	for _, s := range specs {
		lv := vg.LV(s.Origin)
		if lv == nil || lv.Thin() != nil && lv.Thin().Pool == s.Pool || len(links.thin.external[lv.Name]) > 0 {
			continue
		}
		devs, err := e.look(ctx)
		if err != nil {
			return err
		}
		if devs.active(vg, lv) {
			return vg.fail(lv.Name, "external origin", fmt.Errorf("is active, deactivate it first: %w", ErrInUse))
		}
	}
	return nil
}
