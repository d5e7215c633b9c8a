package main

import (
	"context"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cowhand/orchestrator"
)

const groupWorkflows = "workflows"

// facts opens the layers and looks at the world.
func (h *host) facts(ctx context.Context) (*orchestrator.Orchestrator, *orchestrator.Facts, error) {
	o, err := h.orchestrator(ctx)
	if err != nil {
		return nil, nil, err
	}
	f, err := o.Facts(ctx)
	return o, f, err
}

// workflow plans from the facts and executes the plan. after is what people are
// told then, with %s for the plan's subject.
func (h *host) workflow(ctx context.Context, c *cli.Context, question, after string,
	plan func(*orchestrator.Facts, *orchestrator.World) (*orchestrator.Plan, error)) error {
	o, f, err := h.facts(ctx)
	if err != nil {
		return err
	}
	p, err := plan(f, o.World)
	if err != nil {
		return err
	}
	return h.execute(ctx, c, o, p, question, strings.Replace(after, "%s", p.Subject, 1))
}

func snapshotCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "snapshot", Category: groupWorkflows, Usage: "take a snapshot of a guest's disks to go back to", ArgsUsage: "GUEST",
		Flags: changeFlags(append(cutFlags(), timeoutFlag(),
			&cli.StringFlag{Name: "set", Usage: "`NAME` of the set; default: the time"},
			&cli.StringFlag{Name: "mode", Usage: "live, pause or shutdown, if the guest runs", Value: "live"},
			&cli.StringSliceFlag{Name: "disk", Usage: "only this disk, as vda; may be repeated"})...),
		Action: action(h.snapshot),
	}
}

func (h *host) snapshot(ctx context.Context, c *cli.Context) error {
	args, err := arguments(c, 1, 1, "GUEST")
	if err != nil {
		return err
	}
	r := orchestrator.SnapshotRequest{Guest: args[0], Set: c.String("set"), Mode: orchestrator.Mode(c.String("mode")), Timeout: h.timeout(c)}
	switch r.Mode {
	case orchestrator.ModeLive, orchestrator.ModePause, orchestrator.ModeShutdown:
	default:
		return usagef("--mode %q: want live, pause or shutdown", r.Mode)
	}
	if r.CutOptions, err = h.cutOptions(c); err != nil {
		return err
	}
	return h.workflow(ctx, c, "", "Taken: %s. Go back with: cowhand rollback "+r.Guest,
		func(f *orchestrator.Facts, _ *orchestrator.World) (*orchestrator.Plan, error) {
			return f.PlanSnapshot(r)
		})
}

func tryCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "try", Category: groupWorkflows, Usage: "run a guest on a snapshot of its disks", ArgsUsage: "GUEST",
		Flags: changeFlags(append(cutFlags(), timeoutFlag(), runningFlag(), networkFlag(),
			&cli.StringFlag{Name: "set", Usage: "`NAME` of the trial; default: try"})...),
		Action: action(h.try),
	}
}

func (h *host) try(ctx context.Context, c *cli.Context) error {
	args, err := arguments(c, 1, 1, "GUEST")
	if err != nil {
		return err
	}
	r := orchestrator.TryRequest{Guest: args[0], Set: c.String("set"), Timeout: h.timeout(c)}
	if r.FailRunning, err = failRunning(c); err != nil {
		return err
	}
	if r.Network, err = network(c); err != nil {
		return err
	}
	if r.CutOptions, err = h.cutOptions(c); err != nil {
		return err
	}
	return h.workflow(ctx, c, "", "On trial: %s. End it with: cowhand keep "+r.Guest+", or: cowhand discard "+r.Guest,
		func(f *orchestrator.Facts, w *orchestrator.World) (*orchestrator.Plan, error) { return f.PlanTry(r, w) })
}

func mergeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "merge", Usage: "hot (start the guest at once), cold (merge first) or auto", Value: "auto"},
		&cli.DurationFlag{Name: "interval", Usage: "tell how a merge goes this often; default: settings"},
		&cli.BoolFlag{Name: "no-start", Usage: "leave the guest off"},
		timeoutFlag(),
	}
}

func (h *host) endRequest(c *cli.Context, target string) (orchestrator.EndRequest, error) {
	r := orchestrator.EndRequest{Target: target, NoStart: c.Bool("no-start"), Merge: orchestrator.MergeMode(c.String("merge")),
		Interval: time.Duration(h.Merge.Interval), Timeout: h.timeout(c)}
	if c.IsSet("interval") {
		r.Interval = c.Duration("interval")
	}
	switch r.Merge {
	case orchestrator.MergeAuto, orchestrator.MergeHot, orchestrator.MergeCold, "":
		return r, nil
	}
	return r, usagef("--merge %q: want auto, hot or cold", r.Merge)
}

func keepCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "keep", Aliases: []string{"commit"}, Category: groupWorkflows, Usage: "make a trial the guest: merge its snapshots into the disks", ArgsUsage: "GUEST|SET",
		Flags: changeFlags(mergeFlags()...),
		Action: action(func(ctx context.Context, c *cli.Context) error {
			return h.endTrial(ctx, c, (*orchestrator.Facts).PlanKeep, "Kept: %s.", "Replace what the guest held before by what the trial holds?")
		}),
	}
}

func discardCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "discard", Aliases: []string{"undo"}, Category: groupWorkflows, Usage: "throw a trial away; the guest is as it was", ArgsUsage: "GUEST|SET",
		Flags: changeFlags(&cli.BoolFlag{Name: "no-start", Usage: "leave the guest off"}),
		Action: action(func(ctx context.Context, c *cli.Context) error {
			return h.endTrial(ctx, c, (*orchestrator.Facts).PlanDiscard, "Discarded: %s.", "Throw away what the trial holds?")
		}),
	}
}

func (h *host) endTrial(ctx context.Context, c *cli.Context,
	plan func(*orchestrator.Facts, orchestrator.EndRequest) (*orchestrator.Plan, error), after, question string) error {
	args, err := arguments(c, 1, 1, "GUEST or SET")
	if err != nil {
		return err
	}
	r, err := h.endRequest(c, args[0])
	if err != nil {
		return err
	}
	return h.workflow(ctx, c, question, after,
		func(f *orchestrator.Facts, _ *orchestrator.World) (*orchestrator.Plan, error) { return plan(f, r) })
}

func rollbackCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "rollback", Aliases: []string{"revert"}, Category: groupWorkflows, Usage: "put a guest's disks back to a snapshot", ArgsUsage: "GUEST [SET]",
		Flags: changeFlags(append(append(mergeFlags(), cutFlags()...), runningFlag(),
			&cli.BoolFlag{Name: "keep-snapshot", Usage: "take the same snapshot again after the merge"},
			&cli.StringSliceFlag{Name: "disk", Usage: "only this disk, as vda; may be repeated"})...),
		Action: action(h.rollback),
	}
}

func (h *host) rollback(ctx context.Context, c *cli.Context) error {
	args, err := arguments(c, 1, 2, "GUEST [SET]")
	if err != nil {
		return err
	}
	r := orchestrator.RollbackRequest{Guest: args[0], KeepSnapshot: c.Bool("keep-snapshot")}
	if len(args) == 2 {
		r.Set = args[1]
	}
	if r.EndRequest, err = h.endRequest(c, args[0]); err != nil {
		return err
	}
	if r.FailRunning, err = failRunning(c); err != nil {
		return err
	}
	if r.CutOptions, err = h.cutOptions(c); err != nil {
		return err
	}
	return h.workflow(ctx, c, "Throw away what the guest wrote since?", "Rolled back: %s.",
		func(f *orchestrator.Facts, _ *orchestrator.World) (*orchestrator.Plan, error) {
			return f.PlanRollback(r)
		})
}

func cloneCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "clone", Category: groupWorkflows, Usage: "make instances of a guest, each on snapshots of its disks", ArgsUsage: "GUEST NAME...",
		Flags: changeFlags(append(cutFlags(), networkFlag(),
			&cli.IntFlag{Name: "count", Usage: "how many, named by --name"},
			&cli.StringFlag{Name: "name", Usage: "pattern of names, as 'web%02d'"},
			&cli.BoolFlag{Name: "no-start", Usage: "leave the instances off"})...),
		Action: action(h.clone),
	}
}

func (h *host) clone(ctx context.Context, c *cli.Context) error {
	args, err := arguments(c, 1, -1, "GUEST NAME..., or GUEST --count N --name PATTERN")
	if err != nil {
		return err
	}
	r := orchestrator.CloneRequest{Guest: args[0], Names: args[1:], NoStart: c.Bool("no-start")}
	if c.IsSet("count") || c.IsSet("name") {
		if len(r.Names) > 0 {
			return usagef("clone: name the instances, or give --count and --name, not both")
		}
		if r.Names, err = orchestrator.CloneNames(c.String("name"), c.Int("count")); err != nil {
			return usagef("clone: %s", err)
		}
	}
	if len(r.Names) == 0 {
		return usagef("clone: name the instances, or give --count and --name")
	}
	if r.Network, err = network(c); err != nil {
		return err
	}
	if r.CutOptions, err = h.cutOptions(c); err != nil {
		return err
	}
	return h.workflow(ctx, c, "", "Made: %s.",
		func(f *orchestrator.Facts, w *orchestrator.World) (*orchestrator.Plan, error) {
			return f.PlanClone(r, w)
		})
}

func rmCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "rm", Aliases: []string{"delete"}, Category: groupWorkflows, Usage: "remove sets, with the trials and clones that run on them", ArgsUsage: "SET...",
		Flags: changeFlags(), Action: action(func(ctx context.Context, c *cli.Context) error {
			args, err := arguments(c, 1, -1, "SET...")
			if err != nil {
				return err
			}
			return h.workflow(ctx, c, "Throw away what these sets hold?", "Removed: %s.",
				func(f *orchestrator.Facts, _ *orchestrator.World) (*orchestrator.Plan, error) {
					return f.PlanRemove(args)
				})
		}),
	}
}
