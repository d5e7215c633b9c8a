package lvm_test

import (
	"errors"
	"fmt"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/userspace"
	"cowhand/lvm"
)

// A new machine gets the volumes of the old one; one whose disk fails does not
// keep the others from being restored.
func TestRestoreDespiteAFailure(t *testing.T) {
	w := newWorld(t, 2, 64<<20)
	for i := range 3 {
		w.create(fmt.Sprintf("a%d", i), "16m")
	}
	spec := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: "b", Size: lvm.Size{Bytes: 16 << 20}, PVs: []string{"pv1"}}}
	if _, err := w.Create(t.Context(), "vg", spec, true); err != nil {
		t.Fatal(err)
	}
	w.fill(lvm.Ref{VG: "vg", LV: "a0"}, 0, 8, 7)
	broken := errors.New("broken")
	for _, fails := range []bool{false, true} {
		machine := userspace.New(func(ref dmcore.Dev) (blockdev.Device, error) {
			if fails && ref == "/disk1" {
				return nil, broken
			}
			return w.open(string(ref), true)
		})
		defer machine.Close()
		again := *w
		engine := *w.Engine
		again.machine, again.Engine = machine, &engine
		engine.DM = dmcore.NewClient(machine)
		err := engine.Restore(t.Context(), nil)
		if (err != nil) != fails {
			t.Errorf("disk fails: %v; restore: %v", fails, err)
		}
		again.expect(lvm.Ref{VG: "vg", LV: "a0"}, 0, 7)
		infos, err := engine.DM.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		live := 0
		for _, i := range infos {
			if i.Live {
				live++
			}
		}
		if want := map[bool]int{false: 4, true: 3}[fails]; live != want {
			t.Errorf("disk fails: %v; %d devices are live, want %d", fails, live, want)
		}
	}
}

// A new machine gets the thin volumes that were active, with what they held, and
// their pool; or, as at boot, all there are.
func TestRestoreThin(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	w.withPool()
	ctx := t.Context()
	on := lvm.ThinOptions{Activate: true, IgnoreSkip: true}
	if err := w.Activate(ctx, lvm.Ref{VG: "vg", LV: "thin"}); err != nil {
		t.Fatal(err)
	}
	w.fill(lvm.Ref{VG: "vg", LV: "thin"}, 0, 8, 7)
	if _, err := w.CreateThins(ctx, "vg", []lvm.ThinSpec{{Pool: "pool", Name: "snap", Origin: "thin"}}, on); err != nil {
		t.Fatal(err)
	}
	w.fill(lvm.Ref{VG: "vg", LV: "snap"}, 0, 4, 8)
	if err := w.Deactivate(ctx, lvm.Ref{VG: "vg", LV: "plain"}); err != nil {
		t.Fatal(err)
	}
	infos, err := w.DM.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var was []lvm.Remembered
	for _, i := range infos {
		was = append(was, lvm.Remembered{UUID: i.UUID, Open: true})
	}
	for _, c := range []struct {
		was  []lvm.Remembered
		want string
	}{
		{was, "vg-pool-tpool vg-pool_tdata vg-pool_tmeta vg-snap vg-thin "},
		{nil, "vg-plain vg-pool vg-pool-tpool vg-pool_tdata vg-pool_tmeta vg-thin "}, // a snapshot is left alone
	} {
		again := *w
		engine := *w.Engine
		again.machine = userspace.New(func(ref dmcore.Dev) (blockdev.Device, error) { return w.open(string(ref), true) })
		again.Engine = &engine
		engine.DM = dmcore.NewClient(again.machine)
		if err := engine.Restore(ctx, c.was); err != nil {
			t.Fatal(err)
		}
		if got := again.names(); got != c.want {
			t.Errorf("devices %s, want %s", got, c.want)
		}
		again.expect(lvm.Ref{VG: "vg", LV: "thin"}, 0, 7)
		if c.was != nil {
			again.expect(lvm.Ref{VG: "vg", LV: "snap"}, 0, 8)
			again.expect(lvm.Ref{VG: "vg", LV: "snap"}, 4, 7)
		}
		if err := again.machine.Close(); err != nil {
			t.Error(err)
		}
	}
}
