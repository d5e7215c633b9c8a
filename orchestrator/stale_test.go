package orchestrator_test

import (
	"errors"
	"testing"
	"time"

	"cowhand/hypervisor"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// What a plan was made from may have changed until it runs: then it is refused
// and nothing is touched.
func TestStalePlan(t *testing.T) {
	snapshot := func(set string) func(*host) (*orchestrator.Plan, error) {
		return func(h *host) (*orchestrator.Plan, error) {
			return h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "web1", Set: set, Mode: orchestrator.ModePause, CutOptions: h.cut()})
		}
	}
	rollback := func(h *host) (*orchestrator.Plan, error) {
		return h.facts().PlanRollback(orchestrator.RollbackRequest{Guest: "web1", CutOptions: h.cut()})
	}
	discard := func(h *host) (*orchestrator.Plan, error) {
		return h.facts().PlanDiscard(orchestrator.EndRequest{Target: "web1"})
	}
	set := func(name string, s hypervisor.State) func(*host) {
		return func(h *host) {
			if err := h.guests.SetState(name, s); err != nil {
				h.t.Fatal(err)
			}
		}
	}
	try := func(h *host) { h.run(h.planTry()) }
	for name, c := range map[string]struct {
		before    func(*host)
		plan      func(*host) (*orchestrator.Plan, error)
		meanwhile func(*host)
	}{
		"another trial of that name":       {func(*host) {}, (*host).planTry, try},
		"another trial, off":               {func(*host) {}, (*host).planTry, func(h *host) { try(h); set("web1-try", hypervisor.ShutOff)(h) }},
		"a set of that name":               {func(*host) {}, snapshot("x"), func(h *host) { h.run(snapshot("x")(h)) }},
		"the guest was started":            {set("web1", hypervisor.ShutOff), (*host).planTry, set("web1", hypervisor.Running)},
		"a newer snapshot":                 {func(h *host) { h.run(snapshot("x")(h)) }, rollback, func(h *host) { h.run(snapshot("y")(h)) }},
		"a trial that was not there":       {func(h *host) { h.run(snapshot("x")(h)) }, rollback, try},
		"the set is gone":                  {func(h *host) { h.run(snapshot("x")(h)) }, rollback, func(h *host) { h.run(h.facts().PlanRemove([]string{"x"})) }},
		"the trial was kept":               {try, discard, func(h *host) { h.run(h.planKeep()) }},
		"the trial is another one":         {try, discard, func(h *host) { h.run(discard(h)); h.later(); try(h) }},
		"the guest's disks are other ones": {func(*host) {}, (*host).planTry, func(h *host) { h.redefine("web1", nbdDisk("vda", "vg/web1")) }},
		"the guest has saved memory":       {func(h *host) { h.run(snapshot("x")(h)) }, rollback, set("web1", hypervisor.Saved)},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			c.before(h)
			p := h.mustPlan(c.plan(h))
			c.meanwhile(h)
			before := h.picture()
			err := h.Run(t.Context(), p)
			if !errors.Is(err, orchestrator.ErrStale) {
				t.Errorf("run: %v", err)
			}
			var f *orchestrator.Failure
			if errors.As(err, &f) {
				t.Errorf("it is told as a run that began: %+v", f)
			}
			h.want("nothing was changed", before)
			if outs, err := h.List(); err != nil || len(outs) != 0 {
				t.Errorf("journals: %+v, %v", outs, err)
			}
		})
	}
}

// later has the clock go on.
func (h *host) later() {
	now := h.World.Now()
	h.World.Now = func() time.Time { return now.Add(1e9) }
}

func (h *host) redefine(name, disks string) {
	h.t.Helper()
	g, err := h.guests.Guest(h.t.Context(), name)
	if err == nil {
		_, err = h.guests.Define(h.t.Context(), guestXML(name, g.UUID(), disks))
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// Of several that try a guest at once, one does; the others change nothing.
func TestTryAtOnce(t *testing.T) {
	h := newHost(t)
	const n = 4
	errs := make(chan error, n)
	var plans []*orchestrator.Plan
	for range n {
		plans = append(plans, h.mustPlan(h.planTry()))
	}
	for _, p := range plans {
		go func() { errs <- h.Run(t.Context(), p) }()
	}
	done := 0
	for range n {
		switch err := <-errs; {
		case err == nil:
			done++
		case !errors.Is(err, orchestrator.ErrStale) && !errors.Is(err, orchestrator.ErrGuestBusy):
			t.Errorf("run: %v", err)
		}
	}
	if done != 1 {
		t.Errorf("%d of %d were done", done, n)
	}
	h.want("on trial", "web1 shut off;web1-try running; set try trial clean 2; data=1 data.try=1 web1=1 web1.try=1")
}

// A set belongs to one run at a time, whoever's guests it is about.
func TestSetNameAtOnce(t *testing.T) {
	h := newHost(t)
	h.define("other", nbdDisk("vda", "vg/other"))
	spec := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: "other", Size: lvm.Size{Bytes: 4 << 20}}}
	if _, err := h.volumes.Create(t.Context(), "vg", spec, true); err != nil {
		t.Fatal(err)
	}
	f := h.facts()
	plan := func(guest string) *orchestrator.Plan {
		return h.mustPlan(f.PlanSnapshot(orchestrator.SnapshotRequest{Guest: guest, Set: "x", CutOptions: h.cut()}))
	}
	first, second := plan("web1"), plan("other")
	var inside error
	h.effect = func(string) {
		h.effect = func(string) {}
		inside = h.Run(t.Context(), second)
	}
	if err := h.Run(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(inside, orchestrator.ErrGuestBusy) {
		t.Errorf("while the first ran: %v", inside)
	}
	if err := h.Run(t.Context(), second); !errors.Is(err, orchestrator.ErrStale) || !errors.Is(err, orchestrator.ErrSetExists) {
		t.Errorf("after it: %v", err)
	}
}
