package lvm

import (
	"context"
	"errors"
	"fmt"
)

// ThinConversion says how a volume becomes a thin one that reads what it held from an
// external origin: the volume as it was, read-only, under another name and ID.
type ThinConversion struct {
	LV, Pool string
	Origin   string // what the volume as it was is called; empty: lvolN
	Stamp
}

// CanConvertThin reports why a volume cannot be made a thin one.
func (vg *VG) CanConvertThin(c ThinConversion) error {
	return vg.fail(c.LV, "make thin", vg.canConvertThin(c))
}

// canConvertThin: tools/lvconvert.c, _lvconvert_to_thin_with_external.
func (vg *VG) canConvertThin(c ThinConversion) error {
	links := vg.links()
	lv := vg.LV(c.LV)
	switch {
	case lv == nil:
		return ErrNotFound
	case lv.Thin() != nil:
		return fmt.Errorf("is thin already: %w", ErrUnsupported)
	case len(links.thin.external[lv.Name]) > 0: // what canBePart does not admit
		if err := vg.canChangeBeside(lv, map[string]bool{}); err != nil && !errors.Is(err, ErrInUse) {
			return err
		}
	default:
		if err := vg.canBePart(lv, links); err != nil {
			return err
		}
	}
	pool, err := vg.usablePool(c.Pool)
	if err != nil {
		return err
	}
	return vg.wholeChunks(lv, pool)
}

// wholeChunks reports a volume that cannot be the external origin of volumes in a pool.
func (vg *VG) wholeChunks(lv, pool *LV) error {
	chunk := pool.Segments[0].ChunkSize
	if vg.settings.WholeExternal && vg.Size(lv)%chunk != 0 {
		return fmt.Errorf("is %s long, an external origin must be a multiple of the pool's chunk size %s here: %w", HumanSize(vg.Size(lv)), HumanSize(chunk), ErrUnsupported)
	}
	return nil
}

// becomeThin has a volume and a thin one that is as long and empty exchange their
// names and IDs, and the thin one read from the other. Who read from the volume
// before goes on doing so. It returns who did.
func (vg *VG) becomeThin(name, thin string) (readers []string) {
	lv, t := vg.LV(name), vg.LV(thin)
	for _, other := range vg.links().thin.external[name] {
		readers = append(readers, other.Name)
		other.Thin().ExternalOrigin = thin
	}
	lv.Name, t.Name = thin, name
	lv.ID, t.ID = t.ID, lv.ID
	lv.was, t.was = t.was, lv.was
	lv.setStatus(statusWrite, false)
	lv.setFlag(flagWriteLocked, false)
	t.Thin().ExternalOrigin = thin
	return readers
}

// ConvertThin makes a volume, which may be in use, a thin one. It returns the name of
// its external origin.
//
//	lock ▶ an empty thin volume is made ▶ both exchange names, in one window ▶ unlock
//
// Who dies between leaves the thin volume, which is good for nothing but removal.
func (e *Engine) ConvertThin(ctx context.Context, vg string, c ThinConversion) (origin string, err error) {
	c.Stamp = e.stamp()
	unlock, err := e.Locks.VGs(ctx, true, vg)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	check := func(g *VG) error { return g.CanConvertThin(c) }
	err = e.changePoolsLocked(ctx, []string{vg}, poolChange{
		makes: true,
		pools: func(groups map[string]*VG) ([]Ref, error) { return []Ref{{vg, c.Pool}}, check(groups[vg]) },
		edit: func(groups map[string]*VG) (edit, error) {
			g := groups[vg]
			if err := check(g); err != nil {
				return edit{}, err
			}
			made, err := g.AddThins([]ThinSpec{{Pool: c.Pool, Name: c.Origin, Size: Size{Count: g.LV(c.LV).Extents()}, Stamp: c.Stamp}})
			if err == nil {
				origin = made[0].Name
			}
			return edit{}, err
		},
	})
	if err != nil {
		return "", err
	}
	before, err := e.loaded(ctx, []string{vg})
	if err == nil {
		err = e.changeLocked(ctx, []string{vg}, before, func(groups map[string]*VG) (edit, error) {
			ed := edit{units: []touch{{Ref: Ref{vg, c.LV}}}}
			for _, r := range groups[vg].becomeThin(c.LV, origin) {
				ed.units = append(ed.units, touch{Ref: Ref{vg, r}, noMerging: true})
			}
			return ed, nil
		})
	}
	if err != nil {
		return "", errors.Join(err, e.unmakeThin(ctx, Ref{vg, origin}))
	}
	return origin, nil
}

// unmakeThin removes a thin volume that was made for a change which then was not, if
// that is what the metadata says. The group is locked.
func (e *Engine) unmakeThin(ctx context.Context, ref Ref) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	vg, err := e.Store.Load(ctx, ref.VG)
	if err != nil {
		return err
	}
	if lv := vg.LV(ref.LV); lv == nil || lv.Thin() == nil {
		return nil
	}
	return e.changePoolsLocked(ctx, []string{ref.VG}, poolChange{
		pools: func(groups map[string]*VG) ([]Ref, error) {
			return poolsOf(groups, map[string][]string{ref.VG: {ref.LV}}), nil
		},
		edit: func(groups map[string]*VG) (edit, error) { return edit{}, groups[ref.VG].Remove(ref.LV) },
	})
}
