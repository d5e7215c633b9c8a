package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"cowhand/lvm"
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
			volumes, err := h.volumes(ctx)
			if err != nil {
				return err
			}
			var settled error
			if !c.Bool("list") {
				settled = h.settle(ctx, volumes)
			}
			o, err := h.orchestrator(ctx)
			if err != nil {
				return errors.Join(settled, err)
			}
			var outs []orchestrator.Outcome
			if c.Bool("list") {
				outs, err = o.List()
			} else {
				h.changed = true
				outs, err = o.Recover(ctx)
			}
			if err != nil {
				return errors.Join(settled, err)
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
				done, e := volumes.FinishMerges(ctx)
				for _, r := range done {
					h.note("%s: its merge was complete, the snapshot is dropped", r)
				}
				err = errors.Join(err, e)
			}
			return errors.Join(h.print(t), settled, err)
		}),
	}
}

// settle puts in order what a process that died left suspended or half changed. It goes
// first, and needs no hypervisor: libvirt itself may wait for such a device.
func (h *host) settle(ctx context.Context, volumes *lvm.Engine) error {
	left, err := volumes.Recover(ctx)
	for _, i := range left {
		h.changed = true
		h.note("device %s: was left suspended or half changed, and is as the metadata says again", i.Name)
	}
	return err
}
