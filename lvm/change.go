package lvm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// edit is what a change does to the groups, as values, and what that means for
// their devices.
type edit struct {
	units []touch // whose devices have to follow
	fresh []blank // volumes made on free extents that must be zeroed first
	// still is asked while everything is suspended, just before the commit;
	// an error calls the change off.
	still func(context.Context) error
	// readAhead says that it is to be set of devices that keep their tables, too.
	readAhead bool
}

// touch is a unit that a change concerns, named by any of its volumes. If it is
// active its devices follow the change; if not, nothing is mapped of it unless it is
// to be activated.
type touch struct {
	Ref
	activate  bool // although it is not active now
	noMerging bool // a merge that is recorded goes on waiting: somebody may have the unit open
	waiting   bool // a thin snapshot that waits to be merged is mapped, see [ActivateOptions]
	hold      bool // its I/O waits meanwhile, also if its devices stay as they are
}

// change edits groups and carries the difference out: one commit in each group,
// at one instant for all their devices.
//
//	lock ▶ load ▶ edit ▶ plan ▶ zero ▶ precommit ▶ prepare devices ▶
//	suspend ▶ commit ▶ resume ▶ clean up ▶ unlock
//
// Up to the commit everything is taken back on an error; after it everything is
// gone on with, and errors are reported.
func (e *Engine) change(ctx context.Context, groups []string, f func(map[string]*VG) (edit, error)) (err error) {
	unlock, err := e.Locks.VGs(ctx, true, groups...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	before, err := e.loaded(ctx, groups)
	if err != nil {
		return err
	}
	return e.changeLocked(ctx, groups, before, f)
}

// loaded reads groups.
func (e *Engine) loaded(ctx context.Context, groups []string) (map[string]*VG, error) {
	all := map[string]*VG{}
	for _, name := range groups {
		vg, err := e.Store.Load(ctx, name)
		if err != nil {
			return nil, err
		}
		all[name] = vg
	}
	return all, nil
}

// changeLocked is change on groups that are locked, as they were read since.
func (e *Engine) changeLocked(ctx context.Context, groups []string, before map[string]*VG, f func(map[string]*VG) (edit, error)) error {
	after := map[string]*VG{}
	for _, name := range groups {
		after[name] = before[name].Clone()
	}
	ed, err := f(after)
	if err != nil {
		return err
	}
	for _, name := range groups {
		if err := after[name].Validate(); err != nil {
			return err
		}
	}
	devs, err := e.swept(ctx, before)
	if err != nil {
		return err
	}
	plan, err := devs.plan(ctx, before, after, ed.units, true)
	if err != nil {
		return err
	}
	if ed.readAhead {
		plan.loaded = plan.wanted
	}
	for _, name := range groups {
		if after[name].FreeExtents() < before[name].FreeExtents() {
			if err := devs.held(after[name], before[name]); err != nil {
				return err
			}
		}
	}
	for _, b := range ed.fresh {
		zero := e.zero
		if b.part {
			zero = e.zeroPart
		}
		if err := zero(after[b.VG], b); err != nil {
			return err
		}
	}
	c := &commit{e: e, before: before}
	if err := c.prepare(ctx, after); err != nil {
		return err
	}
	return e.carryOut(ctx, devs, plan, c, ed.still)
}

// carryOut brings the devices to what the plan says, with the commit in the
// middle.
func (e *Engine) carryOut(ctx context.Context, devs *devices, plan Plan, c *commit, still func(context.Context) error) error {
	undo := func(err error) error {
		ctx, cancel := cleanup(ctx)
		defer cancel()
		return errors.Join(err, devs.undo(ctx, plan), c.abort(), e.settle(ctx, devs))
	}
	armed := e.arm(ctx, plan)
	err := devs.run(ctx, plan.Prepare)
	guard, unguarded := armed()
	if err = errors.Join(err, unguarded); err == nil {
		err = guard.Begin()
	}
	if err != nil {
		return errors.Join(undo(err), guard.Done())
	}
	ctx, cancel := cleanup(ctx) // who interrupts us now must not keep I/O waiting
	defer cancel()
	err = e.window(ctx, devs, plan, c, still)
	if !c.stands {
		return errors.Join(undo(err), guard.Done())
	}
	if err := guard.Done(); err != nil { // the change stands, whatever became of the guardian
		e.warn(err)
	}
	// What cannot be cleaned up is found again by the next change.
	err = errors.Join(err, devs.runAll(ctx, plan.Cleanup), e.settle(ctx, devs))
	devs.setReadAheads(plan.loaded)
	c.after()
	return err
}

// window is the time in which I/O waits: nothing in it may need a file system, or
// memory that is not there. On an error before the commit nothing is resumed.
func (e *Engine) window(ctx context.Context, devs *devices, plan Plan, c *commit, still func(context.Context) error) error {
	if err := e.suspend(ctx, devs, plan, still); err != nil {
		return err
	}
	if err := c.commit(); err != nil {
		return err
	}
	return devs.resume(ctx, plan.Resume)
}

// suspend suspends everything, and asks still. It gives up when that takes too
// long: a device waits for the I/O that is under way, and with it all that were
// suspended before.
func (e *Engine) suspend(ctx context.Context, devs *devices, plan Plan, still func(context.Context) error) error {
	window := cmp.Or(e.Window, DefaultWindow)
	ctx, cancel := context.WithTimeoutCause(ctx, window, fmt.Errorf("devices took longer to suspend than the %s that are allowed", window))
	defer cancel()
	if err := devs.run(ctx, plan.Suspend); err != nil {
		return err
	}
	if still != nil {
		if err := still(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// DefaultWindow is how long devices may take to suspend.
const DefaultWindow = 10 * time.Second

// Guardian is somebody who stands by while devices are suspended.
type Guardian interface {
	// Begin is called just before the first device is suspended: from then on it
	// must not take too long.
	Begin() error
	// Done is called when none is any more.
	Done() error
}

// noGuardian is there where none is needed.
type noGuardian struct{}

func (noGuardian) Begin() error { return nil }
func (noGuardian) Done() error  { return nil }

// arm has the guardian come, if anything is going to be suspended, while other
// things are prepared. The function returned waits until it is there; its Done
// may be called in any case.
func (e *Engine) arm(ctx context.Context, plan Plan) func() (Guardian, error) {
	if e.Guard == nil || len(plan.Suspend) == 0 {
		return func() (Guardian, error) { return noGuardian{}, nil }
	}
	type come struct {
		guard Guardian
		err   error
	}
	comes := make(chan come, 1)
	go func() {
		guard, err := e.Guard(ctx, plan.suspended())
		comes <- come{guard, err}
	}()
	return func() (Guardian, error) {
		c := <-comes
		if c.err != nil {
			return noGuardian{}, c.err
		}
		return c.guard, nil
	}
}

// settle waits until the device nodes are as the devices are, if any changed.
// However long that takes: the change is made, and the device mapper bounds it.
func (e *Engine) settle(ctx context.Context, devs *devices) error {
	if !devs.changed {
		return nil
	}
	return e.DM.Settle(context.WithoutCancel(ctx))
}

// commit is the metadata side of a change: several groups that become new
// together.
type commit struct {
	e       *Engine
	before  map[string]*VG
	names   []string
	pending map[string]*Pending
	done    []*Pending // as committed
	stands  bool       // all are committed: there is no way back
}

// prepare writes the new texts where no reader looks yet. On an error nothing
// is left behind.
func (c *commit) prepare(ctx context.Context, after map[string]*VG) error {
	c.pending = map[string]*Pending{}
	for name := range after {
		c.names = append(c.names, name)
	}
	slices.Sort(c.names)
	for _, name := range c.names {
		err := c.e.trace("%s: precommit", name)
		if err == nil {
			c.pending[name], err = c.e.Store.Prepare(ctx, after[name])
		}
		if err != nil {
			delete(c.pending, name)
			return errors.Join(err, c.abort())
		}
	}
	return nil
}

// commit makes the groups new, one after another. If one cannot be, those that
// are new already get their old contents again, as a further commit.
func (c *commit) commit() error {
	for _, name := range c.names {
		err := c.e.trace("%s: commit", name)
		if err == nil {
			err = c.e.decided(c.pending[name], c.pending[name].Commit())
		}
		if err != nil {
			return errors.Join(err, c.revert())
		}
		c.done = append(c.done, c.pending[name])
		delete(c.pending, name)
	}
	c.stands = true
	return nil
}

// decided looks at the disks where a commit could neither be made nor taken back
// for certain: what they say is what the devices have to follow.
func (e *Engine) decided(p *Pending, err error) error {
	if !errors.Is(err, ErrUndecided) {
		return err
	}
	ctx, cancel := cleanup(context.Background())
	defer cancel()
	now, again := e.Store.Load(ctx, p.VG.Name)
	if again != nil || now.Seqno != p.VG.Seqno {
		return errors.Join(err, again)
	}
	return nil
}

func (c *commit) revert() error {
	ctx, cancel := cleanup(context.Background())
	defer cancel()
	var errs []error
	for _, d := range c.done {
		vg := d.VG
		old := c.before[vg.Name].Clone()
		old.Seqno = vg.Seqno
		p, err := c.e.Store.PrepareSuspended(ctx, old)
		if err == nil {
			err = p.Commit()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: the change cannot be taken back: %w", vg.Name, err))
		}
	}
	c.done = nil
	return errors.Join(errs...)
}

// after does what follows a commit that stands: the copies in files, and news of
// areas that did not take it.
func (c *commit) after() {
	for _, p := range c.done {
		for _, err := range p.Degraded {
			c.e.warn(err)
		}
		if err := c.e.Store.Backup(p.VG); err != nil {
			c.e.warn(err)
		}
	}
}

// abort forgets what was prepared and not committed.
func (c *commit) abort() error {
	if c == nil {
		return nil
	}
	var errs []error
	for _, p := range c.pending {
		errs = append(errs, p.Abort())
	}
	c.pending = nil
	return errors.Join(errs...)
}
