package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"cowhand/orchestrator"
)

func recoverCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "recover", Category: groupWorkflows, Usage: "finish or undo what a crash interrupted",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "list", Usage: "only tell what there is"}},
		Action: action(func(ctx context.Context, c *cli.Context) error {
			if _, err := arguments(c, 0, 0, "no argument"); err != nil {
				return err
			}
			o, err := h.orchestrator(ctx)
			if err != nil {
				return err
			}
			var outs []orchestrator.Outcome
			if c.Bool("list") {
				outs, err = o.List()
			} else {
				h.changed = true
				outs, err = o.Recover(ctx)
			}
			if err != nil {
				return err
			}
			t := table{Name: "runs", Columns: []column{{"run", "RUN"}, {"workflow", "WORKFLOW"}, {"subject", "SUBJECT"}, {"step", "STOOD AT"}, {"result", "RESULT"}}}
			for _, out := range outs {
				t.Rows = append(t.Rows, row{"run": out.Run, "workflow": out.Workflow, "subject": out.Subject, "step": out.Step, "result": out.Result})
				if out.Err != nil {
					err = errors.Join(err, fmt.Errorf("run %s: %w", out.Run, out.Err))
				}
			}
			if len(outs) == 0 {
				h.note("Nothing is unfinished.")
			}
			if !c.Bool("list") {
				left, e := o.World.Volumes.Recover(ctx)
				for _, i := range left {
					h.note("device %s: was left suspended or half changed, and is as the metadata says again", i.Name)
				}
				err = errors.Join(err, e)
				done, e := o.World.Volumes.FinishMerges(ctx)
				for _, r := range done {
					h.note("%s: its merge was complete, the snapshot is dropped", r)
				}
				err = errors.Join(err, e)
			}
			return errors.Join(h.print(t), err)
		}),
	}
}
