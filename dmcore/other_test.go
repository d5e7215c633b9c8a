package dmcore_test

import (
	"slices"
	"testing"

	"cowhand/dmcore"
)

func TestOtherTarget(t *testing.T) {
	table := dmcore.Table{{Start: 0, Length: 8, Target: dmcore.Other{Kind: "raid", Args: "raid1 3 0 region_size 1024 2 - 253:4 253:5 x:1 1:"}}}
	if got, want := table.String(), "0 8 raid raid1 3 0 region_size 1024 2 - 253:4 253:5 x:1 1:"; got != want {
		t.Errorf("prints as %q, want %q", got, want)
	}
	if got, want := table.Devs(), []dmcore.Dev{"253:4", "253:5"}; !slices.Equal(got, want) {
		t.Errorf("devices %v, want %v", got, want)
	}
	same, err := table.Resolve(func(dmcore.Dev) (dmcore.Dev, error) { return "x", nil })
	if err != nil || !same.Equal(table) {
		t.Errorf("resolved to %v, %v", same, err)
	}
	if _, err := dmcore.ParseTable(table.String()); err == nil {
		t.Error("a table that is not understood was parsed")
	}
}
