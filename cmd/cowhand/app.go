package main

import (
	"github.com/urfave/cli/v2"
)

// version is set by the linker.
var version = "devel"

const exitCodes = `EXIT STATUS:
   0 done   1 failed   2 usage   3 refused, nothing changed   4 check failed, trial discarded
   5 stopped half-way: run 'cowhand recover'   6 accepted, still pending   7 plan has changes   130 interrupted, undone`

// newApp is the table of commands.
func newApp(h *host) *cli.App {
	cli.AppHelpTemplate += "\n" + exitCodes + "\n"
	app := &cli.App{
		Name:    "cowhand",
		Usage:   "run libvirt guests on snapshots of their LVM volumes: try, clone, roll back",
		Version: version,
		Reader:  h.stdin, Writer: h.stdout, ErrWriter: h.stderr,
		Suggest:              true,
		EnableBashCompletion: true,
		HideHelpCommand:      false,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError:         misused,
		CommandNotFound:      func(c *cli.Context, name string) { h.unknown = name },
		Flags:                globalFlags(),
		Before:               h.configure,
		After:                h.close,
		Action:               h.noCommand,
		Commands: []*cli.Command{
			guestsCommand(h),
			snapshotCommand(h), tryCommand(h), keepCommand(h), discardCommand(h), cloneCommand(h), rollbackCommand(h),
			lsCommand(h), showCommand(h), rmCommand(h),
			mergeCommand(h), waitCommand(h),
			recoverCommand(h),
			monitorCommand(h), engineCommand(h), lvmCommand(h), dmCommand(h),
		},
	}
	eachCommand(app.Commands, func(c *cli.Command) { c.OnUsageError = misused })
	return app
}

// misused is an unknown flag, or a value that is none for its flag.
func misused(_ *cli.Context, err error, _ bool) error { return usagef("%s", err) }

func eachCommand(list []*cli.Command, f func(*cli.Command)) {
	for _, c := range list {
		f(c)
		eachCommand(c.Subcommands, f)
	}
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "settings `FILE`", EnvVars: []string{"COWHAND_CONFIG"}},
		&cli.StringFlag{Name: "connect", Aliases: []string{"c"}, Usage: "libvirt `URI`", EnvVars: []string{"LIBVIRT_DEFAULT_URI"}},
		&cli.StringFlag{Name: "engine", Usage: "auto, kernel or userspace", EnvVars: []string{"COWHAND_ENGINE"}},
		&cli.StringSliceFlag{Name: "devices", Usage: "physical volumes: block devices or image files (`PATH`s or globs)", EnvVars: []string{"COWHAND_DEVICES"}},
		&cli.StringFlag{Name: "state-dir", Usage: "`DIR` of journals and saved definitions", EnvVars: []string{"COWHAND_STATE_DIR"}},
		&cli.StringFlag{Name: "run-dir", Usage: "`DIR` of the engine's sockets", EnvVars: []string{"COWHAND_RUN_DIR"}},
		&cli.StringFlag{Name: "lvm-dir", Usage: "`DIR` of backup and archive copies of metadata", Hidden: true, EnvVars: []string{"COWHAND_LVM_DIR"}},
		&cli.StringFlag{Name: "lock-dir", Usage: "`DIR` of LVM2's lock files", Hidden: true, EnvVars: []string{"COWHAND_LOCK_DIR"}},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "table, json, yaml, csv or name", Value: "table"},
		&cli.StringFlag{Name: "fields", Usage: "columns to show, `A,B`"},
		&cli.StringFlag{Name: "sort", Usage: "column to sort by"},
		&cli.BoolFlag{Name: "q", Aliases: []string{"quiet"}, Usage: "no progress, no notes"},
		&cli.BoolFlag{Name: "verbose", Usage: "tell more"},
	}
}
