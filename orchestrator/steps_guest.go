package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cowhand/hypervisor"
	"cowhand/lvm"
)

// state looks a guest up; a guest that does not exist is off and nil.
func state(ctx context.Context, w *World, name string) (hypervisor.Guest, hypervisor.State, error) {
	g, err := w.Guests.Guest(ctx, name)
	if errors.Is(err, hypervisor.ErrNotFound) {
		return nil, hypervisor.ShutOff, nil
	}
	if err != nil {
		return nil, hypervisor.Unknown, err
	}
	s, err := g.State(ctx)
	return g, s, err
}

// StopGuest powers a guest off: gracefully within Timeout, or at once. If Set is
// given it does so only to a guest that is marked as that set's: another may
// have got the name.
type StopGuest struct {
	Guest   string        `json:"guest"`
	Set     string        `json:"set,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"`
	Hard    bool          `json:"hard,omitempty"`
	WasUp   bool          `json:"was_up,omitempty"` // undo starts it again
}

func (s *StopGuest) kind() string { return "stop_guest" }

func (s *StopGuest) String() string {
	if s.Hard {
		return "power " + s.Guest + " off at once"
	}
	return fmt.Sprintf("shut %s down (within %s)", s.Guest, s.Timeout)
}

// Do is done when the guest is off.
func (s *StopGuest) Do(ctx context.Context, w *World) error {
	g, st, err := state(ctx, w, s.Guest)
	if err != nil || !st.Up() {
		return err
	}
	if ours, err := s.ours(ctx, g); err != nil || !ours {
		return err
	}
	if s.Hard {
		err = g.Destroy(ctx)
	} else {
		err = s.shutdown(ctx, g)
	}
	if errors.Is(err, hypervisor.ErrNotRunning) {
		return nil
	}
	return err
}

func (s *StopGuest) ours(ctx context.Context, g hypervisor.Guest) (bool, error) {
	if s.Set == "" {
		return true, nil
	}
	xml, err := g.XML(ctx)
	if err != nil {
		return false, err
	}
	return markedAs(xml, s.Set)
}

// markedAs reports a guest that was made for the set.
func markedAs(xml, set string) (bool, error) {
	m, ok, err := hypervisor.ReadMark(xml)
	return ok && m.Set == set, err
}

func (s *StopGuest) shutdown(ctx context.Context, g hypervisor.Guest) error {
	patience, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	err := g.Shutdown(patience)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &hypervisor.Error{Op: fmt.Sprintf("shut down within %s", s.Timeout), Guest: s.Guest, Err: hypervisor.ErrTimeout}
	}
	return err
}

// Undo starts a guest that was up before.
func (s *StopGuest) Undo(ctx context.Context, w *World) error {
	g, st, err := state(ctx, w, s.Guest)
	if err != nil || g == nil || !s.WasUp || !st.Off() {
		return err
	}
	if ours, err := s.ours(ctx, g); err != nil || !ours {
		return err
	}
	return g.Start(ctx)
}

// StartGuest starts a guest. Undo powers off only one that was made for Set.
type StartGuest struct {
	Guest string `json:"guest"`
	Set   string `json:"set,omitempty"`
}

func (s *StartGuest) kind() string   { return "start_guest" }
func (s *StartGuest) String() string { return "start " + s.Guest }

// Do is done when the guest is up.
func (s *StartGuest) Do(ctx context.Context, w *World) error {
	g, err := w.Guests.Guest(ctx, s.Guest)
	if err != nil {
		return err
	}
	if err := g.Start(ctx); !errors.Is(err, hypervisor.ErrRunning) {
		return err
	}
	return nil
}

// Undo powers a trial or clone off.
func (s *StartGuest) Undo(ctx context.Context, w *World) error {
	if s.Set == "" {
		return nil
	}
	return (&StopGuest{Guest: s.Guest, Set: s.Set, Hard: true}).Do(ctx, w)
}

// PauseGuest stops a guest's processors.
type PauseGuest struct {
	Guest string `json:"guest"`
}

func (s *PauseGuest) kind() string   { return "pause_guest" }
func (s *PauseGuest) String() string { return "pause " + s.Guest }

// Do pauses a guest that runs.
func (s *PauseGuest) Do(ctx context.Context, w *World) error {
	g, st, err := state(ctx, w, s.Guest)
	if err != nil || st != hypervisor.Running {
		return err
	}
	return g.Pause(ctx)
}

// Undo lets it go on.
func (s *PauseGuest) Undo(ctx context.Context, w *World) error {
	return (&ResumeGuest{s.Guest}).Do(ctx, w)
}

// ResumeGuest lets a paused guest go on.
type ResumeGuest struct {
	Guest string `json:"guest"`
}

func (s *ResumeGuest) kind() string   { return "resume_guest" }
func (s *ResumeGuest) String() string { return "resume " + s.Guest }

// Do resumes a guest that is paused.
func (s *ResumeGuest) Do(ctx context.Context, w *World) error {
	g, st, err := state(ctx, w, s.Guest)
	if err != nil || st != hypervisor.Paused {
		return err
	}
	return g.Resume(ctx)
}

// Undo leaves the guest running: that is how it was before its pause.
func (s *ResumeGuest) Undo(context.Context, *World) error { return nil }

// SaveGuest keeps a guest's definition beside the journal, with the set.
type SaveGuest struct {
	Guest string `json:"guest"`
	Set   string `json:"set"`
}

func (s *SaveGuest) kind() string   { return "save_guest" }
func (s *SaveGuest) String() string { return "save the definition of " + s.Guest }

// Do writes the definition.
func (s *SaveGuest) Do(ctx context.Context, w *World) error {
	g, err := w.Guests.Guest(ctx, s.Guest)
	if err != nil {
		return err
	}
	xml, err := g.XML(ctx)
	if err != nil {
		return err
	}
	return w.Files.saveDefinition(s.Set, s.Guest, xml)
}

// Undo removes it.
func (s *SaveGuest) Undo(_ context.Context, w *World) error { return w.Files.forgetSet(s.Set) }

// DefineGuest defines a double of a guest whose disks are snapshots. The
// definition is made when the step is done, not kept in the plan: it may hold
// passwords.
type DefineGuest struct {
	Guest     string             `json:"guest"` // the original
	As        string             `json:"as"`
	UUID      string             `json:"uuid"`
	Set       string             `json:"set"`
	Role      Role               `json:"role"`
	Disks     map[string]lvm.Ref `json:"disks"` // by target
	FreshMACs bool               `json:"fresh_macs,omitempty"`
	Network   hypervisor.Network `json:"network,omitempty"`
}

func (s *DefineGuest) kind() string { return "define_guest" }

func (s *DefineGuest) String() string {
	text := fmt.Sprintf("define %s: %s with %d disk(s) on the snapshots, new UUID", s.As, s.Guest, len(s.Disks))
	if s.FreshMACs {
		text += " and MAC addresses"
	}
	if s.Network != hypervisor.Same {
		text += ", network " + s.Network.String()
	}
	return text
}

func (s *DefineGuest) change(w *World) hypervisor.Rewrite {
	r := hypervisor.Rewrite{Name: s.As, UUID: s.UUID, Network: s.Network, FreshGenID: true,
		Disks: map[string]hypervisor.DiskSource{}, Beside: s.Role == RoleClone,
		Mark: &hypervisor.Mark{Set: s.Set, Role: string(s.Role), Of: s.Guest}}
	for target, ref := range s.Disks {
		r.Disks[target] = w.Disks.Source(ref)
	}
	if s.FreshMACs {
		r.FreshMACs = w.FreshMAC
	}
	return r
}

// rewrite makes the definition and what has to be done beside it. Conflicts
// are an error.
func (s *DefineGuest) rewrite(xml string, w *World) (hypervisor.Review, error) {
	review, err := hypervisor.Examine(xml, s.change(w))
	if err != nil {
		return review, err
	}
	var b Blockers
	for _, c := range review.Conflicts {
		b.add(ErrConflict, "guest %s: %s", s.Guest, c)
	}
	return review, b.err()
}

// Do defines the guest, if it is not there already with our UUID.
func (s *DefineGuest) Do(ctx context.Context, w *World) error {
	old, err := w.Guests.Guest(ctx, s.As)
	if err == nil && old.UUID() == s.UUID {
		return nil
	}
	if err == nil {
		return &hypervisor.Error{Op: "define", Guest: s.As, Err: hypervisor.ErrExists}
	}
	if !errors.Is(err, hypervisor.ErrNotFound) {
		return err
	}
	g, err := w.Guests.Guest(ctx, s.Guest)
	if err != nil {
		return err
	}
	xml, err := g.XML(ctx)
	if err != nil {
		return err
	}
	review, err := s.rewrite(xml, w)
	if err != nil {
		return err
	}
	if c := review.NVRAM; c != nil {
		if err := copyFile(c.From, c.To); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("guest %s: firmware variables: %w", s.As, err)
		}
	}
	xml, err = hypervisor.RewriteXML(xml, s.change(w))
	if err != nil {
		return err
	}
	_, err = w.Guests.Define(ctx, xml)
	return err
}

// Undo powers our double off and undefines it. Another guest of that name is
// left alone.
func (s *DefineGuest) Undo(ctx context.Context, w *World) error {
	return undefine(ctx, w, s.As, func(uuid, _ string) (bool, error) { return uuid == s.UUID, nil })
}

// UndefineGuest forgets the guest of a set, if it is marked as that set's.
type UndefineGuest struct {
	Guest string `json:"guest"`
	Set   string `json:"set"`
}

func (s *UndefineGuest) kind() string   { return "undefine_guest" }
func (s *UndefineGuest) String() string { return "undefine " + s.Guest }

// Do undefines the guest, powered off before if it is up.
func (s *UndefineGuest) Do(ctx context.Context, w *World) error {
	return undefine(ctx, w, s.Guest, func(_, xml string) (bool, error) { return markedAs(xml, s.Set) })
}

// Undo cannot define it again; plans never undo past it.
func (s *UndefineGuest) Undo(context.Context, *World) error { return errNoUndo(s) }

// undefine powers a guest off that is ours and forgets it, with the firmware
// variables that were copied for it.
func undefine(ctx context.Context, w *World, name string, ours func(uuid, xml string) (bool, error)) error {
	g, st, err := state(ctx, w, name)
	if err != nil || g == nil {
		return err
	}
	xml, err := g.XML(ctx)
	if err != nil {
		return err
	}
	if ok, err := ours(g.UUID(), xml); err != nil || !ok {
		return err
	}
	nvram, err := hypervisor.NVRAM(xml)
	if err != nil {
		return err
	}
	if st.Up() {
		if err := g.Destroy(ctx); err != nil && !errors.Is(err, hypervisor.ErrNotRunning) {
			return err
		}
	}
	if filepath.Base(nvram) == name+"_VARS.fd" { // the name DefineGuest gave it
		if err := os.Remove(nvram); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := g.Undefine(ctx); !errors.Is(err, hypervisor.ErrNotFound) {
		return err
	}
	return nil
}
