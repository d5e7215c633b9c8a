package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"cowhand/dmcore"
	"cowhand/hypervisor"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// The flags that changing commands share.
func changeFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "print the plan, change nothing"},
		&cli.BoolFlag{Name: "detailed-exitcode", Usage: "with --dry-run: exit 7 if there is something to do"},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"})
}

func cutFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "size", Usage: "take thick snapshots, with this room for changes in each, as 25%ORIGIN or 5GiB; default: thin ones of volumes in thin pools, and settings"},
		&cli.BoolFlag{Name: "thin", Usage: "take nothing but thin snapshots"},
		&cli.StringFlag{Name: "chunk", Usage: "unit of copying, 4KiB to 512KiB; default: settings"},
	}
}

func (h *host) cutOptions(c *cli.Context) (o orchestrator.CutOptions, err error) {
	o = orchestrator.CutOptions{Size: h.Snapshot.Size, Chunk: h.Snapshot.ChunkSectors(), Disks: c.StringSlice("disk"), Now: time.Now()}
	if c.Bool("thin") {
		o.Kind = orchestrator.CutThin
		if c.IsSet("size") || c.IsSet("chunk") {
			return o, usagef("--thin: a thin snapshot has no --size and no --chunk of its own")
		}
	}
	if c.IsSet("size") {
		o.Kind = orchestrator.CutThick
		if o.Size, err = lvm.ParseSize(c.String("size")); err != nil {
			return o, usagef("--size: %s", err)
		}
	}
	if !c.IsSet("chunk") {
		return o, nil
	}
	chunk, err := lvm.ParseSize(c.String("chunk"))
	if err != nil || chunk.Bytes == 0 {
		return o, usagef("--chunk %q: want a size such as 64KiB", c.String("chunk"))
	}
	o.Chunk = dmcore.Sectors(chunk.Bytes / dmcore.SectorSize)
	if err := lvm.CheckChunk(o.Chunk); err != nil {
		return o, usagef("--chunk: %s", err)
	}
	return o, nil
}

func network(c *cli.Context) (hypervisor.Network, error) {
	switch s := c.String("network"); s {
	case "", "same":
		return hypervisor.Same, nil
	case "isolated":
		return hypervisor.Isolated, nil
	case "none":
		return hypervisor.None, nil
	default:
		return 0, usagef("--network %q: want same, isolated or none", s)
	}
}

func networkFlag() cli.Flag {
	return &cli.StringFlag{Name: "network", Usage: "same, isolated (cable pulled) or none", Value: "same"}
}

func timeoutFlag() cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Usage: "how long a guest may take to shut down; default: settings"}
}

func (h *host) timeout(c *cli.Context) time.Duration {
	if c.IsSet("timeout") {
		return c.Duration("timeout")
	}
	return time.Duration(h.Libvirt.ShutdownTimeout)
}

func runningFlag() cli.Flag {
	return &cli.StringFlag{Name: "when-running", Usage: "stop or fail, if the guest runs", Value: "stop"}
}

// failRunning reads --when-running.
func failRunning(c *cli.Context) (bool, error) {
	switch s := c.String("when-running"); s {
	case "stop":
		return false, nil
	case "fail":
		return true, nil
	default:
		return false, usagef("--when-running %q: want stop or fail", s)
	}
}

// execute shows, asks for or runs a plan, as the flags say. question is asked
// on a terminal, if what the plan does cannot be taken back; empty otherwise.
func (h *host) execute(ctx context.Context, c *cli.Context, o *orchestrator.Orchestrator, p *orchestrator.Plan, question, after string) error {
	if c.Bool("dry-run") {
		if h.output == "json" {
			b, err := json.MarshalIndent(p, "", "  ")
			if err != nil {
				return err
			}
			fmt.Fprintln(h.stdout, string(b))
		} else {
			fmt.Fprint(h.stdout, p)
			fmt.Fprintln(h.stdout, "\nNothing was changed (dry run).")
		}
		if c.Bool("detailed-exitcode") && len(p.Steps) > 0 {
			return errPlanned
		}
		return nil
	}
	if question != "" && !c.Bool("yes") {
		if err := h.ask(p, question); err != nil {
			return err
		}
	}
	if err := o.Run(ctx, p); err != nil {
		return err
	}
	if after != "" {
		h.note("%s", after)
	}
	return nil
}

// ask has the user agree to a plan that cannot be taken back.
func (h *host) ask(p *orchestrator.Plan, question string) error {
	return h.agree(p.Workflow, p.String(), question)
}

// agree shows something that cannot be taken back and has the user agree.
func (h *host) agree(command, shown, question string) error {
	in, ok := h.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usagef("%s: this cannot be taken back: agree with --yes, or look at it with --dry-run", command)
	}
	fmt.Fprintf(h.stderr, "%s\n%s [y/N] ", shown, question)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(line)); a != "y" && a != "yes" {
		return &refusal{"not agreed to", errDeclined}
	}
	return nil
}

// progress tells people or scripts how a run goes.
func (h *host) progress(e orchestrator.Event) {
	if h.output == "json" {
		json.NewEncoder(h.stdout).Encode(e)
		return
	}
	switch e.What {
	case "doing":
		h.note("[%d/%d] %s", e.Step, e.Of, e.Text)
	case "undoing":
		h.note("[%d/%d] undo: %s", e.Step, e.Of, e.Text)
	case "merging":
		line := fmt.Sprintf("      %s: %.1f%% merged, %s left", cmp.Or(e.Volume, "all"), e.Percent, lvm.HumanSize(dmcore.Sectors(e.Left/dmcore.SectorSize)))
		if e.Text != "" {
			line += ", " + e.Text
		}
		h.note("%s", line)
	}
}
