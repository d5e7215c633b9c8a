package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseLVM(t *testing.T) {
	const table = "size|L: extents|l: name|n: snapshot|s addtag: activate|a: yes|y force|f pvmetadatacopies,metadatacopies: noheadings nosuffix"
	for _, c := range []struct {
		line  string
		flags map[string][]string
		words []string
		bad   string
	}{
		{line: "", flags: map[string][]string{}},
		{line: "-L4m -n root vg", flags: map[string][]string{"size": {"4m"}, "name": {"root"}}, words: []string{"vg"}},
		{line: "vg -L 4m /dev/sda -nroot", flags: map[string][]string{"size": {"4m"}, "name": {"root"}}, words: []string{"vg", "/dev/sda"}},
		{line: "-l100%FREE --name=root", flags: map[string][]string{"extents": {"100%FREE"}, "name": {"root"}}},
		{line: "--size -4m", flags: map[string][]string{"size": {"-4m"}}},
		{line: "--size=", flags: map[string][]string{"size": {""}}},
		{line: "-ay", flags: map[string][]string{"activate": {"y"}}},
		{line: "-fyan vg", flags: map[string][]string{"force": {""}, "yes": {""}, "activate": {"n"}}, words: []string{"vg"}},
		{line: "-ff", flags: map[string][]string{"force": {"", ""}}},
		{line: "-sL4m", flags: map[string][]string{"snapshot": {""}, "size": {"4m"}}},
		{line: "--addtag a --addtag=b", flags: map[string][]string{"addtag": {"a", "b"}}},
		{line: "--metadatacopies 2", flags: map[string][]string{"pvmetadatacopies": {"2"}}},
		{line: "--snap --noh", flags: map[string][]string{"snapshot": {""}, "noheadings": {""}}},
		{line: "--add-tag=a-b --no-headings- -y", flags: map[string][]string{"addtag": {"a-b"}, "noheadings": {""}, "yes": {""}}},
		{line: "-y -- -L vg", flags: map[string][]string{"yes": {""}}, words: []string{"-L", "vg"}},
		{line: "-", flags: map[string][]string{}, words: []string{"-"}},
		{line: "--no", bad: "ambiguous; possibilities: --noheadings --nosuffix"},
		{line: "--nothing", bad: "unrecognized option '--nothing'"},
		{line: "--yes=1", bad: "takes no value"},
		{line: "-q", bad: "invalid option -- 'q'"},
		{line: "-yq", bad: "invalid option -- 'q'"},
		{line: "-L", bad: "-L requires an argument"},
		{line: "--size", bad: "--size requires an argument"},
		{line: "--L 4m", bad: "unrecognized option"},
	} {
		got, err := parseLVM(lvmOptions(table), strings.Fields(c.line))
		if c.bad != "" {
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%q: %v, want %q", c.line, err, c.bad)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.line, err)
			continue
		}
		if diff := cmp.Diff(c.flags, got.flags); diff != "" {
			t.Errorf("%q: flags:\n%s", c.line, diff)
		}
		if diff := cmp.Diff(c.words, got.words); diff != "" {
			t.Errorf("%q: words:\n%s", c.line, diff)
		}
	}
}

// Every command's table can be read, and none of its flags hides another.
func TestLVMFlagsAreDistinct(t *testing.T) {
	for _, v := range lvmVerbs() {
		letters := map[string]string{}
		own := map[string]bool{}
		for word := range strings.FieldsSeq(v.flags + " " + lvmCommon) {
			names, short, _ := strings.Cut(strings.TrimSuffix(word, ":"), "|")
			long, _, _ := strings.Cut(names, ",")
			if own[long] && strings.Count(" "+v.flags+" ", " "+word+" ") != 1 {
				t.Errorf("%s: --%s twice", v.name, long)
			}
			if was := letters[short]; short != "" && was != "" && was != long {
				t.Errorf("%s: -%s is --%s and --%s", v.name, short, was, long)
			}
			own[long], letters[short] = true, long
		}
	}
}

func TestLVMActivation(t *testing.T) {
	for value, want := range map[string][2]bool{"y": {true, false}, "ay": {true, true}, "n": {false, false}, "ey": {true, false}, "ln": {false, false}} {
		a := &lvmArgs{flags: map[string][]string{"activate": {value}}}
		on, auto, err := a.activation(false)
		if err != nil || on != want[0] || auto != want[1] {
			t.Errorf("-a%s: %v %v %v, want %v", value, on, auto, err, want)
		}
	}
	a := &lvmArgs{flags: map[string][]string{"activate": {"perhaps"}}}
	if _, _, err := a.activation(true); err == nil {
		t.Error("-aperhaps is taken")
	}
}

func FuzzParseLVM(f *testing.F) {
	f.Add("-L4m vg")
	f.Add("--addtag=x -- -y")
	f.Add("-ff --na x")
	options := lvmOptions(lvmVerbs()[0].flags + " " + lvmCommon)
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Split(line, " ")
		a, err := parseLVM(options, words)
		if err != nil {
			return
		}
		n := len(a.words)
		for name, values := range a.flags {
			if options["--"+name] == nil {
				t.Fatalf("%q: flag %q is none of the table", line, name)
			}
			n += len(values)
		}
		if n == 0 && strings.Trim(line, "- ") != "" {
			t.Fatalf("%q: nothing was read", line)
		}
	})
}
