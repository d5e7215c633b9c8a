package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/urfave/cli/v2"

	"cowhand/dmcore"
	"cowhand/dmcore/kernel"
	"cowhand/lvm"
	"cowhand/lvm/devscan"
)

// host is one run of the program: its streams, its settings, and the layers as
// far as the command has needed them.
type host struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	settings
	args    []string    // the command line, for the record
	lvm     *lvm.Engine // nil until a command needs it
	dm      *kernel.Control
	found   *devscan.Result       // devices that lvm2 would look at; nil: there is a list, or nobody has looked
	nodes   map[string]dmcore.Dev // how the kernel's tables name physical volumes
	unknown string                // a word that is no command
	changed bool                  // something was changed: an error is no refusal any more
	closers []func() error
}

// onClose has f called when the command is over.
func (h *host) onClose(f func() error) { h.closers = append(h.closers, f) }

// close lets go of the connections. What goes wrong then is told and is no
// error: what was to be done is done, or has an error of its own.
func (h *host) close(*cli.Context) error {
	for i := len(h.closers) - 1; i >= 0; i-- {
		if err := h.closers[i](); err != nil {
			h.note("warning: %s", err)
		}
	}
	h.closers = nil
	return nil
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
