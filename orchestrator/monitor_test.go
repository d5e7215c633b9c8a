package orchestrator_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"cowhand/lvm"
	"cowhand/orchestrator"
)

// watch is a host with a monitor, and what that told.
type watch struct {
	*host
	m    *orchestrator.Monitor
	news chan string
}

func newWatch(t *testing.T) *watch {
	w := &watch{host: newHost(t), news: make(chan string, 100)}
	w.m = w.monitor()
	return w
}

// monitor is one that was started just now.
func (w *watch) monitor() *orchestrator.Monitor {
	return &orchestrator.Monitor{
		Volumes: w.volumes,
		Policy: func(_ *lvm.VG, lv *lvm.LV) lvm.ExtendPolicy {
			if orchestrator.Ours(lv) {
				return lvm.ExtendPolicy{Threshold: 70, Amount: 20}
			}
			return lvm.ExtendPolicy{}
		},
		Interval: time.Hour, Now: time.Now,
		Tell: func(s string) { w.news <- s },
	}
}

// An event wakes the monitor, whose clock would do so in an hour; and what stays as
// it is is told once.
func TestMonitorIsWokenByEvents(t *testing.T) {
	w := newWatch(t)
	w.run(w.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "before", CutOptions: w.cut()}))
	spec := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: "rest", Size: lvm.Size{Percent: 100, Of: lvm.OfFree}}}
	if _, err := w.volumes.Create(t.Context(), "vg", spec, true); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := w.m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	next := func(want string) {
		t.Helper()
		select {
		case got := <-w.news:
			if !strings.Contains(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("not told: %q", want)
		}
	}
	next("watches 2 snapshots and thin pools")
	d := w.open("vg/web1")
	if _, err := d.WriteAt(bytes.Repeat([]byte{7}, 2<<20), 0); err != nil { // more than the snapshot has room for
		t.Fatal(err)
	}
	next("vg/web1.before: ran full or was damaged, and is lost")
	if err := w.volumes.Remove(t.Context(), []lvm.Ref{{VG: "vg", LV: "data.before"}}); err != nil {
		t.Fatal(err)
	}
	stop()
	run.Wait()
	if d.Close(); len(w.news) > 0 {
		t.Errorf("told again: %s", <-w.news)
	}
}
