package orchestrator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Step is one small change of the world. It is data: it can be written to the
// journal, printed, repeated and undone. Do and Undo are idempotent: Do on a
// world where the step was done already, and Undo on one where it was not,
// change nothing and succeed.
type Step interface {
	Do(ctx context.Context, w *World) error
	Undo(ctx context.Context, w *World) error
	String() string
	kind() string
}

// Plan is what a workflow will do, in order. From step NoReturn on it can only
// be finished, not undone.
type Plan struct {
	Workflow string
	Subject  string   // the guest or set it is about
	Guests   []string // the guests no other run may touch meanwhile
	Sets     []string // and the sets
	Steps    []Step
	NoReturn int
	Notes    []string // what the user should know before saying yes

	// again makes the plan from the same request and other facts.
	again func(*Facts) (*Plan, error)
}

// String prints the plan for people: what --dry-run shows.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Plan: %s %s\n\n", p.Workflow, p.Subject)
	for i, s := range p.Steps {
		if i == p.NoReturn && i > 0 {
			b.WriteString("     -- from here on it is finished, not undone --\n")
		}
		fmt.Fprintf(&b, "  %d. %s\n", i+1, s)
	}
	if len(p.Notes) > 0 {
		b.WriteByte('\n')
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "  note: %s\n", n)
	}
	return b.String()
}

// same reports that two plans do the same, but for the UUIDs they invent.
func (p *Plan) same(q *Plan) (bool, error) {
	a, err := p.withoutUUIDs()
	if err != nil {
		return false, err
	}
	b, err := q.withoutUUIDs()
	return bytes.Equal(a, b), err
}

func (p *Plan) withoutUUIDs() ([]byte, error) {
	c := *p
	c.Steps = slices.Clone(p.Steps)
	for i, s := range c.Steps {
		if d, ok := s.(*DefineGuest); ok {
			anon := *d
			anon.UUID = ""
			c.Steps[i] = &anon
		}
	}
	return json.Marshal(&c)
}

// planJSON is a plan in the journal; each step is an object with one key, its
// kind.
type planJSON struct {
	Workflow string                       `json:"workflow"`
	Subject  string                       `json:"subject"`
	Guests   []string                     `json:"guests"`
	Sets     []string                     `json:"sets,omitempty"`
	NoReturn int                          `json:"no_return"`
	Notes    []string                     `json:"notes,omitempty"`
	Steps    []map[string]json.RawMessage `json:"steps"`
}

// MarshalJSON writes the plan as the journal keeps it.
func (p *Plan) MarshalJSON() ([]byte, error) {
	out := planJSON{p.Workflow, p.Subject, p.Guests, p.Sets, p.NoReturn, p.Notes, nil}
	for _, s := range p.Steps {
		b, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		out.Steps = append(out.Steps, map[string]json.RawMessage{s.kind(): b})
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Plan) UnmarshalJSON(b []byte) error {
	var in planJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*p = Plan{Workflow: in.Workflow, Subject: in.Subject, Guests: in.Guests, Sets: in.Sets, NoReturn: in.NoReturn, Notes: in.Notes}
	for i, m := range in.Steps {
		if len(m) != 1 {
			return fmt.Errorf("plan step %d has %d kinds", i, len(m))
		}
		for kind, body := range m {
			s, err := parseStep(kind, body)
			if err != nil {
				return fmt.Errorf("plan step %d: %w", i, err)
			}
			p.Steps = append(p.Steps, s)
		}
	}
	return nil
}

func parseStep(kind string, body json.RawMessage) (Step, error) {
	for _, s := range []Step{&StopGuest{}, &StartGuest{}, &PauseGuest{}, &ResumeGuest{}, &DefineGuest{}, &UndefineGuest{},
		&SaveGuest{}, &ForgetSet{}, &CutSet{}, &RemoveSet{}, &StartMerge{}, &FinishMerge{}} {
		if s.kind() == kind {
			return s, json.Unmarshal(body, s)
		}
	}
	return nil, fmt.Errorf("step kind %q is not known to this version", kind)
}

// Blockers are all the reasons why a workflow cannot be done, found before
// anything was touched.
type Blockers []error

func (b Blockers) Error() string {
	lines := make([]string, len(b))
	for i, e := range b {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is look into each.
func (b Blockers) Unwrap() []error { return b }

func (b *Blockers) add(sentinel error, format string, args ...any) {
	*b = append(*b, &Refusal{fmt.Sprintf(format, args...), sentinel})
}

// err is nil when nothing blocks.
func (b Blockers) err() error {
	if len(b) == 0 {
		return nil
	}
	return b
}

// Refusal is one blocker: what stands in the way, and the sentinel it matches.
type Refusal struct {
	Text string
	Err  error
}

func (r *Refusal) Error() string { return r.Text }
func (r *Refusal) Unwrap() error { return r.Err }

// What a plan is refused for. Those of packages lvm and hypervisor come through
// as they are.
var (
	ErrSetExists  = errors.New("set exists")
	ErrNoSet      = errors.New("no such set")
	ErrNotOnLV    = errors.New("disk is not on a logical volume")
	ErrRunning    = errors.New("guest is running")
	ErrHasTrial   = errors.New("guest has a trial")
	ErrNoTrial    = errors.New("guest has no trial")
	ErrDamaged    = errors.New("snapshot is invalid")
	ErrIncomplete = errors.New("set is incomplete")
	ErrConflict   = errors.New("guest cannot be doubled")
	ErrBadName    = errors.New("name is not allowed")
	ErrUnfinished = errors.New("run stopped half-way")
	ErrUndone     = errors.New("run was undone")
	ErrStale      = errors.New("the host has changed since this was planned")
)
