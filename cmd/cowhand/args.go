package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves flags that stand behind a command's arguments before them,
// and those of the program behind a command before that: urfave/cli v2 stops
// looking for flags at the first argument and would take `snapshot web1 --size
// 5G` without a word for three guests. What follows "--" stays as it is, and so
// does all behind a command that parses its flags itself.
func flagsFirst(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	var global, path []string
	rest := args[1:]
	flags, commands := app.Flags, app.Commands
	for {
		here, after, cmd := untilCommand(flags, commands, rest)
		path = append(path, here...)
		if cmd == nil {
			path = append(path, after...)
			break
		}
		path, rest = append(path, after[0]), after[1:]
		flags, commands = cmd.Flags, cmd.Subcommands
		if cmd.SkipFlagParsing {
			path = append(path, rest...)
			break
		}
		if len(commands) == 0 {
			most, tail, err := sortArgs(app.Flags, cmd.Flags, rest)
			if err != nil {
				return nil, err
			}
			global, path = most, append(path, tail...)
			break
		}
	}
	return append(append(args[:1:1], global...), path...), nil
}

// untilCommand splits args at the first word that is a command.
func untilCommand(flags []cli.Flag, commands []*cli.Command, args []string) (here, after []string, cmd *cli.Command) {
	for i := 0; i < len(args); i++ {
		if isFlag(args[i]) {
			i += max(0, values(flags, args[i]))
			continue
		}
		for _, c := range commands {
			if c.HasName(args[i]) {
				return args[:i], args[i:], c
			}
		}
		return args[:i], args[i:], nil
	}
	return args, nil, nil
}

// sortArgs puts a command's flags before its arguments, and takes out those
// that are the program's.
func sortArgs(program, command []cli.Flag, args []string) (global, local []string, err error) {
	var plain []string
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
		n, to := values(command, a), &local
		if n < 0 {
			if n = values(program, a); n >= 0 {
				to = &global
			}
		}
		n = max(0, n)
		if i+n >= len(args) {
			return nil, nil, usagef("flag %s needs a value", a)
		}
		*to = append(*to, args[i:i+1+n]...)
		i += n
	}
	return global, append(local, plain...), nil
}

func isFlag(s string) bool { return len(s) > 1 && s[0] == '-' && s != "--" }

// values is how many of the words behind a flag belong to it; -1 if it is none
// of the flags.
func values(flags []cli.Flag, word string) int {
	name, _, inline := strings.Cut(strings.TrimLeft(word, "-"), "=")
	for _, f := range flags {
		for _, n := range f.Names() {
			if n != name {
				continue
			}
			if b, ok := f.(cli.DocGenerationFlag); inline || ok && !b.TakesValue() {
				return 0
			}
			return 1
		}
	}
	return -1
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
