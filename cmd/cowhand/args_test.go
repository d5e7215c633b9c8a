package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

func TestFlagsFirst(t *testing.T) {
	app := &cli.App{
		Name:  "cowhand",
		Flags: []cli.Flag{&cli.StringFlag{Name: "config"}, &cli.BoolFlag{Name: "q"}},
		Commands: []*cli.Command{
			{Name: "snapshot", Flags: []cli.Flag{&cli.StringFlag{Name: "size"}, &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}}}},
			{Name: "merge", Subcommands: []*cli.Command{{Name: "start", Flags: []cli.Flag{&cli.BoolFlag{Name: "b"}}}}},
			{Name: "lvm", SkipFlagParsing: true},
		},
	}
	for in, want := range map[string]string{
		"cowhand snapshot web1 --size 5G -n":        "cowhand snapshot --size 5G -n web1",
		"cowhand snapshot web1 --size=5G db1":       "cowhand snapshot --size=5G web1 db1",
		"cowhand --config f -q snapshot a -n":       "cowhand --config f -q snapshot -n a",
		"cowhand snapshot a -- -n":                  "cowhand snapshot a -- -n",
		"cowhand snapshot a --bogus b":              "cowhand snapshot --bogus a b",
		"cowhand snapshot a -q --size 1 --config f": "cowhand -q --config f snapshot --size 1 a",
		"cowhand merge start @t -b -q":              "cowhand -q merge start -b @t",
		"cowhand merge start @t -b":                 "cowhand merge start -b @t",
		"cowhand lvm lvcreate vg -s -L 4m":          "cowhand lvm lvcreate vg -s -L 4m",
		"cowhand":                                   "cowhand",
		"cowhand nonsense -n":                       "cowhand nonsense -n",
	} {
		got, err := flagsFirst(app, strings.Fields(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
	if _, err := flagsFirst(app, strings.Fields("cowhand snapshot a --size")); err == nil {
		t.Error("a flag without its value is accepted")
	}
}
