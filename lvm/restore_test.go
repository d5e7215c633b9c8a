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
