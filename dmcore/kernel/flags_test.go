package kernel

import (
	"strings"
	"testing"

	"cowhand/dmcore"
)

// The values are those seen of lvm2 2.03.16.
func TestUdevFlags(t *testing.T) {
	lv := dmcore.BuildUUID("iql4DZL9viOg2HPoLshWl7hgwImwasz0", "LnYuBwgdW8yYrLm3nqRKbEBF3Xb4V9cK", "")
	for _, c := range []struct {
		uuid   dmcore.UUID
		target string
		want   uint16
	}{
		{lv, "linear", 0x0060},
		{lv, "striped", 0x0060},
		{lv, "snapshot-origin", 0x0060},
		{lv, "snapshot-merge", 0x0060},
		{lv, "thin", 0x0060},
		{lv, "", 0x0060},
		{lv, "snapshot", 0x0070},
		{lv, "error", 0x007e}, // what merging leaves
		{lv + "-real", "linear", 0x006e},
		{lv + "-cow", "linear", 0x007e},
		{lv + "-tmeta", "linear", 0x006e},
		{lv + "-tdata", "linear", 0x006e},
		{lv + "-tpool", "thin-pool", 0x006e},
		{lv + "-pool", "linear", 0x006e},
		{lv + "-real", "error", 0x006e},
		{"mpath-360000000", "multipath", 0x0040},
		{"", "linear", 0x0040},
		{"", "snapshot", 0x0040},
	} {
		name := dmcore.BuildName("vg", "lv", "")
		if strings.HasSuffix(string(c.uuid), "-tpool") {
			name = dmcore.BuildName("vg", "lv", "tpool")
		}
		if got := udevFlags(name, c.uuid, c.target, false); got != c.want {
			t.Errorf("%s with %s: %#04x, want %#04x", c.uuid, c.target, got, c.want)
		}
	}
	// A thin pool in which nothing was made has no layers.
	if got := udevFlags("vg-pool", lv+"-tpool", "thin-pool", false); got != 0x006c {
		t.Errorf("an unused pool: %#04x", got)
	}
	// A part of one that somebody wants to look into.
	if got := udevFlags("vg-pool_tmeta", lv+"-tmeta", "linear", true); got != 0x006c {
		t.Errorf("a part: %#04x", got)
	}
}
