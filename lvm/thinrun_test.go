package lvm_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// withPool makes a thin pool in the group, as lvm2 would, and a volume in it.
func (w *world) withPool() {
	w.t.Helper()
	w.create("data", "8M")
	w.create("meta", "4M")
	w.create("plain", "4M")
	vg, err := w.Store.Load(w.t.Context(), "vg")
	if err != nil {
		w.t.Fatal(err)
	}
	vg = vg.Clone()
	for old, name := range map[string]string{"data": "pool_tdata", "meta": "pool_tmeta"} {
		if err := w.Deactivate(w.t.Context(), lvm.Ref{VG: "vg", LV: old}); err != nil {
			w.t.Fatal(err)
		}
		lv := vg.LV(old)
		lv.Name, lv.Status = name, slices.DeleteFunc(lv.Status, func(s string) bool { return s == "VISIBLE" })
	}
	add := func(name string, s lvm.Segment) {
		id, err := lvm.NewID(nil)
		if err != nil {
			w.t.Fatal(err)
		}
		vg.LVs = append(vg.LVs, &lvm.LV{Name: name, ID: id, Status: []string{"READ", "WRITE", "VISIBLE"}, Segments: []*lvm.Segment{&s}})
	}
	add("pool", lvm.Segment{Count: 8, Type: "thin-pool", ChunkSize: 128, ThinPool: &lvm.ThinPool{
		Metadata: "pool_tmeta", Data: "pool_tdata", Discards: lvm.DiscardsPassdown, Zero: true,
		TransactionID: 1, Messages: []lvm.ThinMessage{{Create: "thin"}}}})
	add("thin", lvm.Segment{Count: 20, Type: "thin", Thin: &lvm.Thin{Pool: "pool", DeviceID: 1}})
	p, err := w.Store.Prepare(w.t.Context(), vg)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

// The userspace machine has no thin pools: it says so, leaves nothing behind, and
// goes on with everything else.
func TestThinNotInUserSpace(t *testing.T) {
	w := newWorld(t, 1, 32<<20)
	w.withPool()
	for _, lv := range []string{"thin", "pool"} {
		err := w.Activate(t.Context(), lvm.Ref{VG: "vg", LV: lv})
		if !errors.Is(err, dmcore.ErrNotSupported) || !strings.Contains(err.Error(), "not served in user space") {
			t.Errorf("%s: %v", lv, err)
		}
		list, err := w.DM.List(t.Context())
		if err != nil || len(list) != 1 || list[0].Name != "vg-plain" {
			t.Errorf("%s: devices %v, %v", lv, list, err)
		}
		if err := w.Deactivate(t.Context(), lvm.Ref{VG: "vg", LV: lv}); err != nil {
			t.Errorf("%s is inactive: %v", lv, err)
		}
	}
	if err := w.Activate(t.Context(), lvm.Ref{VG: "vg", LV: "pool_tdata"}); !errors.Is(err, lvm.ErrInvalid) {
		t.Errorf("a part of a pool: %v", err)
	}
	if err := w.Deactivate(t.Context(), lvm.Ref{VG: "vg", LV: "plain"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(t.Context(), nil); err != nil {
		t.Errorf("restoring the others: %v", err)
	}
	states, err := w.States(t.Context(), w.group())
	if err != nil || !states["plain"].Active || states["thin"].Active || states["pool"].Active {
		t.Errorf("%+v, %v", states, err)
	}
}

func (w *world) group() *lvm.VG {
	w.t.Helper()
	vg, err := w.Store.Load(w.t.Context(), "vg")
	if err != nil {
		w.t.Fatal(err)
	}
	return vg
}
