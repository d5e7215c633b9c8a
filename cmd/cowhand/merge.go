package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cowhand/dmcore/kernel"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// mergeCommand merges snapshots without asking what guest they belong to; keep
// and rollback do that.
func mergeCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "merge", Category: groupWorkflows, Usage: "merges of snapshots into their origins",
		Subcommands: []*cli.Command{
			{Name: "start", Usage: "merge snapshots: all those of a set, of a tag, or one", ArgsUsage: "SET|@TAG|VG/SNAPSHOT...",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "background", Aliases: []string{"b"}, Usage: "do not wait for the end"},
					&cli.DurationFlag{Name: "interval", Aliases: []string{"i"}, Usage: "tell how it goes this often; default: settings"},
					&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only tell what would be merged"},
					&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}},
				Action: action(h.mergeStart)},
			{Name: "status", Usage: "merges that are under way, or wait and for whom", Action: action(h.mergeStatus)},
		},
	}
}

func waitCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "wait", Category: groupWorkflows, Usage: "wait until snapshots are merged, or active", ArgsUsage: "SET|@TAG|VG/SNAPSHOT...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "for", Usage: "merged or active", Value: "merged"},
			&cli.DurationFlag{Name: "timeout", Usage: "give up after this time; default: never"}},
		Action: action(h.wait),
	}
}

// snapshotsOf finds snapshots by what people call them: a set, a tag or a volume.
func snapshotsOf(ctx context.Context, e *lvm.Engine, words []string) ([]lvm.Ref, error) {
	groups, err := e.Groups(ctx)
	if err != nil {
		return nil, err
	}
	sets := orchestrator.Sets(groups)
	var refs []lvm.Ref
	for _, w := range words {
		if strings.HasPrefix(w, "@") || strings.Contains(w, "/") {
			found, err := lvmVolumes(ctx, e, []string{w})
			if err != nil {
				return nil, err
			}
			if len(found) == 0 {
				return nil, &refusal{fmt.Sprintf("tag %s: no volume has it", w), lvm.ErrNotFound}
			}
			for _, f := range found {
				refs = append(refs, f.refs()...)
			}
			continue
		}
		i := slices.IndexFunc(sets, func(s *orchestrator.Set) bool { return s.Name == w })
		if i < 0 {
			return nil, &refusal{fmt.Sprintf("set %q: no such set", w), orchestrator.ErrNoSet}
		}
		for _, m := range sets[i].Members {
			refs = append(refs, m.Snapshot)
		}
	}
	return refs, nil
}

func (h *host) mergeStart(ctx context.Context, c *cli.Context) error {
	args, err := arguments(c, 1, -1, "SET, @TAG or VG/SNAPSHOT")
	if err != nil {
		return err
	}
	e, err := h.volumes(ctx)
	if err != nil {
		return err
	}
	refs, err := snapshotsOf(ctx, e, args)
	if err != nil {
		return err
	}
	var lines []string
	for _, r := range refs {
		lines = append(lines, fmt.Sprintf("merge %s into its origin", r))
	}
	shown := strings.Join(lines, "\n")
	if c.Bool("dry-run") {
		fmt.Fprintf(h.stdout, "%s\n\nNothing was changed (dry run).\n", shown)
		return nil
	}
	if !c.Bool("yes") {
		if err := h.agree("merge start", shown, "Replace what the origins hold by what these snapshots hold?"); err != nil {
			return err
		}
	}
	starts, wrong := e.StartMerge(ctx, refs)
	h.changed = wrong == nil || len(starts) > 0
	var begun []lvm.Ref
	done := 0
	for _, s := range starts {
		switch {
		case s.Done:
			done++
			h.note("%s: merged, it took the place of what %s was", s.Snapshot, s.Origin)
			if len(s.Others) > 0 {
				h.note("%s: %s, of it as it was, stay its snapshots", s.Origin, strings.Join(s.Others, ", "))
			}
			continue
		case s.Started:
			begun = append(begun, s.Snapshot)
			continue
		}
		h.note("%s: its merge is recorded and waits: %s", s.Snapshot, s.Why)
	}
	switch {
	case wrong != nil:
		if len(begun) > 0 { // nobody waits for these here
			wrong = errors.Join(wrong, h.poll(begun...))
		}
		return wrong
	case len(begun) == 0 && done == len(starts):
		return nil
	case len(begun) == 0:
		return errPending
	case c.Bool("background"):
		return errors.Join(h.poll(begun...), errPending)
	}
	if err := h.watchMerges(ctx, e, begun, h.mergeInterval(c)); err != nil {
		return err
	}
	if len(begun)+done < len(starts) {
		return errPending
	}
	return nil
}

func (h *host) mergeInterval(c *cli.Context) time.Duration {
	if c.IsSet("interval") {
		return c.Duration("interval")
	}
	return time.Duration(h.Merge.Interval)
}

func (h *host) mergeStatus(ctx context.Context, c *cli.Context) error {
	if _, err := arguments(c, 0, 0, "no argument"); err != nil {
		return err
	}
	e, err := h.volumes(ctx)
	if err != nil {
		return err
	}
	merges, err := e.Merges(ctx)
	if err != nil {
		return err
	}
	t := table{Name: "merges", Columns: []column{{"snapshot", "SNAPSHOT"}, {"origin", "ORIGIN"}, {"state", "STATE"}, {"left", "LEFT"}, {"for", "WAITS FOR"}}}
	for _, m := range merges {
		r := row{"snapshot": m.Snapshot.String(), "origin": m.Origin.String(), "state": m.Phase.String(), "for": []string{}}
		if m.Phase == lvm.MergeCopies {
			r["left"] = lvm.HumanSize(m.Left)
		}
		if m.Phase == lvm.MergeWaits {
			r["for"] = h.waitsFor(m)
		}
		t.Rows = append(t.Rows, r)
	}
	return h.print(t)
}

// waitsFor tells what has to happen before a merge begins.
func (h *host) waitsFor(m lvm.Merge) []string {
	var who []string
	for _, r := range slices.SortedFunc(maps.Keys(m.Open), func(a, b lvm.Ref) int { return strings.Compare(a.String(), b.String()) }) {
		holders := []string{}
		if onKernel, err := h.onKernel(); err == nil && onKernel {
			openers, _ := kernel.Openers(m.Open[r].Dev) // as far as we may look
			for _, o := range openers {
				holders = append(holders, o.String())
			}
		}
		if len(holders) == 0 {
			holders = append(holders, fmt.Sprintf("%d open", m.Open[r].OpenCount))
		}
		who = append(who, fmt.Sprintf("%s: %s", r, strings.Join(holders, ", ")))
	}
	if len(who) == 0 {
		who = append(who, fmt.Sprintf("cowhand lvm lvchange --refresh %s", m.Origin))
		if !m.OriginActive {
			who[0] = fmt.Sprintf("cowhand lvm lvchange -ay %s", m.Origin)
		}
	}
	return who
}

func (h *host) wait(ctx context.Context, c *cli.Context) error {
	args, err := arguments(c, 1, -1, "SET, @TAG or VG/SNAPSHOT")
	if err != nil {
		return err
	}
	what := c.String("for")
	if what != "merged" && what != "active" {
		return usagef("--for %q: want merged or active", what)
	}
	if d := c.Duration("timeout"); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, fmt.Errorf("not %s after %s", what, d))
		defer cancel()
	}
	e, err := h.volumes(ctx)
	if err != nil {
		return err
	}
	var refs []lvm.Ref
	for _, w := range args {
		found, err := snapshotsOf(ctx, e, []string{w})
		if what == "merged" && (errors.Is(err, lvm.ErrNotFound) || errors.Is(err, orchestrator.ErrNoSet)) {
			// It may have been merged before we came to look.
			h.note("%s: is not there: it is merged, or never was", w)
			continue
		}
		if err != nil {
			return err
		}
		refs = append(refs, found...)
	}
	done := allMerged
	if what == "active" {
		done = allActive
	}
	for {
		ok, err := done(ctx, e, refs)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(waitInterval): // no event tells that a volume was activated or a merge recorded
		}
	}
}

const waitInterval = 500 * time.Millisecond

// allMerged drops those of the snapshots whose merge is complete, and reports
// that none is left.
func allMerged(ctx context.Context, e *lvm.Engine, refs []lvm.Ref) (bool, error) {
	if _, err := e.FinishMerges(ctx); err != nil {
		return false, err
	}
	merges, err := e.Merges(ctx)
	if err != nil {
		return false, err
	}
	merging := map[lvm.Ref]lvm.Merge{}
	for _, m := range merges {
		merging[m.Snapshot] = m
	}
	left := 0
	for _, r := range refs {
		m, ok := merging[r]
		switch {
		case ok && m.Phase == lvm.MergeStopped:
			return false, fmt.Errorf("%s: its merge failed; activating %s again goes on with it", r, m.Origin)
		case ok:
			left++
			continue
		}
		vg, err := e.Group(ctx, r.VG)
		if err != nil {
			return false, err
		}
		if vg.LV(r.LV) != nil {
			return false, &refusal{fmt.Sprintf("%s: is not being merged: start that with 'cowhand merge start'", r), lvm.ErrInvalid}
		}
	}
	return left == 0, nil
}

func allActive(ctx context.Context, e *lvm.Engine, refs []lvm.Ref) (bool, error) {
	for _, r := range refs {
		vg, err := e.Group(ctx, r.VG)
		if err != nil {
			return false, err
		}
		states, err := e.States(ctx, vg)
		if err != nil {
			return false, err
		}
		if st, ok := states[r.LV]; !ok {
			return false, &lvm.Error{VG: r.VG, LV: r.LV, Err: lvm.ErrNotFound}
		} else if !st.Active {
			return false, nil
		}
	}
	return true, nil
}
