package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// CutSet takes the snapshots of one or several sets at one instant, with one
// metadata commit in each volume group.
type CutSet struct {
	Sets  []Set          `json:"sets"`
	Size  lvm.Size       `json:"size"`
	Chunk dmcore.Sectors `json:"chunk"`
}

func (s *CutSet) kind() string { return "cut_set" }

func (s *CutSet) String() string {
	var parts []string
	thin, thick := 0, 0
	for i := range s.Sets {
		for _, m := range s.Sets[i].Members {
			part := fmt.Sprintf("%s of %s", m.Snapshot, m.Origin)
			if m.Thin {
				thin++
				part += " (thin)"
			} else {
				thick++
			}
			parts = append(parts, part)
		}
	}
	how := "at one instant"
	switch {
	case thin == 0:
		how = s.Size.String() + " each, " + how
	case thick > 0:
		how = s.Size.String() + " each of the others, " + how
	}
	return fmt.Sprintf("snapshot %s (%s)", strings.Join(parts, ", "), how)
}

// Do cuts what is not there yet. Finding all members means that it was done;
// finding some, or some that are marked as not cut, that the process died between
// two commits: those are of another instant than the rest, and nobody has used them.
func (s *CutSet) Do(ctx context.Context, w *World) error {
	have, foreign, torn, err := existing(ctx, w, s.Sets)
	if err == nil && len(foreign) > 0 {
		err = fmt.Errorf("%s is not of set %q: %w", foreign[0], s.Sets[0].Name, lvm.ErrExists)
	}
	if err != nil {
		return err
	}
	var reqs []lvm.SnapshotRequest
	for i := range s.Sets {
		set := &s.Sets[i]
		for _, m := range set.Members {
			if have[m.Snapshot] {
				continue
			}
			reqs = append(reqs, s.request(set, m))
		}
	}
	if len(reqs) == 0 && !torn {
		return s.refresh(ctx, w)
	}
	if len(have) > 0 {
		if err := removeMembers(ctx, w, s.Sets); err != nil {
			return err
		}
		return s.Do(ctx, w)
	}
	return w.Volumes.Snapshot(ctx, reqs)
}

// refresh has the devices be what the metadata says: the process that committed
// the cut may have died before they were.
func (s *CutSet) refresh(ctx context.Context, w *World) error {
	for i := range s.Sets {
		for _, m := range s.Sets[i].Members {
			if err := w.Volumes.Refresh(ctx, m.Origin); err != nil {
				return err
			}
		}
	}
	return nil
}

// Undo removes what carries the sets' tags.
func (s *CutSet) Undo(ctx context.Context, w *World) error {
	return removeMembers(ctx, w, s.Sets)
}

// existing tells which members are there and carry their set's tag, and whether any
// is of another instant than the others. A volume of a member's name without the tag
// is somebody else's.
func existing(ctx context.Context, w *World, sets []Set) (have map[lvm.Ref]bool, foreign []lvm.Ref, torn bool, err error) {
	have = map[lvm.Ref]bool{}
	seen := groups{}
	for i := range sets {
		for _, m := range sets[i].Members {
			lv, err := seen.volume(ctx, w, m.Snapshot)
			switch {
			case err != nil:
				return nil, nil, false, err
			case lv == nil:
			case sets[i].owns(lv):
				have[m.Snapshot] = true
				torn = torn || slices.Contains(lv.Tags, lvm.TagUncut)
			default:
				foreign = append(foreign, m.Snapshot)
			}
		}
	}
	return have, foreign, torn, nil
}

// groups are those that were looked at, by name. One that cannot be used now is
// an error: its volumes are not gone, they are out of sight.
type groups map[string]*lvm.VG

func (g groups) load(ctx context.Context, w *World, name string) (*lvm.VG, error) {
	if g[name] == nil {
		vg, err := w.Volumes.Group(ctx, name)
		if err != nil {
			return nil, err
		}
		g[name] = vg
	}
	return g[name], nil
}

// volume returns nil if the group has no such volume.
func (g groups) volume(ctx context.Context, w *World, ref lvm.Ref) (*lvm.LV, error) {
	vg, err := g.load(ctx, w, ref.VG)
	if err != nil {
		return nil, err
	}
	return vg.LV(ref.LV), nil
}

func removeMembers(ctx context.Context, w *World, sets []Set) error {
	have, _, _, err := existing(ctx, w, sets)
	if err != nil || len(have) == 0 {
		return err
	}
	var refs []lvm.Ref
	for r := range have {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, lvm.Ref.Compare)
	if err := w.Volumes.WaitClosed(ctx, refs); err != nil {
		return err
	}
	return w.Volumes.Remove(ctx, refs)
}

// RemoveSet removes the snapshots of a set.
type RemoveSet struct {
	Set Set `json:"set"`
}

func (s *RemoveSet) kind() string { return "remove_set" }

func (s *RemoveSet) String() string {
	return "remove " + joinRefs(s.Set.Snapshots())
}

// Do removes what is still there.
func (s *RemoveSet) Do(ctx context.Context, w *World) error {
	return removeMembers(ctx, w, []Set{s.Set})
}

// Undo cannot bring contents back; plans never undo past it.
func (s *RemoveSet) Undo(context.Context, *World) error { return errNoUndo(s) }

func errNoUndo(s Step) error { return fmt.Errorf("%s cannot be undone", s) }

// StartMerge makes the origins show what their snapshots hold; copying begins.
type StartMerge struct {
	Members []Member `json:"members"`
}

func (s *StartMerge) kind() string { return "start_merge" }

func (s *StartMerge) String() string {
	var parts []string
	for _, m := range s.Members {
		parts = append(parts, fmt.Sprintf("%s into %s", m.Snapshot, m.Origin))
	}
	return "merge " + strings.Join(parts, ", ")
}

// Do starts the merges that have not begun, all or none. A snapshot that is gone
// was merged by an earlier attempt.
func (s *StartMerge) Do(ctx context.Context, w *World) error {
	fresh, waiting, err := s.toStart(ctx, w)
	if err != nil {
		return err
	}
	var closed []lvm.Ref
	for _, m := range slices.Concat(fresh, waiting) {
		closed = append(closed, m.Origin, m.Snapshot)
	}
	if err := w.Volumes.WaitClosed(ctx, closed); err != nil {
		return err
	}
	for _, m := range waiting {
		if err := w.Volumes.Refresh(ctx, m.Origin); err != nil {
			return err
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	var refs []lvm.Ref
	for _, m := range fresh {
		refs = append(refs, m.Snapshot)
	}
	return w.Volumes.StartMergeNow(ctx, refs)
}

// toStart lists the members whose merge is not recorded, and those where it is
// but does not go on.
func (s *StartMerge) toStart(ctx context.Context, w *World) (fresh, waiting []Member, err error) {
	seen := groups{}
	for _, m := range s.Members {
		vg, err := seen.load(ctx, w, m.Snapshot.VG)
		if err != nil {
			return nil, nil, err
		}
		states, err := w.Volumes.States(ctx, vg)
		if err != nil {
			return nil, nil, err
		}
		switch st := states[m.Snapshot.LV]; {
		case vg.LV(m.Snapshot.LV) == nil || st.Copying:
		case st.Merging:
			waiting = append(waiting, m)
		default:
			fresh = append(fresh, m)
		}
	}
	return fresh, waiting, nil
}

// untouched reports that no merge is recorded and none was finished.
func (s *StartMerge) untouched(ctx context.Context, w *World) (bool, error) {
	fresh, _, err := s.toStart(ctx, w)
	return len(fresh) == len(s.Members), err
}

// Undo cannot stop a merge; one that was never recorded is none.
func (s *StartMerge) Undo(ctx context.Context, w *World) error {
	if is, err := s.untouched(ctx, w); err != nil || is {
		return err
	}
	return errNoUndo(s)
}

// FinishMerge waits until everything is copied and drops the snapshots.
type FinishMerge struct {
	Members  []Member      `json:"members"`
	Interval time.Duration `json:"interval"`
}

func (s *FinishMerge) kind() string { return "finish_merge" }

func (s *FinishMerge) String() string {
	var parts []string
	for _, m := range s.Members {
		parts = append(parts, m.Origin.String())
	}
	return "wait until " + strings.Join(parts, ", ") + " is merged, drop the snapshot"
}

// Do waits for what is not merged yet.
func (s *FinishMerge) Do(ctx context.Context, w *World) error {
	refs, err := present(ctx, w, s.Members)
	if err != nil || len(refs) == 0 {
		return err
	}
	return w.Volumes.WaitMerge(ctx, refs, s.Interval, func(p lvm.MergeProgress) {
		w.tell(Event{What: "merging", Volume: p.Snapshot.String(), Percent: p.Percent, Left: p.Left.Bytes(),
			Text: fmt.Sprintf("%s: merged: %.1f%%", p.Snapshot, p.Percent)})
	})
}

// Undo has nothing to take back.
func (s *FinishMerge) Undo(context.Context, *World) error { return errNoUndo(s) }

// present lists the snapshots of members that still exist.
func present(ctx context.Context, w *World, members []Member) ([]lvm.Ref, error) {
	var refs []lvm.Ref
	seen := groups{}
	for _, m := range members {
		lv, err := seen.volume(ctx, w, m.Snapshot)
		if err != nil {
			return nil, err
		}
		if lv != nil {
			refs = append(refs, m.Snapshot)
		}
	}
	return refs, nil
}

func joinRefs(refs []lvm.Ref) string {
	parts := make([]string, len(refs))
	for i, r := range refs {
		parts[i] = r.String()
	}
	return strings.Join(parts, ", ")
}

// ForgetSet removes what the state directory keeps of a set that is gone.
type ForgetSet struct {
	Set string `json:"set"`
}

func (s *ForgetSet) kind() string   { return "forget_set" }
func (s *ForgetSet) String() string { return "forget the saved definition of " + s.Set }

// Do removes the files.
func (s *ForgetSet) Do(_ context.Context, w *World) error { return w.Files.forgetSet(s.Set) }

// Undo cannot bring them back; plans never undo past it.
func (s *ForgetSet) Undo(context.Context, *World) error { return errNoUndo(s) }
