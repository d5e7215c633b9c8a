package lvm

import (
	"context"
	"errors"
	"fmt"
)

// ExtendRequest asks for a longer volume.
type ExtendRequest struct {
	Size Size
	More bool // Size is added to what the volume has
	// Metadata, of a thin pool, is how long its metadata is to be; without Size it
	// is all that changes.
	Metadata     Size
	MoreMetadata bool
	PVs          []string // where to allocate, by name (pv0); none: anywhere
	Policy       string   // how, this time; "": as the volume says
}

// Extended tells what became of a volume.
type Extended struct {
	Was, Is Extents
	Notes   []string // what was done differently from what was asked, for people
}

// Extend makes a volume longer: a plain one or the store of a snapshot, which
// takes no more than is useful. What the new extents hold is not touched.
func (e *Engine) Extend(ctx context.Context, ref Ref, r ExtendRequest) (x Extended, err error) {
	err = e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[ref.VG]
		lv := vg.LV(ref.LV)
		if lv == nil {
			return edit{}, vg.fail(ref.LV, "extend", ErrNotFound)
		}
		if pool := vg.PartOf(ref.LV); pool != nil {
			if r, err = r.ofPool(pool, lv); err != nil {
				return edit{}, vg.fail(ref.LV, "extend", err)
			}
			ref.LV, lv = pool.Name, pool
		}
		x = Extended{Was: lv.Extents()}
		if !r.Metadata.IsZero() {
			if x.Notes, err = vg.extendMetadata(lv, r); err != nil || r.Size.IsZero() {
				x.Is = x.Was
				ed, again := e.unitsAround(ctx, groups, ref)
				return ed, errors.Join(err, again)
			}
		}
		n, note, err := r.Size.Extents(vg, Basis{Origin: vg.Origin(ref.LV), PVs: r.PVs, Extend: true})
		if err != nil {
			return edit{}, vg.fail(ref.LV, "extend", err)
		}
		if r.More {
			n += x.Was
		}
		if r.Size.Of == OfFree || r.Size.Of == OfPVs { // as much of that as can be had
			n = min(n, x.Was+vg.roomBehind(lv, r.PVs))
		}
		own := lv.allocation
		if r.Policy != "" {
			lv.allocation = r.Policy
		}
		notes, err := vg.ExtendLV(ref.LV, n, r.PVs...)
		if err != nil {
			return edit{}, err
		}
		lv.allocation = own
		x.Notes = append(x.Notes, notes...)
		if note != "" {
			x.Notes = append([]string{note}, x.Notes...)
		}
		if x.Is = lv.Extents(); x.Is == x.Was {
			return edit{}, vg.fail(ref.LV, "extend", fmt.Errorf("it has all %s that it can use: %w", HumanSize(vg.Sectors(x.Was)), ErrInvalid))
		}
		return e.unitsAround(ctx, groups, ref)
	})
	return x, err
}

// ofPool is what is asked of a pool where its part is named.
func (r ExtendRequest) ofPool(pool, part *LV) (ExtendRequest, error) {
	switch data := pool.ThinPool().Data == part.Name; {
	case data && !r.Metadata.IsZero():
		return r, fmt.Errorf("is the data of %s: %w", pool.Name, ErrInvalid)
	case data:
		return r, nil
	case !r.Metadata.IsZero() && !r.Size.IsZero():
		return r, fmt.Errorf("is the metadata of %s: want one size: %w", pool.Name, ErrInvalid)
	case r.Metadata.IsZero():
		r.Metadata, r.MoreMetadata, r.Size, r.More = r.Size, r.More, Size{}, false
	}
	return r, nil
}

// extendMetadata makes the metadata of a thin pool longer.
func (vg *VG) extendMetadata(lv *LV, r ExtendRequest) ([]string, error) {
	p := lv.ThinPool()
	if p == nil {
		return nil, vg.fail(lv.Name, "extend metadata", fmt.Errorf("is no thin pool: %w", ErrInvalid))
	}
	n, _, err := r.Metadata.Extents(vg, Basis{PVs: r.PVs, Extend: true})
	if err != nil {
		return nil, vg.fail(lv.Name, "extend metadata", err)
	}
	if meta := vg.LV(p.Metadata); r.MoreMetadata && meta != nil {
		n += meta.Extents()
	}
	return vg.ExtendThinMetadata(lv.Name, n, r.PVs...)
}

// Rename gives a volume, open or not, another name.
func (e *Engine) Rename(ctx context.Context, ref Ref, to string) error {
	return e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[ref.VG]
		if err := vg.Rename(ref.LV, to); err != nil {
			return edit{}, err
		}
		// Before, the unit has the one name; after, the other.
		ed, err := e.unitsAround(ctx, groups, Ref{ref.VG, to})
		if vg.Origin(to) == nil {
			ed.units = append(ed.units, touch{Ref: ref, noMerging: true})
		}
		return ed, err
	})
}

// SetPermission makes a volume writable or read-only.
func (e *Engine) SetPermission(ctx context.Context, ref Ref, write bool) error {
	return e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[ref.VG]
		if err := vg.SetPermission(ref.LV, write); err != nil {
			return edit{}, err
		}
		return e.unitsOf(ctx, groups, Ref{ref.VG, e.originOf(vg, ref.LV)})
	})
}

// unitsOf has the devices of units follow, and no merge begin that waits.
func (e *Engine) unitsOf(ctx context.Context, groups map[string]*VG, refs ...Ref) (edit, error) {
	var ed edit
	for _, r := range refs {
		ed.units = append(ed.units, touch{Ref: r, noMerging: true})
	}
	return ed, e.keepMerging(ctx, groups, ed.units)
}

// ExtendVG adds PVs, given by path, to a group.
func (e *Engine) ExtendVG(ctx context.Context, name string, paths ...string) error {
	return e.changeVG(ctx, name, func(vg *VG) error {
		_, err := e.Store.ExtendVG(ctx, vg, paths...)
		return err
	})
}

// ReduceVG takes PVs without extents in use out of a group.
func (e *Engine) ReduceVG(ctx context.Context, name string, paths ...string) error {
	return e.changeVG(ctx, name, func(vg *VG) error {
		_, err := e.Store.ReduceVG(ctx, vg, paths...)
		return err
	})
}

func (e *Engine) changeVG(ctx context.Context, name string, f func(*VG) error) (err error) {
	unlock, err := e.exclusive(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	vg, err := e.Store.Load(ctx, name)
	if err != nil {
		return err
	}
	return f(vg)
}

// RemovePV makes a PV that is in no group a plain device again.
func (e *Engine) RemovePV(ctx context.Context, path string) (err error) {
	unlock, err := e.exclusive(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return e.Store.RemovePV(ctx, path)
}
