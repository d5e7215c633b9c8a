package orchestrator

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"cowhand/orchestrator/journal"
)

// Orchestrator runs plans in a world and keeps their journals in a folder.
type Orchestrator struct {
	World   *World
	Journal *journal.Dir
}

// Failure is a run that did not reach its end. It matches [ErrUndone] when the
// world is as it was before, [ErrUnfinished] when recovery has to finish it.
type Failure struct {
	Run   string
	Step  string // the step that failed
	Err   error  // why
	Undo  error  // what went wrong while undoing, nil if nothing did
	State error  // ErrUndone or ErrUnfinished
}

func (f *Failure) Error() string {
	msg := f.Err.Error()
	if f.Undo != nil {
		msg += "; undo: " + f.Undo.Error()
	}
	return msg
}

// Unwrap gives the cause and the state the run was left in.
func (f *Failure) Unwrap() []error { return []error{f.Err, f.State} }

// Run writes the plan to a new journal and does its steps. When a step fails,
// or ctx ends, before the point of no return, what was done is undone; after
// it, the run is left for [Orchestrator.Recover].
//
// The plan was made before its guests and sets were locked, and the user may
// have thought about it for an hour: under the locks it is made again, and
// another outcome is [ErrStale]. An error that is no [Failure] changed nothing.
func (o *Orchestrator) Run(ctx context.Context, p *Plan) error {
	unlock, err := o.World.Files.Lock(p)
	if err != nil {
		return err
	}
	defer unlock()
	if err := o.recoverFirst(p); err != nil {
		return err
	}
	if err := o.current(ctx, p); err != nil {
		return err
	}
	id, err := o.newID(p)
	if err != nil {
		return err
	}
	run, err := o.Journal.Begin(id, p)
	if err != nil {
		return fmt.Errorf("journal of run %s: %w", id, err)
	}
	defer run.Close()
	return o.finish(ctx, run, p, 0)
}

// recoverFirst reports a run about the same guests or sets that waits for
// recovery: whatever is done now, that would take for its own. The locks of the
// plan are held, so that none of those runs is alive.
func (o *Orchestrator) recoverFirst(p *Plan) error {
	ids, err := o.Journal.Unfinished()
	if err != nil {
		return err
	}
	for _, id := range ids {
		recs, err := o.Journal.Read(id)
		if err != nil { // it ended just now, or can never be recovered
			continue
		}
		other, at, err := replay(recs)
		if err != nil || other == nil || at.over(other) || !meet(p.Guests, other.Guests) && !meet(p.Sets, other.Sets) {
			continue
		}
		return fmt.Errorf("%s %s: %w: %s (%s %s): recover that first", p.Workflow, p.Subject, ErrUnfinished, id, other.Workflow, other.Subject)
	}
	return nil
}

func meet(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// current reports that a plan is not what would be planned now.
func (o *Orchestrator) current(ctx context.Context, p *Plan) error {
	f, err := o.Facts(ctx)
	if err != nil {
		return err
	}
	now, err := p.again(f)
	if err != nil {
		return fmt.Errorf("%s %s: %w: %w", p.Workflow, p.Subject, ErrStale, err)
	}
	same, err := p.same(now)
	if err == nil && !same {
		err = fmt.Errorf("%s %s: %w: look at it again", p.Workflow, p.Subject, ErrStale)
	}
	return err
}

func (o *Orchestrator) newID(p *Plan) (string, error) {
	var r [2]byte
	if _, err := io.ReadFull(o.World.Random, r[:]); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s-%s-%s", o.World.Now().UTC().Format("20060102T150405"), p.Workflow, hex.EncodeToString(r[:])), nil
}

// finish does the steps from next on and ends the journal.
func (o *Orchestrator) finish(ctx context.Context, run *journal.Run, p *Plan, next int) error {
	for i := next; i < len(p.Steps); i++ {
		begun, err := o.do(ctx, run, p, i)
		if err == nil {
			continue
		}
		f := &Failure{Run: run.ID, Step: p.Steps[i].String(), Err: err}
		ctx, cancel := cleanup(ctx)
		defer cancel()
		last := i
		if !begun {
			last--
		}
		if last >= p.NoReturn && !(begun && last == p.NoReturn && o.untouched(ctx, p.Steps[last])) {
			f.State = ErrUnfinished
			return f
		}
		f.State, f.Undo = o.undo(ctx, run, p, last)
		return f
	}
	if err := run.End("done"); err != nil {
		return &Failure{Run: run.ID, Step: "end of the run", Err: err, State: ErrUnfinished}
	}
	return nil
}

// untouched reports a step that failed, and of which nothing was done: the first
// that cannot be undone may find at last that it is not possible, or not now.
func (o *Orchestrator) untouched(ctx context.Context, s Step) bool {
	u, ok := s.(interface {
		untouched(context.Context, *World) (bool, error)
	})
	if !ok {
		return false
	}
	is, err := u.untouched(ctx, o.World)
	return err == nil && is
}

func (o *Orchestrator) do(ctx context.Context, run *journal.Run, p *Plan, i int) (begun bool, err error) {
	s := p.Steps[i]
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := run.Append(journal.Record{Kind: journal.Doing, Step: i}); err != nil {
		return false, err
	}
	o.tell(run, p, i, "doing", nil)
	if err := s.Do(ctx, o.World); err != nil {
		o.tell(run, p, i, "failed", err)
		return true, errors.Join(err, run.Append(journal.Record{Kind: journal.Failed, Step: i, Result: err.Error()}))
	}
	o.tell(run, p, i, "done", nil)
	return true, run.Append(journal.Record{Kind: journal.Done, Step: i})
}

// undo takes back steps last..0 and ends the journal. If a step cannot be taken
// back, or not be recorded, the rest is still tried and the run stays open for
// recovery, which undoes it again: a guest must not stay off for want of a record.
func (o *Orchestrator) undo(ctx context.Context, run *journal.Run, p *Plan, last int) (state, err error) {
	for i := last; i >= 0; i-- {
		err = errors.Join(err, run.Append(journal.Record{Kind: journal.Undoing, Step: i}))
		o.tell(run, p, i, "undoing", nil)
		if e := p.Steps[i].Undo(ctx, o.World); e != nil {
			o.tell(run, p, i, "failed", e)
			err = errors.Join(err, fmt.Errorf("%s: %w", p.Steps[i], e))
			continue
		}
		o.tell(run, p, i, "undone", nil)
		err = errors.Join(err, run.Append(journal.Record{Kind: journal.Undone, Step: i}))
	}
	if err != nil {
		return ErrUnfinished, err
	}
	return ErrUndone, run.End("undone")
}

func (o *Orchestrator) tell(run *journal.Run, p *Plan, i int, what string, err error) {
	o.World.tell(Event{Run: run.ID, Step: i + 1, Of: len(p.Steps), What: what, Text: p.Steps[i].String(), Err: err})
}
