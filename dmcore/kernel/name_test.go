package kernel

import (
	"errors"
	"strings"
	"testing"

	"cowhand/dmcore"
)

func TestMangle(t *testing.T) {
	for name, want := range map[dmcore.Name]string{
		"vg0-web--01-real": "vg0-web--01-real",
		"a+b#c.d:e=f@g_h":  "a+b#c.d:e=f@g_h",
		"a b":              `a\x20b`,
		"ü":                `\xc3\xbc`,
		`a\b`:              `a\x5cb`,
		`a\x20b`:           `a\x20b`, // is mangled already
		`a\xzz`:            `a\x5cxzz`,
	} {
		got, err := mangle(name)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", name, got, err, want)
		}
		if back := unmangle(got); back != name && name != `a\x20b` {
			t.Errorf("%q: comes back as %q", name, back)
		}
	}
	for _, bad := range []dmcore.Name{"", "a/b", "a\x00b", `a\x20 b`, dmcore.Name(strings.Repeat("x", 128)), dmcore.Name(strings.Repeat(" ", 32))} {
		if got, err := mangle(bad); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	for kernel, want := range map[string]dmcore.Name{
		`a\x20b`:     "a b",
		`a\x20b c`:   `a\x20b c`, // another program's: stays
		`a\x41`:      `a\x41`,    // so does what needed no mangling
		`a\x`:        `a\x`,
		`a\x5cx20b`:  `a\x5cx20b`, // would come back as something else
		"plain-name": "plain-name",
	} {
		if got := unmangle(kernel); got != want {
			t.Errorf("%q: %q, want %q", kernel, got, want)
		}
	}
}

func FuzzMangle(f *testing.F) {
	f.Add("a b")
	f.Add(`a\x5cx20`)
	f.Fuzz(func(t *testing.T, s string) {
		k, err := mangle(dmcore.Name(s))
		if err == nil {
			again, err := mangle(unmangle(k))
			if err != nil || again != k {
				t.Errorf("%q: %q, and again %q, %v", s, k, again, err)
			}
		}
		if n := unmangle(s); n != dmcore.Name(s) {
			if again, err := mangle(n); err != nil || again != s {
				t.Errorf("the kernel's %q: %q, back as %q, %v", s, n, again, err)
			}
		}
	})
}
