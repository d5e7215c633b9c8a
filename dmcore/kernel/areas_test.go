package kernel

import (
	"errors"
	"testing"

	"cowhand/dmcore"
)

func TestCheckAreas(t *testing.T) {
	size := func(d dmcore.Dev) dmcore.Sectors {
		return map[dmcore.Dev]dmcore.Sectors{"8:0": 100, "8:16": 50, "8:32": 100}[d]
	}
	coming := func(d dmcore.Dev) dmcore.Sectors { return map[dmcore.Dev]dmcore.Sectors{"8:32": 200}[d] }
	for text, want := range map[string]error{
		"0 200 linear 8:32 0":                  nil, // it is going to be larger
		"0 201 linear 8:32 0":                  dmcore.ErrInvalid,
		"0 100 linear 8:0 0":                   nil,
		"0 99 linear 8:0 1":                    nil,
		"0 100 linear 8:0 1":                   dmcore.ErrInvalid,
		"0 1 linear 8:0 100":                   dmcore.ErrInvalid,
		"0 8 zero\n8 100 linear 8:0 0":         nil,
		"0 1000 linear 253:7 0":                nil, // no size yet
		"0 96 striped 2 8 8:0 52 8:16 2":       nil,
		"0 96 striped 2 8 8:0 52 8:16 3":       dmcore.ErrInvalid,
		"0 50 snapshot-origin 8:16":            nil,
		"0 51 snapshot-origin 8:16":            dmcore.ErrInvalid,
		"0 51 snapshot 8:16 8:0 P 8":           dmcore.ErrInvalid,
		"0 51 snapshot-merge 8:16 8:0 P 8":     dmcore.ErrInvalid,
		"0 100 snapshot 8:0 8:16 P 8":          nil,
		"0 8 linear 8:0 18014398509481984":     dmcore.ErrInvalid,
		"0 18014398509481984 linear 253:7 100": nil,
	} {
		table, err := dmcore.ParseTable(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkAreas(table, size, coming); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	overflow := dmcore.Table{{Length: 8, Target: dmcore.Linear{Dev: "8:0", Start: 1<<64 - 4}}}
	if err := checkAreas(overflow, size, coming); !errors.Is(err, dmcore.ErrInvalid) {
		t.Errorf("an area that wraps: %v", err)
	}
}
