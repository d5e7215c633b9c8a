package lvm_test

import (
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

// A pool, its volume and snapshots on the userspace machine: made as lvm2 made them,
// written, cut, merged, made larger and removed.
func TestThinInUserSpace(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	w.withPool()
	ctx, thin := t.Context(), lvm.Ref{VG: "vg", LV: "thin"}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("activate", w.Activate(ctx, thin)) // the pool gets its message on the way
	if m := w.group().LV("pool").ThinPool().Messages; len(m) > 0 {
		t.Errorf("messages are left: %v", m)
	}
	w.fill(thin, 0, 256, 1)
	names, err := w.CreateThins(ctx, "vg", []lvm.ThinSpec{{Pool: "pool", Name: "cut", Origin: "thin"}}, lvm.ThinOptions{Activate: true, IgnoreSkip: true})
	must("snapshot", err)
	cut := lvm.Ref{VG: "vg", LV: names[0]}
	w.fill(thin, 100, 8, 2)
	w.fill(cut, 300, 8, 3)
	w.expect(thin, 100, 2)
	w.expect(cut, 100, 1)
	w.expect(cut, 300, 3)

	pool, err := w.DM.ThinPoolStatus(ctx, dmcore.UUID(poolUUID(w)))
	must("status", err)
	if pool.UsedData != 4 || pool.TransactionID != w.group().LV("pool").ThinPool().TransactionID {
		t.Errorf("the pool is %s, want 4 chunks in use", pool)
	}
	must("deactivate", w.Deactivate(ctx, thin))
	must("deactivate", w.Deactivate(ctx, cut))
	if got := w.names(); strings.TrimSpace(got) != "vg-plain" {
		t.Errorf("devices %s, want the pool gone with what is in it", got)
	}
	_, err = w.MergeThin(ctx, cut)
	must("merge", err)
	must("activate", w.Activate(ctx, thin))
	w.expect(thin, 100, 1)
	w.expect(thin, 300, 3)
	w.extend(lvm.Ref{VG: "vg", LV: "pool"}, "8M", true)
	pool, err = w.DM.ThinPoolStatus(ctx, dmcore.UUID(poolUUID(w)))
	must("status", err)
	if pool.TotalData != 16<<20/(64<<10) {
		t.Errorf("pool %s, want 256 blocks", pool)
	}
	must("deactivate", w.Deactivate(ctx, thin))
	must("remove", w.Remove(ctx, []lvm.Ref{thin}))
	must("remove", w.Remove(ctx, []lvm.Ref{{VG: "vg", LV: "pool"}}))
	if got := w.names(); strings.TrimSpace(got) != "vg-plain" {
		t.Errorf("devices %s", got)
	}
}

// poolUUID is that of the device that is the pool.
func poolUUID(w *world) string {
	w.t.Helper()
	list, err := w.DM.List(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, i := range list {
		if strings.HasSuffix(string(i.UUID), "-tpool") {
			return string(i.UUID)
		}
	}
	w.t.Fatal("no pool is live")
	return ""
}

func (w *world) group() *lvm.VG {
	w.t.Helper()
	vg, err := w.Store.Load(w.t.Context(), "vg")
	if err != nil {
		w.t.Fatal(err)
	}
	return vg
}
