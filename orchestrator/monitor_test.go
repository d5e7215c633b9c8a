package orchestrator_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cowhand/hypervisor"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// watch is a host with a monitor, and what that told.
type watch struct {
	*host
	m    *orchestrator.Monitor
	news chan string
}

func newWatch(t *testing.T, who orchestrator.PauseWho) *watch {
	w := &watch{host: newHost(t), news: make(chan string, 100)}
	w.m = w.monitor(who)
	return w
}

// monitor is one that was started just now.
func (w *watch) monitor(who orchestrator.PauseWho) *orchestrator.Monitor {
	return &orchestrator.Monitor{
		Volumes: w.volumes,
		Policy: func(_ *lvm.VG, lv *lvm.LV) lvm.ExtendPolicy {
			if orchestrator.Ours(lv) || lv.ThinPool() != nil {
				return lvm.ExtendPolicy{Threshold: 70, Amount: 20}
			}
			return lvm.ExtendPolicy{}
		},
		Pausing: orchestrator.Pausing{At: 95, Who: who},
		Guests: func(context.Context) (*orchestrator.Herd, error) {
			return &orchestrator.Herd{Guests: w.guests, Disks: addresses{}, Close: func() error { return nil }}, nil
		},
		Files: w.World.Files, Interval: time.Hour, Now: time.Now,
		Tell: func(s string) { w.news <- s },
	}
}

// look is one look; it wants this told and in trouble, and nothing else.
func (w *watch) look(want ...string) {
	w.t.Helper()
	_, trouble := w.m.Look(w.t.Context())
	var got []string
	for len(w.news) > 0 {
		got = append(got, <-w.news)
	}
	for _, x := range trouble {
		got = append(got, x.Text)
	}
	if len(got) != len(want) {
		w.t.Errorf("told\n%s\nwant %d lines: %q", strings.Join(got, "\n"), len(want), want)
		return
	}
	for i := range got {
		if !strings.Contains(got[i], want[i]) {
			w.t.Errorf("told %q, want %q", got[i], want[i])
		}
	}
}

// fill writes to a volume until its snapshot, or it, is so full.
func (w *watch) fill(volume, snapshot string, percent float64) {
	w.t.Helper()
	d := w.open(volume)
	defer d.Close()
	vg, lv, _ := strings.Cut(snapshot, "/")
	for at := int64(0); ; at += 4096 {
		states, err := w.volumes.States(w.t.Context(), w.facts().Groups[0])
		if err != nil {
			w.t.Fatal(err)
		}
		if st := states[lv].Snapshot; st == nil || vg != "vg" {
			w.t.Fatalf("%s is no snapshot", snapshot)
		} else if st.Percent() >= percent {
			return
		}
		if _, err := d.WriteAt(bytes.Repeat([]byte{7}, 4096), at); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *watch) state(guest string, want hypervisor.State) {
	w.t.Helper()
	if g := w.facts().Guest(guest); g.State != want {
		w.t.Errorf("%s is %s, want %s", guest, g.State, want)
	}
}

func (w *watch) holds(want int) []orchestrator.Hold {
	w.t.Helper()
	holds, err := w.World.Files.Holds()
	if err != nil || len(holds) != want {
		w.t.Fatalf("written down %+v, %v, want %d", holds, err, want)
	}
	return holds
}

// do does something to a guest, as its administrator.
func (w *watch) do(guest string, f func(hypervisor.Guest, context.Context) error) {
	w.t.Helper()
	g, err := w.guests.Guest(w.t.Context(), guest)
	if err == nil {
		err = f(g, w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// crowd takes all room in the group; room gives it back.
func (w *watch) crowd() {
	w.t.Helper()
	spec := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: "rest", Size: lvm.Size{Percent: 100, Of: lvm.OfFree}}}
	if _, err := w.volumes.Create(w.t.Context(), "vg", spec, true); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watch) room() {
	w.t.Helper()
	if err := w.volumes.Remove(w.t.Context(), []lvm.Ref{{VG: "vg", LV: "rest"}}); err != nil {
		w.t.Fatal(err)
	}
}

const (
	trialFull = "vg/web1.try: is 95.3% full, and cannot be extended: vg/web1.try: extend: not enough free extents"
	trialHeld = "guest web1-try is paused: vg/web1.try behind its disk vda is 95.3% full, and cannot be extended"
)

// shortTrial has a trial whose snapshot is about to be full, in a group without
// room.
func shortTrial(t *testing.T) *watch {
	w := newWatch(t, orchestrator.PauseTrials)
	w.run(w.planTry())
	w.crowd()
	w.look()
	w.fill("vg/web1.try", "vg/web1.try", 95)
	return w
}

// A trial is paused before its snapshot is lost, and goes on when there is room,
// whichever process looks.
func TestGuestWaitsForRoom(t *testing.T) {
	w := shortTrial(t)
	w.look(trialFull, trialHeld)
	w.state("web1-try", hypervisor.Paused)
	if h := w.holds(1)[0]; h.Guest != "web1-try" || h.Activity == "" || h.Since.IsZero() {
		t.Errorf("written down: %+v", h)
	}
	w.m = w.monitor(orchestrator.PauseTrials)
	w.look(trialFull, trialHeld)
	w.room()
	w.look("vg/web1.try: was 95.3% full, made 2 MiB of 1 MiB", "guest web1-try: goes on")
	w.state("web1-try", hypervisor.Running)
	w.holds(0)
	w.look()
	if trace := w.guests.Trace(); strings.Count(strings.Join(trace, "\n"), "pause web1-try") != 1 {
		t.Errorf("it was paused more than once: %v", trace)
	}
}

// A guest that its administrator paused is never let go on, and one that he let go
// on is not paused for the same again.
func TestGuestIsTheAdministrators(t *testing.T) {
	pause := func(w *watch) { w.do("web1-try", hypervisor.Guest.Pause) }
	goOn := func(w *watch) { w.do("web1-try", hypervisor.Guest.Resume) }
	for _, tt := range []struct {
		name        string
		before      func(*watch) // the shortage is seen
		after       func(*watch)
		told, later []string // at the next look, and when there is room
		want        hypervisor.State
	}{
		{"paused before", pause, func(*watch) {}, []string{trialFull}, []string{"made 2 MiB"}, hypervisor.Paused},
		{"let go on", nil, goOn, []string{"guest web1-try: was let go on although vg/web1.try", trialFull}, []string{"made 2 MiB"}, hypervisor.Running},
		{"let go on and paused", nil, func(w *watch) { goOn(w); pause(w) },
			[]string{"guest web1-try: was let go on although", trialFull}, []string{"made 2 MiB"}, hypervisor.Paused},
		{"started anew and paused", nil, func(w *watch) {
			w.do("web1-try", hypervisor.Guest.Destroy)
			w.do("web1-try", hypervisor.Guest.Start)
			pause(w)
		}, []string{"guest web1-try: was let go on although", trialFull}, []string{"made 2 MiB"}, hypervisor.Paused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := shortTrial(t)
			if tt.before != nil {
				tt.before(w)
			} else {
				w.look(trialFull, trialHeld)
			}
			tt.after(w)
			w.look(tt.told...)
			if strings.HasPrefix(tt.told[0], "guest ") {
				w.look(tt.told[1:]...) // that is told once, and obeyed
			}
			w.room()
			w.look(tt.later...)
			w.state("web1-try", tt.want)
			w.holds(0)
		})
	}
}

// Who dies between writing down and pausing, or between pausing and writing down
// that he did, has not paused somebody else's guest, and none for ever.
func TestMonitorDies(t *testing.T) {
	for _, at := range []string{"before", "after"} {
		t.Run(at, func(t *testing.T) {
			w := shortTrial(t)
			die := func(what string) {
				if what == "pause web1-try" {
					runtime.Goexit()
				}
			}
			if at == "before" {
				w.effect = die
			} else {
				w.guests.OnTrace = die
			}
			var monitor sync.WaitGroup
			monitor.Go(func() { w.m.Look(t.Context()) })
			monitor.Wait()
			if h := w.holds(1)[0]; h.Activity != "" {
				t.Errorf("written down: %+v", h)
			}
			w.effect, w.guests.OnTrace = func(string) {}, nil
			for len(w.news) > 0 {
				<-w.news
			}
			w.m = w.monitor(orchestrator.PauseTrials)
			w.look(trialFull, trialHeld)
			w.look(trialFull, trialHeld)
			w.state("web1-try", hypervisor.Paused)
			if h := w.holds(1)[0]; h.Activity == "" {
				t.Errorf("written down: %+v", h)
			}
			w.room()
			w.look("made 2 MiB", "goes on")
			w.state("web1-try", hypervisor.Running)
		})
	}
}

// A guest on the origin is paused for a snapshot where that is wanted, and goes on
// when the snapshot is gone.
func TestGuestOnTheOrigin(t *testing.T) {
	for _, who := range []orchestrator.PauseWho{orchestrator.PauseTrials, orchestrator.PauseSets} {
		t.Run(string(who), func(t *testing.T) {
			w := newWatch(t, who)
			w.run(w.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "before", CutOptions: w.cut()}))
			w.crowd()
			w.fill("vg/web1", "vg/web1.before", 95)
			const full = "vg/web1.before: is 95.3% full"
			if who == orchestrator.PauseTrials {
				w.look(full)
				w.state("web1", hypervisor.Running)
				return
			}
			w.look(full, "guest web1 is paused")
			w.state("web1", hypervisor.Paused)
			w.run(w.facts().PlanRemove([]string{"before"}))
			w.look("guest web1: goes on")
			w.state("web1", hypervisor.Running)
		})
	}
}

// A guest in a thin pool waits for room in that, where that is wanted.
func TestGuestInAPool(t *testing.T) {
	w := newWatch(t, orchestrator.PauseAll)
	ctx := t.Context()
	if _, _, err := w.volumes.CreateThinPool(ctx, "vg", lvm.ThinPoolSpec{Name: "pool", Size: lvm.Size{Bytes: 8 << 20}}, true); err != nil {
		t.Fatal(err)
	}
	spec := lvm.ThinSpec{Pool: "pool", Name: "thin", Size: lvm.Size{Bytes: 32 << 20}}
	if _, err := w.volumes.CreateThins(ctx, "vg", []lvm.ThinSpec{spec}, lvm.ThinOptions{Activate: true}); err != nil {
		t.Fatal(err)
	}
	w.define("inpool", nbdDisk("vda", "vg/thin"))
	w.start("inpool")
	w.crowd()
	w.look()
	d := w.open("vg/thin")
	if _, err := d.WriteAt(bytes.Repeat([]byte{7}, 122<<16), 0); err != nil { // of 128 blocks
		t.Fatal(err)
	}
	d.Close()
	const full = "vg/pool (data): is 95.3% full, and cannot be extended: vg/pool: extend: not enough free extents"
	w.look(full, "guest inpool is paused: vg/pool (data) behind its disk vda is 95.3% full")
	w.state("inpool", hypervisor.Paused)
	w.state("web1", hypervisor.Running)
	w.room()
	w.look("vg/pool (data): was 95.3% full, made 11 MiB of 8 MiB", "guest inpool: goes on")
	w.state("inpool", hypervisor.Running)
	w.holds(0)
}

// What cannot be reached is told, and a guest that waits goes on waiting.
func TestMonitorWithoutHypervisor(t *testing.T) {
	w := shortTrial(t)
	reach := w.m.Guests
	w.m.Guests = func(context.Context) (*orchestrator.Herd, error) { return nil, hypervisor.ErrUnavailable }
	w.look(trialFull, "guests cannot be paused or resumed: hypervisor cannot be reached")
	w.m.Guests = reach
	w.look(trialFull, trialHeld)
	w.room()
	w.m.Guests = func(context.Context) (*orchestrator.Herd, error) { return nil, hypervisor.ErrUnavailable }
	w.look("made 2 MiB", "guests cannot be paused or resumed")
	w.holds(1)
	w.m.Guests = reach
	w.look("goes on")
	broken := errors.New("broken")
	w.guests.Fail = func(op, _ string) error {
		if op == "pause" {
			return broken
		}
		return nil
	}
	w.crowd()
	w.fill("vg/web1.try", "vg/web1.try", 95)
	w.look("vg/web1.try: is 95", "guest web1-try: pause: broken")
	w.holds(1) // who knows
}

// An event wakes the monitor, whose clock would do so in an hour; and what stays as
// it is is told once.
func TestMonitorIsWokenByEvents(t *testing.T) {
	w := newWatch(t, orchestrator.PauseNone)
	w.run(w.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "before", CutOptions: w.cut()}))
	w.crowd()
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
	if lines := w.guests.Trace(); slices.Contains(lines, "pause web1") {
		t.Errorf("guests: %v", lines)
	}
}
