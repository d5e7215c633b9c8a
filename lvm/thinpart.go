package lvm

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"cowhand/dmcore"
)

// PartOf returns the thin pool that a volume is the data or the metadata of, nil if
// it is not.
func (vg *VG) PartOf(name string) *LV { return vg.links().thin.pool[name] }

// PartActivation is the device of a pool's part for who wants to look into it, as
// thin_dump does: read-only, and only while the pool is not live
// (lvm2 2.03.16, tools/lvchange.c; lib/activate/dev_manager.c, visible_component).
func (vg *VG) PartActivation(name string, o ActivateOptions) (a Activation, err error) {
	lv, links := vg.LV(name), vg.links()
	if lv == nil {
		return a, vg.fail(name, "activate", ErrNotFound)
	}
	if links.thin.pool[name] == nil {
		return a, vg.fail(name, "activate", fmt.Errorf("is no part of a thin pool: %w", ErrInvalid))
	}
	if err := vg.canMap(lv); err != nil {
		return a, vg.fail(name, "activate", err)
	}
	m := &mapper{vg: vg, o: o, links: links, done: map[dmcore.UUID]bool{}}
	m.add(lv, links.own(lv), m.stripes(lv))
	if m.err != nil {
		return a, m.err
	}
	a = m.list[0]
	a.ReadOnly = true
	return a, nil
}

// isPart reports a part's device that is live without its pool: nobody else maps one
// read-only.
func isPart(i dmcore.Info) bool {
	layer := layerOf(i.UUID)
	return i.Live && i.ReadOnly && (layer == layerTData || layer == layerTMeta)
}

// ActivatePart makes the device of a pool's part, or removes it.
func (e *Engine) ActivatePart(ctx context.Context, ref Ref, on bool) (err error) {
	unlock, vg, err := e.locked(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	a, err := vg.PartActivation(ref.LV, ActivateOptions{PVDevice: e.nodes(vg)})
	if err != nil {
		return err
	}
	pool := vg.PartOf(ref.LV)
	devs, err := e.look(ctx)
	if err != nil {
		return err
	}
	elsewhere, err := e.elsewhere()
	if err != nil {
		return err
	}
	if err := vg.leftAlone(pool, elsewhere); err != nil {
		return err
	}
	if devs.live(vg.uuid(pool, layerTPool)) {
		return vg.fail(ref.LV, "", fmt.Errorf("its pool %s is active, deactivate that first: %w", pool.Name, ErrInUse))
	}
	var want []Activation
	if on {
		if err := cmp.Or(vg.atHome(), vg.allowed(pool)); err != nil {
			return err
		}
		want = append(want, a)
	}
	have, err := devs.have(ctx, map[string]*VG{vg.Name: vg}, map[dmcore.UUID]bool{a.UUID: true})
	if err != nil {
		return err
	}
	plan, err := PlanDevices(have, want)
	if err != nil {
		return vg.fail(ref.LV, "", err)
	}
	return e.carryOut(ctx, devs, plan, &commit{e: e}, nil)
}
