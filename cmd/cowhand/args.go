package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves flags that stand behind a command's arguments before them:
// urfave/cli v2 stops looking for flags at the first argument and would take
// `snapshot web1 --size 5G` without a word for three guests. What follows "--"
// stays as it is, and so does all behind a command that parses its flags
// itself.
func flagsFirst(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	out := args[:1:1]
	rest := args[1:]
	flags, commands := app.Flags, app.Commands
	for {
		here, after, cmd, err := untilCommand(flags, commands, rest)
		if err != nil {
			return nil, err
		}
		out = append(out, here...)
		if cmd == nil {
			return append(out, after...), nil
		}
		out, rest = append(out, after[0]), after[1:]
		if cmd.SkipFlagParsing {
			return append(out, rest...), nil
		}
		flags, commands = append(flags[:len(flags):len(flags)], cmd.Flags...), cmd.Subcommands
		if len(commands) == 0 {
			tail, err := sortArgs(cmd.Flags, rest)
			return append(out, tail...), err
		}
	}
}

// untilCommand splits args at the first word that is a command.
func untilCommand(flags []cli.Flag, commands []*cli.Command, args []string) (here, after []string, cmd *cli.Command, err error) {
	for i := 0; i < len(args); i++ {
		if isFlag(args[i]) {
			i += values(flags, args[i])
			continue
		}
		for _, c := range commands {
			if c.HasName(args[i]) {
				return args[:i], args[i:], c, nil
			}
		}
		return args[:i], args[i:], nil, nil
	}
	return args, nil, nil, nil
}

// sortArgs puts a command's flags before its arguments.
func sortArgs(flags []cli.Flag, args []string) ([]string, error) {
	var flagged, plain []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			plain = append(plain, args[i:]...)
			break
		}
		if !isFlag(a) {
			plain = append(plain, a)
			continue
		}
		n := values(flags, a)
		if i+n >= len(args) {
			return nil, usagef("flag %s needs a value", a)
		}
		flagged = append(flagged, args[i:i+1+n]...)
		i += n
	}
	return append(flagged, plain...), nil
}

func isFlag(s string) bool { return len(s) > 1 && s[0] == '-' && s != "--" }

// values is how many of the words behind a flag belong to it. An unknown flag
// takes none; the parser will name it.
func values(flags []cli.Flag, word string) int {
	name, _, inline := strings.Cut(strings.TrimLeft(word, "-"), "=")
	if inline {
		return 0
	}
	for _, f := range flags {
		for _, n := range f.Names() {
			if n != name {
				continue
			}
			if b, ok := f.(cli.DocGenerationFlag); ok && !b.TakesValue() {
				return 0
			}
			return 1
		}
	}
	return 0
}

// arguments checks how many arguments a command has got; most < 0 is no limit.
func arguments(c *cli.Context, least, most int, what string) ([]string, error) {
	args := c.Args().Slice()
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) < least || (most >= 0 && len(args) > most) {
		return nil, usagef("%s: want %s, got %d argument(s)", c.Command.Name, what, len(args))
	}
	return args, nil
}

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}
