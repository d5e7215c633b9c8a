package lvmtext_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/lvm/lvmtext"
)

// What lvm2 2.03.16 reads of the same text was seen with lvmconfig.
func TestParseSettings(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string // "line path = value"
	}{
		{"", nil},
		{"# nothing\n", nil},
		{"devices {\n\tdir = \"/dev\" # here\n\tscan=[\n\"/dev\", '/x' ]\n}\nglobal { units = h }",
			[]string{`2 devices/dir = "/dev"`, "3 devices/scan = [\n\"/dev\", '/x' ]", "6 global/units = h"}},
		{"devices { filter = 1 }\n\ndevices { filter = 2\nfilter=3 }",
			[]string{"1 devices/filter = 1", "3 devices/filter = 2", "4 devices/filter = 3"}},
		{"devices/filter = [ ]\n/devices//dir/ = x\na { b/c { d = 1 } }",
			[]string{"1 devices/filter = [ ]", "2 devices/dir = x", "3 a/b/c/d = 1"}},
		{"tags { one { } two { # none\n} three { four { } } }", []string{"1 tags/one = ", "1 tags/two = ", "2 tags/three/four = "}},
		{"a = 1\x00 } what is this", []string{"1 a = 1"}},
	} {
		settings, err := lvmtext.ParseSettings([]byte(test.text))
		var got []string
		for _, s := range settings {
			got = append(got, fmt.Sprintf("%d %s = %s", s.Line, s.Path, s.Value.Raw()))
		}
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got)\n%s", test.text, err, diff)
		}
	}
	for text, place := range map[string]string{
		"a {\n b = 1\n": "3:1: ", "}": "1:1: ", "a\n=\n": "3:1: ", "a { b }": "1:7: ", "a = [1": "1:5: ",
		strings.Repeat("a {", 40): "1:", strings.Repeat("a", 300) + " = 1": "1:",
	} {
		if _, err := lvmtext.ParseSettings([]byte(text)); !errors.Is(err, lvmtext.ErrSyntax) || !strings.HasPrefix(err.Error(), place) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What Parse reads, ParseSettings reads too, and alike.
func FuzzParseSettings(f *testing.F) {
	seed(f)
	f.Add([]byte("devices { filter = [ \"a|^/dev/sd|\", \"r|.*|\" ] }\ndevices/dir = \"/dev\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		settings, err := lvmtext.ParseSettings(text)
		if err == nil {
			for _, s := range settings {
				if s.Line < 1 || s.Line > 1+strings.Count(string(text), "\n") {
					t.Fatalf("line %d of %q", s.Line, text)
				}
			}
		}
		root, strict := lvmtext.Parse(text)
		if strict != nil {
			return
		}
		if err != nil && !strings.Contains(err.Error(), "at most") {
			t.Fatalf("%q: %v", text, err)
		}
		settings = slices.DeleteFunc(settings, func(s lvmtext.Setting) bool { return s.Value == lvmtext.Value{} })
		if n := count(root); err == nil && n != len(settings) {
			t.Fatalf("%q: %d settings, %d values", text, len(settings), n)
		}
	})
}

func count(s *lvmtext.Section) int {
	n := len(s.Keys())
	for _, sub := range s.Sections() {
		n += count(sub)
	}
	return n
}
