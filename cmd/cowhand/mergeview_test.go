package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cowhand/dmcore"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// Each merge is told of with its speed and end and, when all were, all together.
func TestMergeView(t *testing.T) {
	now := time.Unix(0, 0)
	var lines []string
	v := &mergeView{of: 2, now: func() time.Time { return now }, seen: map[lvm.Ref]*mergeSeen{},
		tell: func(e orchestrator.Event) {
			lines = append(lines, fmt.Sprintf("%s %.0f%% %d %s", e.Volume, e.Percent, e.Left>>20, e.Text))
		}}
	put := func(lv string, left, first int64) {
		mib := dmcore.Sectors(1 << 11)
		v.put(lvm.MergeProgress{Snapshot: lvm.Ref{VG: "vg", LV: lv + "_s"}, Origin: lvm.Ref{VG: "vg", LV: lv},
			Left: dmcore.Sectors(left) * mib, Percent: 100 * float64(first-left) / float64(first)})
	}
	put("a", 100, 100)
	put("b", 300, 300)
	now = now.Add(10 * time.Second)
	put("a", 50, 100)
	put("b", 250, 300)
	now = now.Add(10 * time.Second)
	put("a", 0, 100)
	put("b", 200, 300)
	now = now.Add(10 * time.Second)
	put("b", 0, 300)
	want := []string{
		"vg/a 0% 100 ", "vg/b 0% 300 ", " 0% 400 0 of 2 done",
		"vg/a 50% 50 5 MiB/s, done in 10s", "vg/b 17% 250 5 MiB/s, done in 50s", " 25% 300 0 of 2 done, 10 MiB/s, done in 30s",
		"vg/a 100% 0 5 MiB/s", "vg/b 33% 200 5 MiB/s, done in 40s", " 50% 200 1 of 2 done, 10 MiB/s, done in 20s",
		"vg/b 100% 0 10 MiB/s", " 100% 0 2 of 2 done, 13.33 MiB/s",
	}
	if got, want := strings.Join(lines, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
