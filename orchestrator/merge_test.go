package orchestrator_test

import (
	"errors"
	"testing"

	"cowhand/hypervisor"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

func (h *host) setState(guest string, s hypervisor.State) {
	h.t.Helper()
	if err := h.guests.SetState(guest, s); err != nil {
		h.t.Fatal(err)
	}
}

// The memory of a saved guest belongs to its disks: they are not replaced under
// it, nor are a trial's kept without it.
func TestKeepWithSavedMemory(t *testing.T) {
	for _, guest := range []string{"web1", "web1-try"} {
		h := newHost(t)
		h.run(h.planTry())
		h.setState(guest, hypervisor.Saved)
		if _, err := h.planKeep(); !errors.Is(err, orchestrator.ErrRunning) {
			t.Errorf("%s is saved: %v", guest, err)
		}
	}
}

// A merge that cannot begin is not recorded for later: the run is undone and the
// guest goes on as it was.
func TestMergeThatCannotBegin(t *testing.T) {
	for name, prevent := range map[string]func(*host){
		"origin inactive": func(h *host) {
			h.when("off web1", func() {
				if err := h.volumes.Deactivate(h.t.Context(), lvm.Ref{VG: "vg", LV: "data"}); err != nil {
					h.t.Error(err)
				}
			})
		},
		"snapshot full": func(h *host) {
			h.when("off web1", func() {
				d := h.open("vg/data")
				defer d.Close()
				if _, err := d.WriteAt(make([]byte, 3<<20), 1<<20); err != nil {
					h.t.Error(err)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "x", CutOptions: h.cut()}))
			h.write("vg/web1", 2)
			p := h.mustPlan(h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", CutOptions: h.cut()}))
			prevent(h)
			err := h.Run(t.Context(), p)
			if !errors.Is(err, orchestrator.ErrUndone) {
				t.Fatalf("run: %v", err)
			}
			vg, err := h.volumes.Group(t.Context(), "vg")
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []string{"web1", "data"} {
				if m := vg.Merging(o); m != nil {
					t.Errorf("%s is being merged into %s", m.Name, o)
				}
			}
			if g := h.facts().Guest("web1"); g.State != hypervisor.Running {
				t.Errorf("web1 is %s", g.State)
			}
			if got := h.read("vg/web1"); got != 2 {
				t.Errorf("web1 holds %d", got)
			}
		})
	}
}

// when has something happen just before an effect.
func (h *host) when(effect string, f func()) {
	h.effect = func(what string) {
		if what == effect {
			f()
		}
	}
}
