package devscan

import (
	"errors"
	"strings"
	"testing"
)

// What lvm2's own matcher says (libdevmapper 1.02.185, dm_regex_match), to
// which 50,000 random pairs were compared as well.
func TestRegex(t *testing.T) {
	for _, test := range []struct {
		expr, name string
		want       bool
	}{
		{"^/dev/sda$", "/dev/sda", true}, {"^/dev/sda$", "/dev/sda1", false}, {"/dev/sda", "/dev/sda1", true},
		{"sda.", "/dev/sda", true}, // '.' matches the end
		{"sda[^0-9]", "/dev/sda", true}, {"sda[^0-9]$", "/dev/sda", false}, {".^/dev", "/dev/sda", false},
		{".*", "", true}, {"x*", "/dev/sda", true}, {`\d`, "/dev/sda", true}, {`\d`, "/dev/sd7", true}, {`\d`, "8", false},
		{"sd{1}", "/dev/sd", false}, {"sd{1}", "/dev/sd{1}", true}, {"[]a]", "a]", false}, {"[z-a]", "m", true},
		{"[-a]", "-", true}, {"[a-c-e]", "d", true}, {`[\-x]`, "-", true}, {"(sd|vd)[a-z]$", "/dev/vdb", true},
		{"(sd|vd)[a-z]$", "/dev/vdb1", false}, {"[[:alpha:]]", "/dev/sda", false}, {"$a", "a", false}, {`a\tb`, "a\tb", true},
		{`a\\\\`, "a", false}, {`\^`, "/dev/^", true}, {`\^`, "/dev/sda", false}, {"ü", "/dev/ü", true}, {"[^a]ü", "/dev/ü", true},
		{"(a+)*b", "/dev/aab", true}, {"a?+b", "b", true}, {"^(/dev/)?sd", "sda", true},
	} {
		re, err := compileRegex(test.expr)
		if err != nil {
			t.Errorf("%s: %v", test.expr, err)
		} else if got := matches(re, test.name); got != test.want {
			t.Errorf("%s on %q: %t", test.expr, test.name, got)
		}
	}
	// The first five lvm2 refuses, too. The next two it takes for what they happen to
	// become when all patterns are put into one.
	for _, expr := range []string{"(?i)sda", "()", "(a|)", "[a", "+", "a)", "|a", "", "[é]", "[a-\x7f]", `\`, "a\x00b",
		strings.Repeat("(", 200) + "a" + strings.Repeat(")", 200), strings.Repeat("a", 5000)} {
		if _, err := compileRegex(expr); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.20q: %v", expr, err)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("a|^/dev/sd[a-c]$|", "/dev/sda")
	f.Add("r(.*(a|b)+?)", "b")
	f.Add(`a{[^\]-x]\.}`, "]")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		filter, err := ParseFilter([]string{pattern})
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		names, accept, by := filter.choose([]string{name, "/dev/other"})
		if len(names) != 2 || by != "" && by != pattern || pattern[0] == 'a' && !accept {
			t.Fatalf("%q on %q: %q %t %q", pattern, name, names, accept, by)
		}
	})
}
