package lvmconf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cowhand/lvm/lvmtext"
)

// boolean takes what libdm does (libdm/libdm-config.c, _str_to_bool).
func boolean(to *bool) setter {
	return func(v lvmtext.Value) error {
		if i, ok := v.Int(); ok {
			*to = i != 0
			return nil
		}
		s, _ := v.String()
		switch strings.ToLower(s) {
		case "y", "yes", "on", "true":
			*to = true
		case "n", "no", "off", "false":
			*to = false
		default:
			return wrong(v, "0 or 1")
		}
		return nil
	}
}

func integer(to *int64) setter {
	return func(v lvmtext.Value) error {
		i, ok := v.Int()
		if !ok {
			return wrong(v, "a whole number")
		}
		*to = i
		return nil
	}
}

// kibibytes is a number that is stored as bytes.
func kibibytes(to *int64) setter {
	return func(v lvmtext.Value) error {
		i, ok := v.Int()
		if !ok || i < 0 || i > 1<<50 {
			return wrong(v, "a number of KiB")
		}
		*to = i << 10
		return nil
	}
}

// text is a string that is not empty, and one of those known if any are given.
func text(to *string, known ...string) setter {
	return func(v lvmtext.Value) error {
		s, ok := v.String()
		switch {
		case !ok || s == "":
			return wrong(v, "text")
		case len(known) > 0 && !slices.Contains(known, s):
			return wrong(v, "one of "+strings.Join(known, ", "))
		}
		*to = s
		return nil
	}
}

func anyText(to *string) setter {
	return func(v lvmtext.Value) error {
		s, ok := v.String()
		if !ok {
			return wrong(v, "text")
		}
		*to = s
		return nil
	}
}

const (
	filled     = false
	mayBeEmpty = true
)

func list(to *[]string, empty bool) setter {
	return func(v lvmtext.Value) error {
		ss, ok := v.Strings()
		if !ok || len(ss) == 0 && !empty {
			return wrong(v, "a list of texts")
		}
		*to = append([]string{}, ss...) // not nil: it was set
		return nil
	}
}

// types are names and numbers by turns: ["fd", 16].
func types(to *[]Type) setter {
	return func(v lvmtext.Value) error {
		vs, _ := v.List()
		if len(vs) == 0 || len(vs)%2 != 0 {
			return wrong(v, "names and numbers by turns")
		}
		var found []Type
		for i := 0; i < len(vs); i += 2 {
			name, ok := vs[i].String()
			n, number := vs[i+1].Int()
			if !ok || !number || n < 1 || n > 1<<20 {
				return wrong(v, "names and numbers by turns")
			}
			found = append(found, Type{name, int(n)})
		}
		*to = found
		return nil
	}
}

func wrong(v lvmtext.Value, want string) error {
	const most = 60
	raw := v.Raw()
	if len(raw) > most {
		raw = raw[:most] + "…"
	}
	return fmt.Errorf("is %s: want %s", raw, want)
}

var errTags = errors.New("a section for hosts of some tags: tags are not read, it is taken for this host's")
