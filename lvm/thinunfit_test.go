package lvm

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// What a pool whose metadata needs a check would have to be told is refused before
// anything is changed: recorded, it would keep all that is in the pool from being
// activated. What is in it can still be activated, with a warning.
func TestThinPoolNeedsCheck(t *testing.T) {
	w := freshThinWorld(t)
	for _, s := range []thinStep{makePool, makeFirst, makeSnaps} {
		must(t, s.do(t.Context(), w))
	}
	must(t, w.Activate(t.Context(), Ref{"vg", "s1"})) // insisted on
	w.check = true
	before, devices := w.rig.load(t, "vg").Seqno, len(w.devs)
	merge := thinStep{"merge s1", func(ctx context.Context, w *thinWorld) error {
		_, err := w.MergeThin(ctx, Ref{"vg", "s1"})
		return err
	}}
	for _, s := range []thinStep{makeSecond, thinRemoval("s1"), merge} {
		err := s.do(t.Context(), w)
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "lvchange -ay vg/pool --config") {
			t.Errorf("%s: %v", s.name, err)
		}
		if now := w.rig.load(t, "vg").Seqno; now != before || len(w.devs) != devices {
			t.Errorf("%s: seqno %d and %d devices, were %d and %d", s.name, now, len(w.devs), before, devices)
		}
	}
	var warned []error
	w.Warn = func(err error) { warned = append(warned, err) }
	must(t, w.Activate(t.Context(), Ref{"vg", "s2"}))
	if len(warned) != 1 || !strings.Contains(warned[0].Error(), "needs a check") {
		t.Errorf("activation warns of %v", warned)
	}
}
