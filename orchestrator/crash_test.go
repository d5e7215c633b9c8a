package orchestrator_test

import (
	"testing"

	"cowhand/orchestrator"
)

// died is what a test panics with where a process would die.
type died struct{}

// A run whose process dies before any of its effects is brought to the state
// before or the state after by recovery, and its outcome says which.
func TestDieAtEveryEffect(t *testing.T) {
	t.Run("thick", func(t *testing.T) { dieAtEveryEffect(t) })
	t.Run("thin", func(t *testing.T) { dieAtEveryEffect(t, "web1", "data") })
	t.Run("both", func(t *testing.T) { dieAtEveryEffect(t, "data") })
}

func dieAtEveryEffect(t *testing.T, thin ...string) {
	for name, w := range map[string]struct {
		prepare func(*host)
		plan    func(*host) (*orchestrator.Plan, error)
	}{
		"try": {func(*host) {}, (*host).planTry},
		"discard": {func(h *host) { h.run(h.planTry()); h.write("vg/web1.try", 2) },
			func(h *host) (*orchestrator.Plan, error) {
				return h.facts().PlanDiscard(orchestrator.EndRequest{Target: "try"})
			}},
		"keep": {func(h *host) { h.run(h.planTry()); h.write("vg/web1.try", 2) },
			func(h *host) (*orchestrator.Plan, error) {
				return h.facts().PlanKeep(orchestrator.EndRequest{Target: "try"})
			}},
		"keep cold": {func(h *host) { h.run(h.planTry()); h.write("vg/web1.try", 2) },
			func(h *host) (*orchestrator.Plan, error) {
				return h.facts().PlanKeep(orchestrator.EndRequest{Target: "try", Merge: orchestrator.MergeCold})
			}},
		"snapshot": {func(*host) {}, func(h *host) (*orchestrator.Plan, error) {
			return h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "before", Mode: orchestrator.ModeShutdown, Timeout: 1e9, CutOptions: h.cut()})
		}},
		"paused": {func(*host) {}, func(h *host) (*orchestrator.Plan, error) {
			return h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "before", Mode: orchestrator.ModePause, CutOptions: h.cut()})
		}},
		"rollback": {func(h *host) {
			h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: "before", CutOptions: h.cut()}))
			h.write("vg/web1", 2)
		}, func(h *host) (*orchestrator.Plan, error) {
			return h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", EndRequest: orchestrator.EndRequest{Timeout: 1e9}, KeepSnapshot: true, CutOptions: h.cut()})
		}},
		"clone": {func(h *host) {
			g, err := h.guests.Guest(h.t.Context(), "web1")
			if err == nil {
				err = g.Destroy(h.t.Context())
			}
			if err != nil {
				h.t.Fatal(err)
			}
		}, func(h *host) (*orchestrator.Plan, error) {
			return h.facts().PlanClone(orchestrator.CloneRequest{Guest: "web1", Names: []string{"c01", "c02"}, CutOptions: h.cut()}, h.World)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			after := ""
			for n := 0; ; n++ {
				h := newHost(t, thin...)
				w.prepare(h)
				before := h.picture()
				p, err := w.plan(h)
				if err != nil {
					t.Fatal(err)
				}
				if !h.dieAt(p, n) {
					after = h.picture()
					t.Logf("died before each of %d effects", n)
					if n < 5 {
						t.Errorf("only %d effects: the test does not see them", n)
					}
					break
				}
				h.recoverFrom(before, &after, n)
				if t.Failed() {
					break
				}
			}
		})
	}
}

// dieAt runs the plan up to the nth effect; false says that it came to its end.
func (h *host) dieAt(p *orchestrator.Plan, n int) (dead bool) {
	h.t.Helper()
	count := 0
	h.effect = func(string) {
		if count++; count > n {
			panic(died{})
		}
	}
	defer func() {
		h.effect = func(string) {}
		if r := recover(); r != nil {
			if _, ok := r.(died); !ok {
				panic(r)
			}
			dead = true
		}
	}()
	if err := h.Run(h.t.Context(), p); err != nil {
		h.t.Fatal(err)
	}
	return false
}

// recoverFrom does what the host does after a death: the engine notices that
// the connection ended and reconciles, somebody runs recover.
func (h *host) recoverFrom(before string, after *string, n int) {
	h.t.Helper()
	ctx := h.t.Context()
	h.reconcile()
	outs, err := h.Recover(ctx)
	if err != nil || len(outs) != 1 || outs[0].Err != nil {
		h.t.Fatalf("effect %d: recover: %+v, %v", n, outs, err)
	}
	if again, err := h.Recover(ctx); err != nil || len(again) != 0 {
		h.t.Errorf("effect %d: recovered twice: %+v, %v", n, again, err)
	}
	got := h.picture()
	switch outs[0].Result {
	case "undone":
		if got != before {
			h.t.Errorf("effect %d: undone to\n%s\nwant\n%s", n, got, before)
		}
	case "finished":
		if *after == "" {
			*after = got
		}
		if got != *after {
			h.t.Errorf("effect %d: finished at\n%s\nbefore that at\n%s", n, got, *after)
		}
	default:
		h.t.Errorf("effect %d: outcome %+v", n, outs[0])
	}
	infos, err := h.volumes.DM.List(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, i := range infos {
		if i.Suspended || i.Inactive {
			h.t.Errorf("effect %d: %s is left behind: %+v", n, i.Name, i)
		}
	}
}

// reconcile does what the engine does when a connection ends.
func (h *host) reconcile() {
	h.t.Helper()
	infos, err := h.volumes.DM.List(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	left := infos[:0:0]
	for _, i := range infos {
		if i.Suspended || i.Inactive {
			left = append(left, i)
		}
	}
	if err := h.volumes.Reconcile(h.t.Context(), left); err != nil {
		h.t.Fatalf("reconcile: %v", err)
	}
}
