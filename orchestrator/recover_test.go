package orchestrator_test

import (
	"strings"
	"testing"

	"cowhand/orchestrator"
)

// dieBefore runs the plan up to the first effect that has the text in it.
func (h *host) dieBefore(p *orchestrator.Plan, effect string) {
	h.t.Helper()
	h.effect = func(what string) {
		if strings.Contains(what, effect) {
			panic(died{})
		}
	}
	defer func() {
		h.effect = func(string) {}
		if r := recover(); r != (died{}) {
			h.t.Fatalf("the plan has no effect %q: %v", effect, r)
		}
	}()
	err := h.Run(h.t.Context(), p)
	h.t.Errorf("run ended: %v", err)
}

func (h *host) planKeep() (*orchestrator.Plan, error) {
	return h.facts().PlanKeep(orchestrator.EndRequest{Target: "try"})
}

func (h *host) mustPlan(p *orchestrator.Plan, err error) *orchestrator.Plan {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// recovered recovers the one run there is.
func (h *host) recovered() orchestrator.Outcome {
	h.t.Helper()
	outs, err := h.Recover(h.t.Context())
	if err != nil || len(outs) != 1 {
		h.t.Fatalf("recover: %+v, %v", outs, err)
	}
	return outs[0]
}

// A group that is not seen now, because its device is not listed or not there,
// is neither merged nor removed.
func TestGroupOutOfSight(t *testing.T) {
	for name, c := range map[string]struct {
		plan   func(*host) (*orchestrator.Plan, error)
		effect string
	}{
		"keep":    {(*host).planKeep, "vg: precommit"},
		"discard": {func(h *host) (*orchestrator.Plan, error) { return h.facts().PlanDiscard(orchestrator.EndRequest{Target: "try"}) }, "vg: precommit"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.run(h.planTry())
			h.write("vg/web1.try", 2)
			h.dieBefore(h.mustPlan(c.plan(h)), c.effect)
			devices := h.volumes.Store.Devices
			h.volumes.Store.Devices = nil
			if out := h.recovered(); out.Result != "failed" {
				t.Errorf("recovered without the group: %+v", out)
			}
			h.volumes.Store.Devices = devices
			if out := h.recovered(); out.Result != "finished" || out.Err != nil {
				t.Errorf("recovered with the group: %+v", out)
			}
			h.want("at last", map[string]string{"keep": "web1 running; data=1 web1=2", "discard": "web1 running; data=1 web1=1"}[name])
		})
	}
}
