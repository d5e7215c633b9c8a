package lvm

import (
	"errors"
	"testing"
)

// Of several that are to be merged at once, thick and thin, one that is open keeps
// all from beginning.
func TestStartMergeNowThin(t *testing.T) {
	w := cutWorld(t)
	must(t, w.Snapshot(t.Context(), cutOf("t1", "u1")))
	snaps := []Ref{{"vg", "t1.set"}, {"vg", "u1.set"}}
	before := w.rig.load(t, "vg")
	u := before.uuid(before.LV("u1"), "")
	w.devs[u].info.OpenCount = 1
	if err := w.StartMergeNow(t.Context(), snaps); !errors.Is(err, ErrInUse) {
		t.Errorf("with u1 open: %v", err)
	}
	if a, b := order(before), order(w.rig.load(t, "vg")); a != b {
		t.Errorf("with u1 open: %s, was %s", b, a)
	}
	// Without haste it waits, and is listed with whom it waits for.
	starts, err := w.StartMerge(t.Context(), snaps[1:])
	must(t, err)
	if len(starts) != 1 || starts[0].Started || starts[0].Why == "" {
		t.Errorf("with u1 open: %+v", starts)
	}
	merges, err := w.Merges(t.Context())
	must(t, err)
	if len(merges) != 1 || merges[0].Snapshot != snaps[1] || merges[0].Phase != MergeWaits || merges[0].Open[Ref{"vg", "u1"}].OpenCount != 1 {
		t.Errorf("merges: %+v", merges)
	}
	if err := w.WaitMerge(t.Context(), snaps[1:], 0, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("waiting for a merge that waits: %v", err)
	}
	vg := w.rig.load(t, "vg")
	states, err := w.States(t.Context(), vg)
	must(t, err)
	if !states["u1"].Merging || !states["u1.set"].Merging || states["t1"].Merging {
		t.Errorf("states: %+v", states)
	}
	if p := states["pool"].Pool; p == nil || p.TransactionID != vg.LV("pool").ThinPool().TransactionID {
		t.Errorf("the pool's: %+v", p)
	}
	w.devs[u].info.OpenCount = 0
	must(t, w.Refresh(t.Context(), Ref{"vg", "u1"}))
	must(t, w.StartMergeNow(t.Context(), snaps[:1]))
	must(t, w.WaitMerge(t.Context(), snaps, 0, nil))
	vg = w.rig.load(t, "vg")
	if vg.LV("t1.set") != nil || vg.LV("u1.set") != nil {
		t.Errorf("left: %s", order(vg))
	}
	w.settled("merged")
}

// A pool that takes no messages keeps them all from beginning, too: those that could
// be merged must not be without it.
func TestStartMergePoolNeedsCheck(t *testing.T) {
	w := cutWorld(t)
	must(t, w.Snapshot(t.Context(), cutOf("t1", "k")))
	w.check = true
	before := w.rig.load(t, "vg").Seqno
	snaps := []Ref{{"vg", "k.set"}, {"vg", "t1.set"}}
	starts, err := w.StartMerge(t.Context(), snaps)
	if !errors.Is(err, ErrInUse) || len(starts) > 0 {
		t.Errorf("%+v, %v", starts, err)
	}
	if err := w.StartMergeNow(t.Context(), snaps); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	if now := w.rig.load(t, "vg").Seqno; now != before {
		t.Errorf("seqno %d, was %d", now, before)
	}
}
