package lvm

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// cutWorld has the thin volumes t1 and t2 in pool, u1 in other, and thick k, all
// active.
func cutWorld(t *testing.T) *thinWorld {
	w := freshThinWorld(t)
	must(t, makePool.do(t.Context(), w))
	_, _, err := w.CreateThinPool(t.Context(), "vg", ThinPoolSpec{Name: "other", Size: extents(4)}, true)
	must(t, err)
	for _, s := range []ThinSpec{{Pool: "pool", Name: "t1"}, {Pool: "pool", Name: "t2"}, {Pool: "other", Name: "u1"}} {
		s.Size = extents(9)
		_, err := w.CreateThins(t.Context(), "vg", []ThinSpec{s}, thinOn)
		must(t, err)
	}
	_, err = w.Create(t.Context(), "vg", StripedSpec{LinearSpec: LinearSpec{Name: "k", Size: extents(4)}}, true)
	must(t, err)
	return w
}

// cutOf asks for a set of those origins; k gets a thick snapshot.
func cutOf(origins ...string) []SnapshotRequest {
	var reqs []SnapshotRequest
	for _, o := range origins {
		r := SnapshotRequest{Origin: Ref{"vg", o}, Name: o + ".set", Tags: []string{"set"}}
		if r.Thin = o != "k"; !r.Thin {
			r.Size = extents(2)
		}
		reqs = append(reqs, r)
	}
	return reqs
}

// All origins wait while any pool is told anything, and the set is of one commit.
func TestThinCutOneInstant(t *testing.T) {
	w := cutWorld(t)
	told := 0
	inner := w.DM
	w.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, cmd dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		if cmd == dmcore.Message {
			told++
			for _, d := range w.devs {
				switch strings.TrimPrefix(string(d.info.Name), "vg-") {
				case "t1", "t2", "u1", "k":
					if !d.info.Suspended {
						t.Errorf("%s while %s is not suspended", r.Text, d.info.Name)
					}
				}
			}
		}
		return inner.Control().Do(ctx, cmd, r)
	}))
	reqs := cutOf("t1", "k", "u1", "t2")
	reqs[0].Activate = true
	must(t, w.Snapshot(t.Context(), reqs))
	if told != 5 { // three snapshots, two transaction ids
		t.Errorf("%d messages", told)
	}
	vg := w.rig.load(t, "vg")
	for _, r := range reqs {
		lv := vg.LV(r.Name)
		switch {
		case lv == nil || len(lv.Tags) != 1:
			t.Errorf("%s: %+v", r.Name, lv)
		case r.Thin && (lv.Thin().Origin != r.Origin.LV || lv.SkipsActivation() == r.Activate):
			t.Errorf("%s: %+v %v", r.Name, lv.Thin(), lv.Flags)
		case !r.Thin && vg.Origin(r.Name) == nil:
			t.Errorf("%s is no snapshot", r.Name)
		}
	}
	devs, err := w.look(t.Context())
	must(t, err)
	if !devs.active(vg, vg.LV("t1.set")) || devs.active(vg, vg.LV("t2.set")) {
		t.Errorf("active: %s", w.fakeDM)
	}
	w.settled("after the cut")
}

// Who dies leaves the state before or after; or, between the commits, the thin
// ones without the thick.
func TestThinCutCrash(t *testing.T) {
	for _, set := range [][]string{{"t1", "t2"}, {"t1", "u1"}, {"t2", "k", "u1"}} {
		t.Run(strings.Join(set, " "), func(t *testing.T) {
			start := cutWorld(t)
			was := start.again(t, 100, true).settled("before")
			states := map[string]bool{was: true}
			for _, reqs := range [][]SnapshotRequest{cutOf(set...), thinOnes(cutOf(set...))} {
				done := start.again(t, 100, true)
				must(t, done.Snapshot(t.Context(), reqs))
				states[done.again(t, 100, true).settled("after")] = true
			}
			by, steps, uncut := 1, 0, 0
			if testing.Short() {
				by = 5
			}
			for _, power := range []bool{false, true} {
				for n := 1; ; n += by {
					w := start.again(t, 100, true)
					if power {
						w.rig.power.CutAt(n)
					} else {
						w.die = n - 1
					}
					err := w.Snapshot(t.Context(), cutOf(set...))
					if err == nil {
						break
					}
					if !w.dead && !errors.Is(err, blockdev.ErrPowerCut) && !errors.Is(err, dmcore.ErrUnavailable) {
						t.Fatalf("step %d: %v", n, err)
					}
					for _, devices := range []bool{true, false} {
						when := "died at " + strconv.Itoa(n)
						n := w.again(t, 100, devices)
						if got := n.settled(when); !states[got] {
							t.Fatalf("%s: %s, want one of %v", when, got, states)
						}
						uncut += n.uncut(when, set)
					}
					steps++
				}
			}
			if steps*by < 20 || uncut == 0 {
				t.Errorf("only %d steps, of which %d left a set that was not cut", steps, uncut)
			}
		})
	}
}

// uncut counts a set that says that it was not cut; one that is not whole must.
func (w *thinWorld) uncut(when string, set []string) int {
	vg := w.rig.load(w.t, "vg")
	marked, there := 0, 0
	for _, origin := range set {
		if lv := vg.LV(origin + ".set"); lv != nil {
			there++
			if slices.Contains(lv.Tags, TagUncut) {
				marked++
			}
		}
	}
	if marked == 0 && there > 0 && there < len(set) {
		w.t.Errorf("%s: %d of %d snapshots, and none is marked", when, there, len(set))
	}
	return min(marked, 1)
}

func thinOnes(reqs []SnapshotRequest) (thin []SnapshotRequest) {
	for _, r := range reqs {
		if r.Thin {
			thin = append(thin, r)
		}
	}
	return thin
}

// What one pool, or a commit, refuses is taken back everywhere.
func TestThinCutTakenBack(t *testing.T) {
	w := cutWorld(t)
	before := w.rig.load(t, "vg")
	same := func(when string) {
		t.Helper()
		w.settled(when)
		after := w.rig.load(t, "vg")
		if a, b := order(before), order(after); a != b {
			t.Errorf("%s: %s, was %s", when, b, a)
		}
		for _, pool := range []string{"pool", "other"} {
			if a, b := before.LV(pool).ThinPool().TransactionID, after.LV(pool).ThinPool().TransactionID; a != b {
				t.Errorf("%s: %s is at %d, was at %d", when, pool, b, a)
			}
		}
	}
	other := w.pools[before.uuid(before.LV("other_tmeta"), layerTMeta)]
	other.thin[2] = 0 // taken by somebody who does not tell lvm2
	if err := w.Snapshot(t.Context(), cutOf("t1", "k", "u1")); err == nil || !strings.Contains(err.Error(), "create_snap 2 1") {
		t.Errorf("an id that is taken: %v", err)
	}
	delete(other.thin, 2)
	same("an id that is taken")

	stop := errors.New("stop")
	trace, commits := w.Trace, 0
	w.Trace = func(step string) error {
		if step == "vg: commit" {
			if commits++; commits == 2 {
				return stop
			}
		}
		return trace(step)
	}
	if err := w.Snapshot(t.Context(), cutOf("t1", "k", "u1")); !errors.Is(err, stop) {
		t.Errorf("a commit that fails: %v", err)
	}
	w.Trace = trace
	same("a commit that fails")

	reqs := cutOf("t1", "k")
	reqs[1].Thin = true
	if err := w.Snapshot(t.Context(), reqs); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "no thin volume") {
		t.Errorf("a thin snapshot of a thick volume: %v", err)
	}
	same("a thin snapshot of a thick volume")
	w.full = true
	if err := w.Snapshot(t.Context(), cutOf("k", "t1")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a full pool: %v", err)
	}
	w.full = false
	same("a full pool")
}

// Pools of several groups are told in one window, and taken back together.
func TestThinCutOfSeveralGroups(t *testing.T) {
	r := newRig(4)
	r.group(t, "vg", PVOptions{}, "m0", "m1")
	r.group(t, "vh", PVOptions{}, "m2", "m3")
	w := newThinWorld(t, r, newThinKernel(r))
	var reqs []SnapshotRequest
	for _, vg := range []string{"vg", "vh"} {
		_, _, err := w.CreateThinPool(t.Context(), vg, ThinPoolSpec{Name: "pool", Size: extents(4)}, true)
		must(t, err)
		_, err = w.CreateThins(t.Context(), vg, []ThinSpec{{Pool: "pool", Name: "t", Size: extents(9)}}, thinOn)
		must(t, err)
		_, err = w.Create(t.Context(), vg, StripedSpec{LinearSpec: LinearSpec{Name: "k", Size: extents(4)}}, true)
		must(t, err)
		reqs = append(reqs, SnapshotRequest{Origin: Ref{vg, "t"}, Name: "t.set", Thin: true}, SnapshotRequest{Origin: Ref{vg, "k"}, Name: "k.set", Size: extents(2)})
	}
	state := func() (names [2]string, ids [2]uint64) {
		for i, name := range []string{"vg", "vh"} {
			vg := r.load(t, name)
			names[i] = order(vg)
			p := vg.LV("pool").ThinPool()
			ids[i] = p.TransactionID
			if kernel := w.pools[vg.uuid(vg.LV(p.Metadata), layerTMeta)]; len(p.Messages) > 0 || kernel.id != p.TransactionID || len(kernel.thin) != len(vg.ThinVolumes("pool")) {
				t.Errorf("%s: messages %v, the kernel has %+v", name, p.Messages, kernel)
			}
		}
		return names, ids
	}
	names, ids := state()
	vh := r.load(t, "vh")
	kernel := w.pools[vh.uuid(vh.LV("pool_tmeta"), layerTMeta)]
	kernel.thin[2] = 0
	if err := w.Snapshot(t.Context(), reqs); err == nil || !strings.Contains(err.Error(), "create_snap 2 1") {
		t.Errorf("an id that is taken: %v", err)
	}
	delete(kernel.thin, 2)
	if n, i := state(); n != names || i != ids {
		t.Errorf("not taken back: %v %v, was %v %v", n, i, names, ids)
	}
	stop, trace := errors.New("stop"), w.Trace
	w.Trace = func(step string) error {
		if step == "vh: commit" && len(r.load(t, "vg").LV("pool").ThinPool().Messages) == 0 { // in the window, vg's is made
			return stop
		}
		return trace(step)
	}
	if err := w.Snapshot(t.Context(), reqs); !errors.Is(err, stop) {
		t.Errorf("the last commit fails: %v", err)
	}
	w.Trace = trace
	if n, i := state(); n != names || i != ids {
		t.Errorf("not taken back: %v %v, was %v %v", n, i, names, ids)
	}
	must(t, w.Snapshot(t.Context(), reqs))
	if n, i := state(); n == names || i[0] != ids[0]+1 || i[1] != ids[1]+1 {
		t.Errorf("taken: %v %v, was %v %v", n, i, names, ids)
	}
}
