package together

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) { inside.Main(m) }

// worker makes and removes volumes, and keeps some.
type worker struct {
	name string
	argv []string // begins each of its commands
	kept []string
	done int // cycles
}

// cycle makes a volume and a snapshot of web, and removes both.
func (w *worker) cycle(t *testing.T) {
	lv := fmt.Sprintf("%s%d", w.name, w.done)
	run := func(words ...string) { inside.Run(t, append(slices.Clone(w.argv), words...)...) }
	run("lvcreate", "-y", "-l", "1", "-n", lv, "vg0")
	run("lvcreate", "-y", "-s", "-l", "2", "-n", lv+"s", "vg0/web")
	run("lvremove", "-y", "vg0/"+lv+"s")
	if w.done%4 == 3 {
		w.kept = append(w.kept, lv)
	} else {
		run("lvremove", "-y", "vg0/"+lv)
	}
	w.done++
}

// Both at work on one group lose nothing of each other's, and its sequence number
// counts every commit of both.
func TestTogether(t *testing.T) {
	disks := inside.Disks(t, 1)
	os.Setenv("COWHAND_DEVICES", disks[0])
	inside.Run(t, "vgcreate", "vg0", disks[0])
	t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", "vg0") })
	inside.Run(t, "lvcreate", "-y", "-l", "2", "-n", "web", "vg0")
	workers := []*worker{{name: "l"}, {name: "c", argv: []string{inside.Cowhand, "--engine", "kernel", "lvm"}}}

	// A cycle that keeps its volume has a commit less, the one of its removal.
	commits := map[*worker]int{}
	for _, w := range workers {
		before := seqno(t)
		w.cycle(t)
		commits[w] = seqno(t) - before
		w.done = 0
	}

	begun := seqno(t)
	until := time.Now().Add(time.Minute)
	if testing.Short() {
		until = time.Now().Add(15 * time.Second)
	}
	var both sync.WaitGroup
	for _, w := range workers {
		both.Go(func() {
			for time.Now().Before(until) && !t.Failed() {
				w.cycle(t)
			}
		})
	}
	both.Wait()

	want := begun
	lvs := []string{"web"}
	for _, w := range workers {
		t.Logf("%s: %d cycles of %d commits, %d volumes kept", w.name, w.done, commits[w], len(w.kept))
		if w.done == 0 {
			t.Errorf("%s did nothing", w.name)
		}
		want += w.done*commits[w] - len(w.kept)*1
		lvs = append(lvs, w.kept...)
	}
	if got := seqno(t); got != want {
		t.Errorf("seqno is %d, want %d: %d and every commit", got, want, begun)
	}
	got := strings.Fields(inside.Run(t, "lvs", "--noheadings", "-o", "lv_name", "vg0"))
	slices.Sort(lvs)
	slices.Sort(got)
	if !slices.Equal(got, lvs) {
		t.Errorf("volumes %v, want %v", got, lvs)
	}
	inside.Run(t, "vgck", "vg0")
}

func seqno(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(inside.Run(t, "vgs", "--noheadings", "-o", "seqno", "vg0")))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
