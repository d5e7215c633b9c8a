package dmcore

import (
	"strings"
	"unicode"
)

// Other is a target that this package has no type for: it was found in a table
// that another program loaded. Args is what the table says, to the letter.
// [ParseTarget] never gives one, so that what we mean to load is understood.
type Other struct{ Kind, Args string }

// Type is the kernel's name for it.
func (t Other) Type() string { return t.Kind }

// Params is what the table says.
func (t Other) Params() string { return t.Args }

// Devs lists the arguments that look like device numbers.
func (t Other) Devs() []Dev {
	var devs []Dev
	for _, arg := range strings.Fields(t.Args) {
		if major, minor, ok := strings.Cut(arg, ":"); ok && isNumber(major) && isNumber(minor) {
			devs = append(devs, Dev(arg))
		}
	}
	return devs
}

func isNumber(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r > '9' || !unicode.IsDigit(r) }) < 0
}

// withDevs changes nothing: which argument is a device is not known.
func (t Other) withDevs(func(Dev) (Dev, error)) (Target, error) { return t, nil }
