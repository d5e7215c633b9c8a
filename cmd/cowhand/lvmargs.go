package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cowhand/lvm"
)

// lvmOption is a flag of one of LVM2's commands. One letter may mean different
// things to different commands.
type lvmOption struct {
	long  string
	short byte // 0: none
	value bool
}

// lvmOptions reads a table of flags: "size|L: yes|y" are --size, which takes a
// value, and --yes. Several long names share a flag as "a,b|x".
func lvmOptions(table string) map[string]*lvmOption {
	options := map[string]*lvmOption{}
	for word := range strings.FieldsSeq(table) {
		o := &lvmOption{}
		word, o.value = strings.CutSuffix(word, ":")
		names, short, _ := strings.Cut(word, "|")
		if short != "" {
			o.short = short[0]
			options["-"+short] = o
		}
		for i, n := range strings.Split(names, ",") {
			if i == 0 {
				o.long = n
			}
			options["--"+n] = o
		}
	}
	return options
}

// lvmArgs are the flags and the other words of a command line of LVM2's.
type lvmArgs struct {
	flags map[string][]string // by long name, in order; "" for flags without a value
	words []string
}

func (a *lvmArgs) has(name string) bool     { return len(a.flags[name]) > 0 }
func (a *lvmArgs) all(name string) []string { return a.flags[name] }

// get is the last value of a flag, "" if it was not given.
func (a *lvmArgs) get(name string) string {
	if v := a.flags[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// parseLVM reads a command line as getopt_long does: flags may stand anywhere
// up to "--", short ones together ("-fy") and with their value attached
// ("-L4m"), long ones abbreviated as far as they are unique, and with hyphens anywhere.
func parseLVM(options map[string]*lvmOption, args []string) (*lvmArgs, error) {
	a := &lvmArgs{flags: map[string][]string{}}
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		next := func(flag string) (string, error) {
			if len(args) == 0 {
				return "", usagef("option %s requires an argument", flag)
			}
			v := args[0]
			args = args[1:]
			return v, nil
		}
		switch {
		case word == "--":
			a.words = append(a.words, args...)
			return a, nil
		case strings.HasPrefix(word, "--"):
			name, value, attached := strings.Cut(word, "=")
			name = "--" + strings.ReplaceAll(name[2:], "-", "") // lvm2 2.03.16, tools/lvmcmdline.c, lvm_run_command
			o, err := lvmLong(options, name)
			if err != nil {
				return nil, err
			}
			switch {
			case attached && !o.value:
				return nil, usagef("option %s takes no value", name)
			case o.value && !attached:
				if value, err = next(name); err != nil {
					return nil, err
				}
			}
			a.flags[o.long] = append(a.flags[o.long], value)
		case len(word) > 1 && word[0] == '-':
			for rest := word[1:]; rest != ""; {
				flag := "-" + rest[:1]
				o := options[flag]
				if o == nil {
					return nil, usagef("invalid option -- '%s'", rest[:1])
				}
				value := ""
				if rest = rest[1:]; o.value {
					if value, rest = rest, ""; value == "" {
						var err error
						if value, err = next(flag); err != nil {
							return nil, err
						}
					}
				}
				a.flags[o.long] = append(a.flags[o.long], value)
			}
		default:
			a.words = append(a.words, word)
		}
	}
	return a, nil
}

// lvmLong finds a long flag by its name or the beginning of one.
func lvmLong(options map[string]*lvmOption, name string) (*lvmOption, error) {
	if o := options[name]; o != nil && len(name) > 2 {
		return o, nil
	}
	var found []string
	var one *lvmOption
	same := true
	for n, o := range options {
		if len(name) > 2 && strings.HasPrefix(n, name) {
			same = same && (one == nil || one == o)
			found, one = append(found, n), o
		}
	}
	switch {
	case len(found) == 0:
		return nil, usagef("unrecognized option '%s'", name)
	case !same:
		slices.Sort(found)
		return nil, usagef("option '%s' is ambiguous; possibilities: %s", name, strings.Join(found, " "))
	}
	return one, nil
}

// tags are the values of --addtag or --deltag, which may begin with "@".
func (a *lvmArgs) tags(name string) []string {
	var tags []string
	for _, t := range a.all(name) {
		tags = append(tags, strings.TrimPrefix(t, "@"))
	}
	return tags
}

// check looks at values that are alike for all commands.
func (a *lvmArgs) check() error {
	if t := a.get("type"); t != "" && !slices.Contains(lvmTypes, t) {
		return usagef("Invalid argument for --type: %s", t)
	}
	for _, flag := range []string{"addtag", "deltag"} {
		for _, t := range a.tags(flag) {
			if lvm.CheckTag(t) != nil {
				return lvmValue(flag, t)
			}
		}
	}
	for _, flag := range []string{"zero", "wipesignatures", "poll", "setactivationskip", "setautoactivation", "errorwhenfull", "poolmetadataspare", "persistent"} {
		if _, err := a.yesNo(flag, true); err != nil {
			return err
		}
	}
	for flag, harmless := range lvmHarmless {
		if v := a.get(flag); a.has(flag) && !slices.Contains(strings.Fields(harmless), v) {
			return fmt.Errorf("--%s %s: %w", flag, v, errors.ErrUnsupported)
		}
	}
	return nil
}

// lvmHarmless are flags for what cannot be done here, and the values that do
// not ask for it.
var lvmHarmless = map[string]string{
	"activationmode":   "complete degraded",
	"vgmetadatacopies": "unmanaged 0",
	"metadatatype":     "2 lvm2",
	"labelsector":      "1",
}

// yesNo reads the value of flags such as -Z and -W.
func (a *lvmArgs) yesNo(name string, otherwise bool) (bool, error) {
	if !a.has(name) {
		return otherwise, nil
	}
	switch v := a.get(name); strings.ToLower(v) {
	case "y", "yes", "1":
		return true, nil
	case "n", "no", "0":
		return false, nil
	default:
		return false, lvmValue(name, v)
	}
}

// lvmValue is the complaint about a value that a flag cannot have.
func lvmValue(name, value string) error {
	return usagef("invalid argument for --%s: %s", name, value)
}

// activation reads -a: whether devices are made, and whether only those that
// are made at boot (-aay). Locks of clusters (e, s, l) are of no matter here.
func (a *lvmArgs) activation(otherwise bool) (on, auto bool, err error) {
	if !a.has("activate") {
		return otherwise, false, nil
	}
	switch v := a.get("activate"); v {
	case "y", "ey", "sy", "ly", "ye", "ys", "yl", "e", "s":
		return true, false, nil
	case "ay", "aay", "ya":
		return true, true, nil
	case "n", "ln", "en", "nl", "ne":
		return false, false, nil
	default:
		return false, false, lvmValue("activate", v)
	}
}

// number reads a count.
func (a *lvmArgs) number(name string, otherwise, least, most int) (int, error) {
	if !a.has(name) {
		return otherwise, nil
	}
	v, n := a.get(name), 0
	if _, err := fmt.Sscanf(v+"\n", "%d\n", &n); err != nil || n < least || n > most {
		return 0, lvmValue(name, v)
	}
	return n, nil
}
