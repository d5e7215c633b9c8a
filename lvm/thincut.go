package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cowhand/dmcore"
)

// thinSpec is a thin snapshot as its group takes it.
func (r SnapshotRequest) thinSpec(vg *VG) (ThinSpec, error) {
	origin := vg.LV(r.Origin.LV)
	switch {
	case r.Name == "":
		return ThinSpec{}, vg.fail(r.Origin.LV, "snapshot", fmt.Errorf("a thin one of a set needs a name: %w", ErrInvalid))
	case origin == nil:
		return ThinSpec{}, vg.fail(r.Origin.LV, fmt.Sprintf("snapshot %q", r.Name), ErrNotFound)
	case origin.Thin() == nil:
		return ThinSpec{}, vg.fail(r.Origin.LV, fmt.Sprintf("snapshot %q", r.Name), fmt.Errorf("it is no thin volume, and has no thin snapshots: %w", ErrInvalid))
	}
	skip := !r.Activate
	return ThinSpec{Pool: origin.Thin().Pool, Name: r.Name, Origin: r.Origin.LV, ReadOnly: r.ReadOnly, Tags: r.Tags, Skip: &skip, Traits: r.Traits}, nil
}

// thinCut takes snapshots of which some are thin, in any number of pools and
// groups:
//
//	pools live, caught up and fit ▶ commit, with messages ▶
//	suspend all origins ▶ messages sent ▶ commit, without them, with the thick ones ▶ resume
//
// An error before the second commit takes everything back. Who dies between the
// two leaves messages, and no thick snapshot: whoever uses the pool next makes the
// thin ones, of a later instant. That they are of no use shows by [TagUncut], which
// the second commit takes from them.
type thinCut struct {
	e     *Engine
	reqs  []SnapshotRequest
	pools []*pooled
	thick []Ref
}

// TagUncut is borne by thin snapshots of a set that was not cut: they are of
// different instants.
const TagUncut = "cowhand.uncut"

// pooled is a pool, and what it is told in the window.
type pooled struct {
	Ref
	uuid  dmcore.UUID
	steps []Step // the last moves the transaction id
	sent  int
	undo  []dmcore.ThinMessage // what takes the steps back, one each
}

// snapshotThin is Snapshot on locked groups where some of the snapshots are thin.
func (e *Engine) snapshotThin(ctx context.Context, groups []string, reqs []SnapshotRequest) (err error) {
	c := &thinCut{e: e, reqs: reqs}
	before, err := e.loaded(ctx, groups)
	if err != nil {
		return err
	}
	if err := c.try(before); err != nil { // before anything is made live for it
		return err
	}
	for _, p := range c.pools {
		was, unfit := e.readyPool(ctx, before[p.VG], p.LV, true)
		if unfit != nil {
			return unfit
		}
		defer func() { err = errors.Join(err, e.leavePool(ctx, p.Ref, was)) }()
	}
	if before, err = e.loaded(ctx, groups); err != nil { // catching up is a commit of its own
		return err
	}
	if err := e.changeLocked(ctx, groupsOf(c.poolRefs()), before, func(groups map[string]*VG) (edit, error) {
		return edit{}, c.record(groups)
	}); err != nil {
		return err
	}
	recorded, err := e.loaded(ctx, groups)
	if err == nil {
		err = c.prepare(ctx, recorded)
	}
	if err == nil {
		err = e.changeLocked(ctx, groups, recorded, c.cut)
	}
	if err != nil {
		return e.torn(ctx, c.thick, c.takeBack(ctx, before, err))
	}
	return c.activate(ctx)
}

func (c *thinCut) poolRefs() (refs []Ref) {
	for _, p := range c.pools {
		refs = append(refs, p.Ref)
	}
	return refs
}

// try makes the snapshots in copies of the groups, and finds the pools.
func (c *thinCut) try(before map[string]*VG) error {
	for _, vg := range before {
		if err := vg.CanSnapshot(c.reqs); err != nil {
			return err
		}
	}
	for _, r := range c.reqs {
		if !r.Thin {
			continue
		}
		pool := Ref{r.Origin.VG, before[r.Origin.VG].LV(r.Origin.LV).Thin().Pool}
		if !slices.ContainsFunc(c.pools, func(p *pooled) bool { return p.Ref == pool }) {
			c.pools = append(c.pools, &pooled{Ref: pool})
		}
	}
	return nil
}

// CanSnapshot reports why those of the snapshots that are of this group's volumes
// cannot be taken, as far as the metadata tells.
func (vg *VG) CanSnapshot(reqs []SnapshotRequest) error {
	next := vg.Clone()
	for _, lv := range next.LVs {
		if p := lv.ThinPool(); p != nil { // what is pending is caught up with first
			p.Messages = nil
		}
	}
	var thick []SnapshotSpec
	for _, r := range reqs {
		if r.Origin.VG == vg.Name && !r.Thin {
			thick = append(thick, r.Spec())
		}
	}
	_, err := next.AddSnapshots(thick)
	return errors.Join(err, next.addThinSnapshots(reqs, Stamp{}))
}

// addThinSnapshots adds the thin ones of this group, and what their pools are to be
// told.
func (vg *VG) addThinSnapshots(reqs []SnapshotRequest, stamp Stamp) error {
	var specs []ThinSpec
	for _, r := range reqs {
		if !r.Thin || r.Origin.VG != vg.Name {
			continue
		}
		s, err := r.thinSpec(vg)
		if err != nil {
			return err
		}
		s.Stamp = stamp
		specs = append(specs, s)
	}
	if len(specs) == 0 {
		return nil
	}
	_, err := vg.AddThins(specs)
	return err
}

// record does that in each group.
func (c *thinCut) record(groups map[string]*VG) error {
	for _, vg := range groups {
		if err := vg.addThinSnapshots(c.reqs, c.e.stamp()); err != nil {
			return err
		}
	}
	return c.each(groups, func(vg *VG, lv string) error { return vg.AddTags(lv, TagUncut) })
}

// each calls f for the thin snapshots.
func (c *thinCut) each(groups map[string]*VG, f func(vg *VG, lv string) error) error {
	for _, r := range c.reqs {
		if r.Thin {
			if err := f(groups[r.Origin.VG], r.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepare finds out what the pools are told.
func (c *thinCut) prepare(ctx context.Context, recorded map[string]*VG) error {
	for _, p := range c.pools {
		vg := recorded[p.VG]
		pool := vg.LV(p.LV)
		p.uuid = vg.uuid(pool, layerTPool)
		st, err := c.e.DM.ThinPoolStatus(ctx, p.uuid)
		if err != nil {
			return err
		}
		plan, err := vg.PlanThin(p.LV, st, nil)
		if err != nil {
			return err
		}
		p.steps = plan.Suspend
		for _, m := range pool.ThinPool().Messages {
			p.undo = append(p.undo, dmcore.DeleteThin(vg.LV(m.Create).Thin().DeviceID))
		}
		id := pool.ThinPool().TransactionID
		p.undo = append(p.undo, dmcore.SetTransactionID(id, id-1))
	}
	return nil
}

// cut is the change in whose window the messages are sent.
func (c *thinCut) cut(groups map[string]*VG) (ed edit, err error) {
	for _, p := range c.pools {
		groups[p.VG].ForgetMessages(p.LV)
	}
	if err := c.each(groups, func(vg *VG, lv string) error { return vg.DelTags(lv, TagUncut) }); err != nil {
		return ed, err
	}
	if ed, c.thick, err = c.e.addThick(groups, c.reqs); err != nil {
		return ed, err
	}
	for _, r := range c.reqs {
		if r.Thin {
			ed.units = append(ed.units, touch{Ref: r.Origin, noMerging: true, hold: true})
		}
	}
	ed.still = c.send
	return ed, nil
}

// send tells the pools everything; then moves their transaction ids.
func (c *thinCut) send(ctx context.Context) error {
	devs := &devices{e: c.e}
	tell := func(p *pooled, upTo int) error {
		for p.sent < upTo {
			if err := devs.run(ctx, p.steps[p.sent:p.sent+1]); err != nil {
				return err
			}
			p.sent++
		}
		return nil
	}
	for _, p := range c.pools {
		if err := tell(p, len(p.steps)-1); err != nil {
			return err
		}
	}
	for _, p := range c.pools {
		if err := tell(p, len(p.steps)); err != nil {
			return err
		}
	}
	return nil
}

// takeBack makes pools and groups again what they were, unless the second commit
// stands.
func (c *thinCut) takeBack(ctx context.Context, before map[string]*VG, wrong error) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	groups := groupsOf(c.poolRefs())
	now, err := c.e.loaded(ctx, groups)
	if err != nil {
		return errors.Join(wrong, err)
	}
	for _, p := range c.pools {
		if pool := now[p.VG].LV(p.LV); pool == nil || len(pool.ThinPool().Messages) == 0 {
			return wrong
		}
	}
	for _, p := range c.pools {
		for p.sent > 0 {
			if err := c.e.DM.SendThin(ctx, p.uuid, p.undo[p.sent-1]); err != nil {
				return fmt.Errorf("%w; %s: cannot be taken back: %w: its snapshots are recorded, and the next activation makes them: remove them", wrong, p.Ref, err)
			}
			p.sent--
		}
	}
	for _, name := range groups {
		wrong = errors.Join(wrong, c.e.takeBackCommit(ctx, now[name], before[name]))
	}
	return wrong
}

// activate activates the thin ones that are to be used.
func (c *thinCut) activate(ctx context.Context) error {
	units := map[string][]touch{}
	for _, r := range c.reqs {
		if r.Thin && r.Activate {
			units[r.Origin.VG] = append(units[r.Origin.VG], touch{Ref: Ref{r.Origin.VG, r.Name}, activate: true, noMerging: true})
		}
	}
	for _, name := range groupsOf(origins(c.reqs)) {
		if len(units[name]) == 0 {
			continue
		}
		vg, err := c.e.Store.Load(ctx, name)
		if err != nil {
			return err
		}
		if err := c.e.bringUnits(ctx, vg, units[name]); err != nil {
			return fmt.Errorf("is taken, but not active: %w", err)
		}
	}
	return nil
}
