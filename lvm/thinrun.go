package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

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
// pool that does not match its metadata is left as it was found. One that takes no
// messages can still be read: that is warned of.
func (e *Engine) bringPool(ctx context.Context, vg *VG, pool *LV, locked bool) error {
	return e.bringPoolWith(ctx, vg, pool, func() error {
		if err := e.catchUp(ctx, vg, pool, locked); err != nil {
			return err
		}
		if err := e.poolChangeable(ctx, vg, pool.Name); err != nil {
			e.warn(err)
		}
		return nil
	})
}

// bringPoolWith makes one pool live, and has what is to follow done then.
func (e *Engine) bringPoolWith(ctx context.Context, vg *VG, pool *LV, follow func() error) error {
	acts, err := vg.PoolActivations(pool.Name, e.options(vg))
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
	err = follow()
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
		if err := e.letGo(ctx, vg, pool); err != nil {
			return err
		}
		if err := e.sendThin(ctx, vg, pool, st, true); err != nil {
			return err
		}
	}
	if len(p.Messages) == 0 || !locked {
		return nil
	}
	return e.forgetMessages(ctx, vg, pool)
}

// letGo brings devices to the metadata that are mapped to what a pool is to delete:
// who died before he told the pool left them so.
func (e *Engine) letGo(ctx context.Context, vg *VG, pool *LV) error {
	gone := map[uint32]bool{}
	for _, m := range pool.ThinPool().Messages {
		if m.Create == "" {
			gone[m.Delete] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	devs, err := e.look(ctx)
	if err != nil {
		return err
	}
	var units []touch
	for _, lv := range vg.ThinVolumes(pool.Name) {
		if !devs.active(vg, lv) {
			continue
		}
		t, err := e.DM.Table(ctx, vg.uuid(lv, ""))
		if err != nil {
			return err
		}
		if len(t) != 1 {
			continue
		}
		if target, ok := t[0].Target.(dmcore.Thin); ok && gone[target.DeviceID] {
			units = append(units, touch{Ref: Ref{vg.Name, lv.Name}, noMerging: true})
		}
	}
	same := map[string]*VG{vg.Name: vg}
	plan, err := devs.plan(ctx, same, same, units, true)
	if err != nil {
		return err
	}
	return e.carryOut(ctx, devs, plan, &commit{e: e}, nil)
}

// sendThin sends a live pool what its metadata lists. again says that a process
// may have died while it did the same: what the messages ask for may be there.
// Otherwise volumes that were made before a message was refused are deleted, and
// if that leaves the pool as it was the error is an [unsent].
func (e *Engine) sendThin(ctx context.Context, vg *VG, pool *LV, st dmcore.ThinPoolStatus, again bool) error {
	devs, err := e.look(ctx)
	if err != nil {
		return &unsent{err}
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
		return &unsent{err}
	}
	plan, err := vg.PlanThin(pool.Name, st, have)
	if err != nil {
		return &unsent{err}
	}
	var messages []Step
	plan.Suspend = slices.DeleteFunc(plan.Suspend, func(s Step) bool {
		if s.Do == dmcore.Message {
			messages = append(messages, s)
		}
		return s.Do == dmcore.Message
	})
	sent := 0
	err = e.carryOut(ctx, devs, plan, &commit{e: e}, func(ctx context.Context) error {
		for _, s := range messages {
			err := devs.run(ctx, []Step{s})
			if err != nil && !(again && doneBefore(s, err)) {
				return err
			}
			sent++
		}
		return nil
	})
	u := vg.uuid(pool, layerTPool)
	if sent < len(messages) {
		if !again && e.takeBack(ctx, vg, pool, u, sent) {
			err = &unsent{err}
		}
		return err
	}
	if err != nil { // all was sent, but I/O may be kept waiting
		return err
	}
	if st, err = e.DM.ThinPoolStatus(ctx, u); err != nil {
		return err
	}
	if want := pool.ThinPool().TransactionID; st.TransactionID != want {
		return vg.fail(pool.Name, "", fmt.Errorf("transaction id is %d after all messages, %d was expected: %w", st.TransactionID, want, ErrTransaction))
	}
	return nil
}

// unsent is a failure after which a pool is as it was before anything was sent.
type unsent struct{ err error }

func (e *unsent) Error() string { return e.err.Error() }
func (e *unsent) Unwrap() error { return e.err }

// doneBefore reports a refusal because what was asked for is there: the volume
// that is to be made, or no volume where one is to be deleted (Linux 6.1,
// drivers/md/dm-thin-metadata.c, __create_thin and __delete_device).
func doneBefore(s Step, err error) bool {
	if strings.HasPrefix(s.Text, "delete ") {
		return errors.Is(err, unix.ENODATA) || errors.Is(err, dmcore.ErrNotFound)
	}
	return strings.HasPrefix(s.Text, "create_") && (errors.Is(err, unix.EEXIST) || errors.Is(err, dmcore.ErrExists))
}

// takeBack deletes the volumes that the first messages made, and reports whether
// the pool is as it was.
func (e *Engine) takeBack(ctx context.Context, vg *VG, pool *LV, u dmcore.UUID, sent int) bool {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	for _, m := range pool.ThinPool().Messages[:sent] {
		if m.Create == "" { // what is deleted does not come back
			return false
		}
		if e.DM.SendThin(ctx, u, dmcore.DeleteThin(vg.LV(m.Create).Thin().DeviceID)) != nil {
			return false
		}
	}
	st, err := e.DM.ThinPoolStatus(ctx, u)
	return err == nil && st.State == dmcore.ThinOK && st.TransactionID+1 == pool.ThinPool().TransactionID
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
