package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"cowhand/lvm"
)

// host is one run of the program: its streams, its settings, and the layers as
// far as the command has needed them.
type host struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	settings
	args    []string    // the command line, for the record
	lvm     *lvm.Engine // nil until a command needs it
	unknown string      // a word that is no command
	changed bool        // something was changed: an error is no refusal any more
	closers []func() error
}

// settings are what flags, environment and file say, in this order.
type settings struct {
	uri       string
	engine    string
	devices   []string
	stateDir  string
	runDir    string
	lvmDir    string // of backup and archive copies of metadata
	lockDir   string
	qemuUsers []string
	output    string
	fields    []string
	sort      string
	quiet     bool
	verbose   bool
	color     bool
}

// configure reads the settings before any command runs.
func (h *host) configure(c *cli.Context) error {
	h.settings = settings{
		uri: c.String("connect"), engine: c.String("engine"), devices: c.StringSlice("devices"),
		stateDir: c.String("state-dir"), runDir: c.String("run-dir"), output: c.String("output"),
		lvmDir: c.String("lvm-dir"), lockDir: c.String("lock-dir"), qemuUsers: []string{"libvirt-qemu", "qemu"},
		sort: c.String("sort"), quiet: c.Bool("q"), verbose: c.Bool("verbose"), color: !c.Bool("no-color"),
	}
	if f := c.String("fields"); f != "" {
		h.fields = strings.Split(f, ",")
	}
	switch h.output {
	case "table", "json", "yaml", "csv", "name":
	default:
		return usagef("--output %q: want table, json, yaml, csv or name", h.output)
	}
	state, run := defaultDirs()
	if h.stateDir == "" {
		h.stateDir = state
	}
	if h.runDir == "" {
		h.runDir = run
	}
	if h.lvmDir == "" {
		h.lvmDir = filepath.Join(h.stateDir, "lvm")
	}
	if h.lockDir == "" {
		h.lockDir = lvm.DefaultLockDir
		if os.Geteuid() != 0 {
			h.lockDir = filepath.Join(h.runDir, "lock")
		}
	}
	switch h.engine {
	case "", "auto", "userspace":
	case "kernel":
		return &refusal{"engine kernel: this version drives the userspace engine only", errors.ErrUnsupported}
	default:
		return usagef("--engine %q: want auto, kernel or userspace", h.engine)
	}
	return nil
}

// defaultDirs are the system's for root and the user's own for others.
func defaultDirs() (state, run string) {
	if os.Geteuid() == 0 {
		return "/var/lib/cowhand", "/run/cowhand"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	state = filepath.Join(home, ".local", "state", "cowhand")
	if d := os.Getenv("XDG_STATE_HOME"); d != "" {
		state = filepath.Join(d, "cowhand")
	}
	run = filepath.Join(os.TempDir(), fmt.Sprintf("cowhand-%d", os.Geteuid()))
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		run = filepath.Join(d, "cowhand")
	}
	return state, run
}

// onClose has f called when the command is over.
func (h *host) onClose(f func() error) { h.closers = append(h.closers, f) }

func (h *host) close(*cli.Context) error {
	var err error
	for i := len(h.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, h.closers[i]())
	}
	h.closers = nil
	return err
}

// noCommand is what happens when no command was named.
func (h *host) noCommand(c *cli.Context) error {
	if h.unknown != "" {
		return usagef("%q is no command of cowhand", h.unknown)
	}
	if c.Args().Present() {
		return usagef("%q is no command of cowhand", c.Args().First())
	}
	return cli.ShowAppHelp(c)
}

// refusal is an error that was found before anything was touched.
type refusal struct {
	text string
	err  error
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.err }

// note tells people something that scripts do not need.
func (h *host) note(format string, args ...any) {
	if !h.quiet {
		fmt.Fprintf(h.stderr, format+"\n", args...)
	}
}

// logger is for the daemon, whose standard error is a file.
func (h *host) logger() *slog.Logger { return slog.New(slog.NewTextHandler(h.stderr, nil)) }

// action gives a command its context.
func action(f func(ctx context.Context, c *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error { return f(c.Context, c) }
}
