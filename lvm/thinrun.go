package lvm

import (
	"context"
	"errors"
	"fmt"

	"cowhand/dmcore"
)

// bringPools makes the thin pools live that units stand on which are active or to
// be activated, and has the kernel catch up with the metadata: a volume whose
// making only the metadata knows could not be mapped. What the kernel has caught
// up with is taken out of the metadata, if the group is locked.
func (e *Engine) bringPools(ctx context.Context, vg *VG, units []touch, locked bool) error {
	if !vg.hasThin() {
		return nil
	}
	devs, err := e.look(ctx)
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, t := range units {
		unit, err := vg.Unit(t.LV)
		if err != nil {
			continue // whoever plans the unit tells
		}
		active := t.activate
		for _, lv := range unit {
			active = active || devs.active(vg, lv)
		}
		if !active {
			continue
		}
		for _, pool := range vg.Pools(unit) {
			if done[pool.Name] {
				continue
			}
			done[pool.Name] = true
			if err := e.bringPool(ctx, vg, pool, locked); err != nil {
				return err
			}
		}
	}
	return nil
}

// bringPool makes one pool live, and sends it the messages that it did not get. A
// pool that does not match its metadata is left as it was found.
func (e *Engine) bringPool(ctx context.Context, vg *VG, pool *LV, locked bool) error {
	acts, err := vg.PoolActivations(pool.Name, ActivateOptions{PVDevice: e.nodes(vg)})
	if err != nil {
		return err
	}
	concerned := map[dmcore.UUID]bool{}
	for _, a := range acts {
		concerned[a.UUID] = true
	}
	live, err := e.carryTo(ctx, vg, concerned, acts)
	if err != nil {
		return err
	}
	err = e.catchUp(ctx, vg, pool, locked)
	if err != nil && !live {
		ctx, cancel := cleanup(ctx)
		defer cancel()
		_, again := e.carryTo(ctx, vg, concerned, nil)
		err = errors.Join(err, again)
	}
	return err
}

// carryTo brings devices of a pool to what is wanted. live reports that the pool
// was live before.
func (e *Engine) carryTo(ctx context.Context, vg *VG, concerned map[dmcore.UUID]bool, want []Activation) (live bool, err error) {
	devs, err := e.look(ctx)
	if err != nil {
		return false, err
	}
	have, err := devs.have(ctx, map[string]*VG{vg.Name: vg}, concerned)
	if err != nil {
		return false, err
	}
	for i := range have {
		have[i].Shared = true
		live = live || have[i].Info.Live && layerOf(have[i].Info.UUID) == layerTPool
	}
	plan, err := PlanDevices(have, want)
	if err != nil {
		return live, err
	}
	return live, e.carryOut(ctx, devs, plan, &commit{e: e}, nil)
}

// catchUp sends a live pool what only the metadata knows.
func (e *Engine) catchUp(ctx context.Context, vg *VG, pool *LV, locked bool) error {
	p := pool.ThinPool()
	if p.fresh() {
		return nil
	}
	u := vg.uuid(pool, layerTPool)
	st, err := e.DM.ThinPoolStatus(ctx, u)
	if err != nil {
		return err
	}
	messages, err := vg.PendingThin(pool.Name, st)
	if err != nil {
		return err
	}
	if len(messages) > 0 {
		if !locked {
			return vg.fail(pool.Name, "", fmt.Errorf("has messages for the kernel, and another works on the group: %w", ErrInUse))
		}
		if err := e.sendThin(ctx, vg, pool, st); err != nil {
			return err
		}
	}
	if len(p.Messages) == 0 || !locked {
		return nil
	}
	return e.forgetMessages(ctx, vg, pool)
}

func (e *Engine) sendThin(ctx context.Context, vg *VG, pool *LV, st dmcore.ThinPoolStatus) error {
	devs, err := e.look(ctx)
	if err != nil {
		return err
	}
	concerned := map[dmcore.UUID]bool{}
	for _, m := range pool.ThinPool().Messages {
		if m.Create == "" {
			continue
		}
		if origin := vg.LV(vg.LV(m.Create).Thin().Origin); origin != nil {
			concerned[vg.uuid(origin, "")], concerned[vg.uuid(origin, layerReal)] = true, true
		}
	}
	have, err := devs.have(ctx, map[string]*VG{vg.Name: vg}, concerned)
	if err != nil {
		return err
	}
	plan, err := vg.PlanThin(pool.Name, st, have)
	if err != nil {
		return err
	}
	if err := e.carryOut(ctx, devs, plan, &commit{e: e}, nil); err != nil {
		return err
	}
	st, err = e.DM.ThinPoolStatus(ctx, vg.uuid(pool, layerTPool))
	if err != nil {
		return err
	}
	if want := pool.ThinPool().TransactionID; st.TransactionID != want {
		return vg.fail(pool.Name, "", fmt.Errorf("transaction id is %d after all messages, %d was expected: %w", st.TransactionID, want, ErrTransaction))
	}
	return nil
}

// forgetMessages commits the group without the messages that the kernel got
// (lvm2 2.03.16, lib/metadata/thin_manip.c, update_pool_lv).
func (e *Engine) forgetMessages(ctx context.Context, vg *VG, pool *LV) error {
	after := vg.Clone()
	after.ForgetMessages(pool.Name)
	c := &commit{e: e, before: map[string]*VG{vg.Name: vg}}
	if err := c.prepare(ctx, map[string]*VG{vg.Name: after}); err != nil {
		return err
	}
	if err := e.carryOut(ctx, &devices{e: e}, Plan{}, c, nil); err != nil {
		return err
	}
	*vg = *c.done[0].VG
	return nil
}
