package lvmtext_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/lvm/lvmtext"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, text string) *lvmtext.Section {
	t.Helper()
	root, err := lvmtext.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return root
}

var identity = []string{
	"",
	"\n\n",
	"# only a comment",
	"a=1",
	"a = 1 # no newline at the end",
	"a = 1b = 2",
	"\tkey\t=\r\n  -5   # negative\nf = 1.5 g = .5 h = +3\n",
	"e = [] f = [ ] g=[\"a\" \"b\"] h = [1,2, -3,]\n",
	"s = \"a\\\"b\\\\c\\d\" q = 'it \"is\" \\' b = bare,word]\n",
	"\"quoted name\" { 'x' = 1 } -5 = 3\n",
	"v { # opens\n w { x { } } # closes\n}\n# end\n\x00left over } { \xff",
	"multi = \"a\nb\"\narr = [ # one\n 1, # two\n 2\n]\n",
	"my-lv.1+x { id = \"\" }\r\n\v\f",
	"caf\xe9 = \"\xff\"\n",
}

func TestParseKeepsEveryByte(t *testing.T) {
	texts := append([]string{}, identity...)
	for _, name := range []string{"vg-text-seqno12.bin", "two-lvs.raw", "two-lvs.vg"} {
		texts = append(texts, string(read(t, name)))
	}
	for _, text := range texts {
		root := parse(t, text)
		if diff := cmp.Diff(text, string(root.Bytes())); diff != "" {
			t.Errorf("Bytes (-want +got):\n%s", diff)
		}
		clone := root.Clone()
		clone.Set("cowhand", lvmtext.Int(1))
		clone.Delete("cowhand")
		parse(t, string(clone.Bytes()))
		if string(root.Bytes()) != text {
			t.Errorf("editing a clone changed the original of %q", text)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"a", "1:2: want '=' or '{' after \"a\""},
		{"a = ", "1:5: want a value"},
		{"a = 1\nb { c = 2\n", "3:1: section \"b\" is not closed"},
		{"}", "1:1: unexpected '}'"},
		{"a = \"x", "1:5: string is not closed"},
		{"a = 'x\x00'", "1:5: string is not closed"},
		{"a = [1", "1:5: array is not closed"},
		{"a = [1 2]", "1:8: want ',' or ']' in an array"},
		{"a = [[1]]", "1:6: want a value"},
		{"a = -", "1:5: want digits after \"-\""},
		{"\n\n  = 1", "3:3: want a name, found \"=\""},
		{"'' = 1", "1:3: empty name"},
		{"a = 1\na { }", "2:6: section \"\" ending here has two entries \"a\""},
		{strings.Repeat("a {", 40), "1:99: sections are nested more than 32 deep"},
	} {
		_, err := lvmtext.Parse([]byte(test.text))
		if !errors.Is(err, lvmtext.ErrSyntax) || !strings.HasPrefix(err.Error(), test.want+": ") {
			t.Errorf("Parse(%.20q) = %v, want %s", test.text, err, test.want)
		}
	}
}

func TestValues(t *testing.T) {
	root := parse(t, `i = -12 o = 010 big = 99999999999999999999 f = 1.5 s = "a\"b\\c\d" r = 'a\"' w = bare e = [] `+
		`l = ["a", "b"] m = ["pv0", 4096]`)
	for _, test := range []struct {
		key  string
		want string
	}{
		{"i", "int -12 float -12"},
		{"o", "int 8 float 10"},
		{"big", "float 1e+20"},
		{"f", "float 1.5"},
		{"s", `string "a\"b\\c\\d" strings ["a\"b\\c\\d"]`},
		{"r", `string "a\\\"" strings ["a\\\""]`},
		{"w", `string "bare" strings ["bare"]`},
		{"e", "strings [] list 0"},
		{"l", `strings ["a" "b"] list 2`},
		{"m", "list 2"},
	} {
		v, ok := root.Get(test.key)
		if !ok {
			t.Fatalf("no value %s", test.key)
		}
		var got []string
		if i, ok := v.Int(); ok {
			got = append(got, fmt.Sprintf("int %d", i))
		}
		if f, ok := v.Float(); ok {
			got = append(got, fmt.Sprintf("float %g", f))
		}
		if s, ok := v.String(); ok {
			got = append(got, fmt.Sprintf("string %q", s))
		}
		if ss, ok := v.Strings(); ok {
			got = append(got, fmt.Sprintf("strings %q", ss))
		}
		if l, ok := v.List(); ok {
			got = append(got, fmt.Sprintf("list %d", len(l)))
		}
		if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.key, diff)
		}
	}
	for _, s := range []string{"", "plain", `a"b\c\\"`, "new\nline", "\xff"} {
		if got, ok := lvmtext.String(s).String(); !ok || got != s {
			t.Errorf("String(%q) reads as %q", s, got)
		}
	}
}

func TestEdit(t *testing.T) {
	const before = "vg {\nid = \"x\"\nseqno = 1\t# one\n\nphysical_volumes {\n\npv0 {\nid = \"p\"\n}\n}\n\n}\n# made\nversion = 1\n\x00"
	for _, test := range []struct {
		name string
		edit func(root, vg *lvmtext.Section)
		want string
	}{
		{"replace keeps the comment", func(_, vg *lvmtext.Section) { vg.Set("seqno", lvmtext.Int(22)) },
			strings.Replace(before, "= 1\t", "= 22\t", 1)},
		{"same value changes nothing", func(_, vg *lvmtext.Section) { vg.Set("id", lvmtext.String("x")) }, before},
		{"append before the first section", func(_, vg *lvmtext.Section) { vg.Set("max_lv", lvmtext.Int(0)) },
			strings.Replace(before, "# one\n", "# one\nmax_lv = 0\n", 1)},
		{"append at the root", func(root, _ *lvmtext.Section) { root.Set("creation_time", lvmtext.Int(7)) },
			strings.Replace(before, "version = 1\n", "version = 1\ncreation_time = 7\n", 1)},
		{"delete value", func(_, vg *lvmtext.Section) { vg.Delete("seqno") },
			strings.Replace(before, "seqno = 1\t# one\n", "", 1)},
		{"delete section", func(_, vg *lvmtext.Section) { vg.Section("physical_volumes").Delete("pv0") },
			strings.Replace(before, "\npv0 {\nid = \"p\"\n}\n", "", 1)},
		{"rename", func(_, vg *lvmtext.Section) { vg.Rename("other") }, "other" + before[2:]},
		{"add", func(_, vg *lvmtext.Section) {
			lv := vg.Add("logical_volumes").Add("root")
			lv.Set("status", lvmtext.Strings([]string{"READ", "WRITE"}))
			lv.Set("flags", lvmtext.Strings(nil))
			seg := lv.Add("segment1")
			seg.Set("extent_count", lvmtext.Int(2))
			seg.Set("type", lvmtext.String("striped"))
			seg.Set("stripes", lvmtext.List(lvmtext.String("pv0"), lvmtext.Int(0), lvmtext.String("pv1"), lvmtext.Int(9)))
			lv.Add("segment2")
		}, strings.Replace(before, "}\n}\n\n}\n", "}\n}\n\nlogical_volumes {\n\nroot {\nstatus = [\"READ\", \"WRITE\"]\nflags = []\n\n"+
			"segment1 {\nextent_count = 2\n\ntype = \"striped\"\n\nstripes = [\n\"pv0\", 0,\n\"pv1\", 9\n]\n}\nsegment2 {\n}\n}\n}\n\n}\n", 1)},
		{"add before", func(_, vg *lvmtext.Section) {
			pvs := vg.Section("physical_volumes")
			pvs.AddBefore(pvs.Section("pv0"), "pv9").Set("pe_start", lvmtext.Int(2048))
		}, strings.Replace(before, "\npv0 {", "\npv9 {\npe_start = 2048\n}\n\npv0 {", 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := parse(t, before)
			test.edit(root, root.Section("vg"))
			if diff := cmp.Diff(test.want, string(root.Bytes())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			parse(t, string(root.Bytes()))
		})
	}
}

// An LV added to either flavour looks as if lvm2 had written it.
func TestAddInFlavour(t *testing.T) {
	for _, name := range []string{"two-lvs.raw", "two-lvs.vg"} {
		text := string(read(t, name))
		root := parse(t, text)
		lvs := root.Section("vgx").Section("logical_volumes")
		was := lvs.Section("b").Clone()
		lvs.Delete("b")
		rebuild(lvs.Add("b"), was)
		got := strings.NewReplacer("\t# 8 Megabytes", "", "\t# linear", "", "\t# 2026-11-23 09:21:13 +0000", "").Replace(string(root.Bytes()))
		want := strings.NewReplacer("\t# 8 Megabytes", "", "\t# linear", "", "\t# 2026-11-23 09:21:13 +0000", "").Replace(text)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func rebuild(to, from *lvmtext.Section) {
	for _, k := range from.Keys() {
		v, _ := from.Get(k)
		to.Set(k, v)
	}
	for _, s := range from.Sections() {
		rebuild(to.Add(s.Name()), s)
	}
}

func TestReflowIsWhatLVM2Writes(t *testing.T) {
	golden := read(t, "vg-text-seqno12.bin")
	raw, file := read(t, "two-lvs.raw"), read(t, "two-lvs.vg")
	description := func(b []byte) string { // differs by what lvm2 says it did
		root := parse(t, string(b))
		root.Set("description", lvmtext.String("x"))
		return string(root.Bytes())
	}
	for _, test := range []struct {
		name string
		from []byte
		file bool
		want string
	}{
		{"raw to raw", raw, false, string(bytes.TrimSuffix(raw, []byte{0}))},
		{"golden to raw", golden, false, string(bytes.TrimSuffix(golden, []byte{0}))},
		{"file to file", file, true, string(file)},
		{"raw to file", []byte(description(raw)), true, description(file)},
		{"file to raw", []byte(description(file)), false, description(bytes.TrimSuffix(raw, []byte{0}))},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := lvmtext.Reflow(parse(t, string(test.from)), test.file)
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
