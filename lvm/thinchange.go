package lvm

import (
	"context"
	"errors"
	"fmt"

	"cowhand/dmcore"
)

// poolChange is a change of groups that the kernel's side of thin pools has to
// follow. Metadata goes first, as with lvm2 (2.03.16, lib/metadata/thin_manip.c,
// update_pool_lv):
//
//	lock ▶ pools live, caught up and fit ▶ change, with messages ▶ messages sent ▶
//	change, without them ▶ activate ▶ pools down that nobody needs ▶ unlock
//
// Who dies between the first commit and the last leaves messages in the metadata,
// which the next to use the pool sends or, if the kernel's transaction id tells
// that they were sent, forgets.
type poolChange struct {
	pools func(map[string]*VG) ([]Ref, error) // of which the kernel is told something
	makes bool                                // volumes are made in them
	edit  func(map[string]*VG) (edit, error)
	then  func(map[string]*VG) []touch                // what is activated in the end
	done  func(context.Context, map[string]*VG) error // after that
	// stands says that the change is not taken back when a message is refused: its
	// devices follow it already.
	stands bool
}

func (e *Engine) changePools(ctx context.Context, groups []string, c poolChange) (err error) {
	unlock, err := e.Locks.VGs(ctx, true, groups...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return e.changePoolsLocked(ctx, groups, c)
}

func (e *Engine) changePoolsLocked(ctx context.Context, groups []string, c poolChange) (err error) {
	before, err := e.loaded(ctx, groups)
	if err != nil {
		return err
	}
	pools, err := c.pools(before)
	if err != nil {
		return err
	}
	for _, ref := range pools {
		was, unfit := e.readyPool(ctx, before[ref.VG], ref.LV, c.makes)
		if unfit != nil {
			return unfit
		}
		defer func() { err = errors.Join(err, e.leavePool(ctx, ref, was)) }()
	}
	if len(pools) > 0 { // catching up is a commit of its own
		if before, err = e.loaded(ctx, groups); err != nil {
			return err
		}
	}
	if err := e.changeLocked(ctx, groups, before, c.edit); err != nil {
		return err
	}
	after, err := e.loaded(ctx, groups)
	if err != nil {
		return err
	}
	for _, ref := range pools {
		vg := after[ref.VG]
		if vg.LV(ref.LV) == nil {
			continue
		}
		if err := e.deliver(ctx, vg, vg.LV(ref.LV), before[ref.VG], c.stands); err != nil {
			return err
		}
	}
	if c.then == nil {
		return nil
	}
	for name, vg := range after {
		var units []touch
		for _, t := range c.then(after) {
			if t.VG == name {
				units = append(units, t)
			}
		}
		if len(units) == 0 {
			continue
		}
		if err := e.bringUnits(ctx, vg, units); err != nil {
			return fmt.Errorf("is made, but not active: %w", err)
		}
	}
	if c.done == nil {
		return nil
	}
	return c.done(ctx, after)
}

// poolWas is how a pool was found.
type poolWas struct {
	top bool // it was active itself, not only for what is in it
}

// readyPool makes a pool live whose metadata and kernel side are to change, or
// reports why it must not be. One that nothing was ever made in is looked at, and
// taken down: its devices get other names (lib/metadata/thin_manip.c,
// check_new_thin_pool).
func (e *Engine) readyPool(ctx context.Context, vg *VG, name string, makes bool) (was poolWas, err error) {
	pool := vg.LV(name)
	if pool == nil || pool.ThinPool() == nil {
		return was, vg.fail(name, "", fmt.Errorf("thin pool: %w", ErrNotFound))
	}
	devs, err := e.look(ctx)
	if err != nil {
		return was, err
	}
	elsewhere, err := e.elsewhere()
	if err != nil {
		return was, err
	}
	if err := vg.leftAlone(pool, elsewhere); err != nil {
		return was, err
	}
	was.top = devs.active(vg, pool)
	if makes && !devs.live(vg.uuid(pool, layerTPool)) {
		if err := vg.allowed(pool); err != nil {
			return was, err
		}
	}
	fit := func() error {
		if err := e.catchUp(ctx, vg, pool, true); err != nil {
			return err
		}
		st, err := e.DM.ThinPoolStatus(ctx, vg.uuid(pool, layerTPool))
		if err != nil {
			return err
		}
		if makes {
			return vg.CheckThinPool(name, st)
		}
		return vg.fail(name, "", vg.unchangeable(name, st))
	}
	if err := e.bringPoolWith(ctx, vg, pool, fit); err != nil {
		return was, err
	}
	if pool.ThinPool().fresh() {
		return was, e.dropPool(ctx, vg, pool)
	}
	return was, nil
}

// dropPool takes down the layers of a pool that nothing stands on.
func (e *Engine) dropPool(ctx context.Context, vg *VG, pool *LV) error {
	acts, err := vg.PoolActivations(pool.Name, e.options(vg))
	if err != nil {
		return err
	}
	concerned := map[dmcore.UUID]bool{}
	for _, a := range acts {
		concerned[a.UUID] = true
	}
	_, err = e.carryTo(ctx, vg, concerned, nil)
	return err
}

// leavePool leaves a pool as active as it was found.
func (e *Engine) leavePool(ctx context.Context, ref Ref, was poolWas) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	vg, err := e.Store.Load(ctx, ref.VG)
	if err != nil {
		return err
	}
	pool := vg.LV(ref.LV)
	if pool == nil || pool.ThinPool() == nil {
		return nil
	}
	if was.top {
		err = e.bringUnits(ctx, vg, []touch{{Ref: ref, activate: true}})
	} else {
		err = e.dropPool(ctx, vg, pool)
	}
	if err != nil {
		return fmt.Errorf("%s: cannot be left as it was found: %w", ref, err)
	}
	return nil
}

// deliver tells the kernel what a commit recorded, and forgets that it has to. If
// the kernel refuses and nothing became of it, the commit is taken back.
func (e *Engine) deliver(ctx context.Context, vg *VG, pool *LV, before *VG, stands bool) error {
	if len(pool.ThinPool().Messages) == 0 {
		return nil
	}
	err := e.bringPoolWith(ctx, vg, pool, func() error {
		st, err := e.DM.ThinPoolStatus(ctx, vg.uuid(pool, layerTPool))
		if err != nil {
			return &unsent{err}
		}
		if err := e.sendThin(ctx, vg, pool, st, false); err != nil {
			return err
		}
		return e.forgetMessages(ctx, vg, pool)
	})
	var back *unsent
	switch {
	case err == nil:
		return nil
	case errors.As(err, &back) && !stands:
		return errors.Join(vg.fail(pool.Name, "", err), e.takeBackCommit(ctx, vg, before))
	}
	return vg.fail(pool.Name, "", fmt.Errorf("%w; it is recorded, and the next activation goes on with it", err))
}

// takeBackCommit makes a group again what it was, as a further commit.
func (e *Engine) takeBackCommit(ctx context.Context, vg, before *VG) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	old := before.Clone()
	old.Seqno = vg.Seqno
	p, err := e.Store.Prepare(ctx, old)
	if err == nil {
		err = p.Commit()
	}
	if err != nil {
		return fmt.Errorf("%s: the change cannot be taken back: %w", vg.Name, err)
	}
	return nil
}

// poolsOf lists the pools that stay although the volumes go.
func poolsOf(groups map[string]*VG, byVG map[string][]string) []Ref {
	var pools []Ref
	for name, vg := range groups {
		seen := map[string]bool{}
		for _, lv := range byVG[name] {
			seen[lv] = true // a pool that goes needs not to be told
		}
		for _, lv := range byVG[name] {
			if l := vg.LV(lv); l != nil && l.Thin() != nil && !seen[l.Thin().Pool] {
				seen[l.Thin().Pool] = true
				pools = append(pools, Ref{name, l.Thin().Pool})
			}
		}
	}
	return pools
}

// SetThinPool changes what a pool does with discards (empty: what it did), with
// new blocks, and with writes when it is full (nil: what it did).
func (e *Engine) SetThinPool(ctx context.Context, ref Ref, discards string, zero, errorWhenFull *bool) error {
	return e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[ref.VG]
		live := false
		if lv := vg.LV(ref.LV); lv != nil {
			_, found, err := e.DM.Find(ctx, vg.uuid(lv, layerTPool))
			if err != nil {
				return edit{}, err
			}
			live = found
		}
		if err := vg.SetThinPool(ref.LV, discards, zero, errorWhenFull, live); err != nil {
			return edit{}, err
		}
		return e.unitsAround(ctx, groups, ref)
	})
}

// SetSkipActivation has a volume activated only when that is insisted on, or as
// any other.
func (e *Engine) SetSkipActivation(ctx context.Context, ref Ref, skip bool) error {
	return e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		return edit{}, groups[ref.VG].SetSkipActivation(ref.LV, skip)
	})
}

// unitsAround is unitsOf the volume and, if it is a pool, of all that is in it.
func (e *Engine) unitsAround(ctx context.Context, groups map[string]*VG, ref Ref) (edit, error) {
	var refs []Ref
	for _, name := range groups[ref.VG].around(ref.LV) {
		refs = append(refs, Ref{ref.VG, name})
	}
	return e.unitsOf(ctx, groups, refs...)
}
