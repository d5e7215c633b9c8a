package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"cowhand/orchestrator/journal"
)

// Outcome is what became of an unfinished run.
type Outcome struct {
	Run      string `json:"run"`
	Workflow string `json:"workflow"`
	Subject  string `json:"subject"`
	Step     string `json:"step,omitempty"` // where it stood
	Result   string `json:"result"`         // "unfinished", "running", "finished", "undone", "failed"
	Err      error  `json:"-"`
}

// List tells which runs have not ended and changes nothing.
func (o *Orchestrator) List() ([]Outcome, error) {
	return o.each(func(run *journal.Run, p *Plan, at position, out *Outcome) {
		out.Result = "unfinished"
	})
}

// Recover finishes or undoes every run whose process died: those that had
// passed their point of no return are finished, the others undone. One whose
// steps were all done is finished whatever they were: its outcome may have been
// used since. One that fails does not keep it from the rest.
func (o *Orchestrator) Recover(ctx context.Context) ([]Outcome, error) {
	return o.each(func(run *journal.Run, p *Plan, at position, out *Outcome) {
		unlock, err := o.World.Files.Lock(p)
		if err != nil {
			out.Result, out.Err = "failed", err
			return
		}
		defer unlock()
		if !at.undoing && at.reached >= p.NoReturn {
			out.Result = "finished"
			if out.Err = o.finish(ctx, run, p, at.next); errors.Is(out.Err, ErrUndone) {
				out.Result = "undone"
				return
			}
		} else {
			out.Result = "undone"
			if state, err := o.undo(ctx, run, p, at.reached); state != ErrUndone {
				out.Err = err
			}
		}
		if out.Err != nil {
			out.Result = "failed"
		}
	})
}

// each calls f for every unfinished run of a dead process.
func (o *Orchestrator) each(f func(*journal.Run, *Plan, position, *Outcome)) ([]Outcome, error) {
	ids, err := o.Journal.Unfinished()
	if err != nil {
		return nil, err
	}
	var outs []Outcome
	for _, id := range ids {
		out := Outcome{Run: id}
		run, recs, err := o.Journal.Take(id)
		if err != nil {
			out.Result, out.Err = "failed", err
			if errors.Is(err, journal.ErrRunning) {
				out.Result, out.Err = "running", nil
			}
			outs = append(outs, out)
			continue
		}
		out.settle(run, recs, f)
		outs = append(outs, out)
	}
	return outs, nil
}

// settle fills in the outcome of a run that was taken, and lets go of it.
func (out *Outcome) settle(run *journal.Run, recs []journal.Record, f func(*journal.Run, *Plan, position, *Outcome)) {
	defer run.Close()
	p, at, err := replay(recs)
	switch {
	case err != nil:
		out.Result, out.Err = "failed", err
		return
	case p == nil: // it died before the plan was durable: nothing was touched
		out.Result, out.Err = "undone", run.End("undone")
		return
	}
	out.Workflow, out.Subject = p.Workflow, p.Subject
	if at.ended == "" && at.over(p) {
		at.ended = "done"
	}
	if at.ended != "" { // it died before it was put away
		out.Result, out.Err = results[at.ended], run.End(at.ended)
		return
	}
	if at.reached >= 0 {
		out.Step = p.Steps[at.reached].String()
	}
	f(run, p, at, out)
}

// results are how a run ended, as its journal says it, in an [Outcome].
var results = map[string]string{"done": "finished", "undone": "undone"}

// position is how far a run came.
type position struct {
	reached int  // the last step that was begun, -1 for none
	next    int  // the first step that was not done
	undoing bool // it was on its way back
	ended   string
}

// over tells that there was nothing left to do but to put the journal away.
func (at position) over(p *Plan) bool {
	return at.ended != "" || at.next == len(p.Steps) && !at.undoing
}

// replay reads a run's records. The plan is nil if the journal is empty.
func replay(recs []journal.Record) (*Plan, position, error) {
	at := position{reached: -1}
	if len(recs) == 0 {
		return nil, at, nil
	}
	if recs[0].Kind != journal.Begin {
		return nil, at, fmt.Errorf("begins with %q: %w", recs[0].Kind, journal.ErrCorrupt)
	}
	p := new(Plan)
	if err := json.Unmarshal(recs[0].Data, p); err != nil {
		return nil, at, err
	}
	for _, r := range recs[1:] {
		if r.Kind != journal.End && (r.Step < 0 || r.Step >= len(p.Steps)) {
			return nil, at, fmt.Errorf("record %d names step %d of %d: %w", r.Seq, r.Step, len(p.Steps), journal.ErrCorrupt)
		}
		switch r.Kind {
		case journal.Doing:
			at.reached = max(at.reached, r.Step)
		case journal.Done:
			at.next = r.Step + 1
		case journal.Undoing:
			at.undoing = true
		case journal.End:
			at.ended = r.Result
		}
	}
	return p, at, nil
}
