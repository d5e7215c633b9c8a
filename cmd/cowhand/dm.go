package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"cowhand/dmcore"
	"cowhand/dmcore/engine"
)

// dmCommand looks at devices as dmsetup does. It starts no engine: one that
// does not run has no devices.
func dmCommand(h *host) *cli.Command {
	sub := func(name, usage string, each func(context.Context, *dmcore.Client, dmcore.Info) error) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: "[NAME...]", Action: action(func(ctx context.Context, c *cli.Context) error {
			return h.eachDevice(ctx, c.Args().Slice(), each)
		})}
	}
	return &cli.Command{
		Name: "dm", Category: "engine", Usage: "devices of the engine, as dmsetup shows them",
		Subcommands: []*cli.Command{
			sub("ls", "names and numbers", func(_ context.Context, _ *dmcore.Client, i dmcore.Info) error {
				_, err := fmt.Fprintf(h.stdout, "%s\t(%s)\n", i.Name, i.Dev)
				return err
			}),
			sub("table", "live tables", func(ctx context.Context, dm *dmcore.Client, i dmcore.Info) error {
				t, err := dm.Table(ctx, i.UUID)
				if err != nil {
					return err
				}
				return h.lines(i.Name, t.String())
			}),
			sub("status", "status of the targets", func(ctx context.Context, dm *dmcore.Client, i dmcore.Info) error {
				targets, err := dm.Status(ctx, i.UUID)
				if err != nil {
					return err
				}
				var lines []string
				for _, t := range targets {
					lines = append(lines, t.String())
				}
				return h.lines(i.Name, strings.Join(lines, "\n"))
			}),
			sub("info", "state of the devices", func(_ context.Context, _ *dmcore.Client, i dmcore.Info) error {
				state, tables := "ACTIVE", "None"
				if i.Suspended {
					state = "SUSPENDED"
				}
				switch {
				case i.Live && i.Inactive:
					tables = "LIVE & INACTIVE"
				case i.Live:
					tables = "LIVE"
				case i.Inactive:
					tables = "INACTIVE"
				}
				_, err := fmt.Fprintf(h.stdout, "Name:              %s\nState:             %s\nTables present:    %s\nOpen count:        %d\nEvent number:      %d\nMajor, minor:      %d, %d\nUUID: %s\n\n",
					i.Name, state, tables, i.OpenCount, i.EventNr, i.Dev.Major, i.Dev.Minor, i.UUID)
				return err
			}),
		},
	}
}

// lines prints each line behind the device's name.
func (h *host) lines(name dmcore.Name, text string) error {
	for _, l := range strings.Split(text, "\n") {
		if _, err := fmt.Fprintf(h.stdout, "%s: %s\n", name, l); err != nil {
			return err
		}
	}
	return nil
}

// mapper is the device mapper that this run drives. It starts no daemon.
func (h *host) mapper() (dmcore.Control, error) {
	onKernel, err := h.onKernel()
	if err != nil {
		return nil, err
	}
	if onKernel {
		return h.kernel(), nil
	}
	c, err := engine.Dial(h.RunDir)
	if err != nil {
		return nil, err
	}
	h.onClose(c.Close)
	return c, nil
}

func (h *host) eachDevice(ctx context.Context, names []string, each func(context.Context, *dmcore.Client, dmcore.Info) error) error {
	ctl, err := h.mapper()
	if errors.Is(err, dmcore.ErrUnavailable) && len(names) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	dm := dmcore.NewClient(ctl)
	infos, err := dm.List(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(infos, func(a, b dmcore.Info) int { return strings.Compare(string(a.Name), string(b.Name)) })
	for _, n := range names {
		if !slices.ContainsFunc(infos, func(i dmcore.Info) bool { return string(i.Name) == n }) {
			return &dmcore.Error{Cmd: dmcore.Status, Name: dmcore.Name(n), Err: dmcore.ErrNotFound}
		}
	}
	for _, i := range infos {
		if len(names) > 0 && !slices.Contains(names, string(i.Name)) {
			continue
		}
		if err := each(ctx, dm, i); err != nil && !errors.Is(err, dmcore.ErrNotFound) {
			return err
		}
	}
	return nil
}
