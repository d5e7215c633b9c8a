package orchestrator_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
		"keep": {(*host).planKeep, "vg: precommit"},
		"discard": {func(h *host) (*orchestrator.Plan, error) {
			return h.facts().PlanDiscard(orchestrator.EndRequest{Target: "try"})
		}, "vg: precommit"},
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

// A run that was done, and died before its journal said so or was put away, is
// not undone: somebody may have worked with its outcome since.
func TestDoneIsNotUndone(t *testing.T) {
	for name, cut := range map[string]func([]byte) []byte{
		"end recorded, not put away": func(b []byte) []byte { return b },
		"end not recorded": func(b []byte) []byte {
			lines := bytes.SplitAfter(b, []byte("\n"))
			return bytes.Join(lines[:len(lines)-2], nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.run(h.planTry())
			h.write("vg/web1.try", 2)
			done, err := filepath.Glob(filepath.Join(h.runs, "done", "*"))
			if err != nil || len(done) != 1 {
				t.Fatal(done, err)
			}
			b, err := os.ReadFile(done[0])
			if err == nil {
				err = os.WriteFile(filepath.Join(h.runs, filepath.Base(done[0])), cut(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := h.picture()
			if out := h.recovered(); out.Result != "finished" || out.Err != nil {
				t.Errorf("outcome %+v", out)
			}
			h.want("recovered", before)
			if outs, err := h.List(); err != nil || len(outs) != 0 {
				t.Errorf("left: %+v, %v", outs, err)
			}
		})
	}
}

// A journal that cannot be written, as on a full disk, stops the run, not its
// undoing; and it can be read when there is room again.
func TestJournalFull(t *testing.T) {
	h := newHost(t)
	before := h.picture()
	p := h.mustPlan(h.planTry())
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit) })
	h.effect = func(what string) {
		if what == "off web1" { // the shutdown is done: no record has room any more
			files, err := filepath.Glob(filepath.Join(h.runs, "*.jsonl"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			st, err := os.Stat(files[0])
			if err == nil {
				err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(st.Size()) + 10, Max: limit.Max})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	err := h.Run(t.Context(), p)
	h.effect = func(string) {}
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, orchestrator.ErrUnfinished) {
		t.Errorf("run: %v", err)
	}
	h.want("after the run", before)
	if out := h.recovered(); out.Result != "undone" || out.Err != nil {
		t.Errorf("outcome %+v", out)
	}
	h.want("recovered", before)
}

// While a run waits for recovery no other one touches its guests and sets:
// recovery would act on what that one made.
func TestRecoverFirst(t *testing.T) {
	h := newHost(t)
	h.define("other", nbdDisk("vda", "vg/data"))
	h.run(h.planTry())
	keep := h.mustPlan(h.planKeep())
	h.dieBefore(keep, "precommit")
	before := h.picture()
	for name, plan := range map[string]func() (*orchestrator.Plan, error){
		"its guest": func() (*orchestrator.Plan, error) {
			return h.facts().PlanDiscard(orchestrator.EndRequest{Target: "try"})
		},
		"its set": func() (*orchestrator.Plan, error) { return h.facts().PlanRemove([]string{"try"}) },
	} {
		err := h.Run(t.Context(), h.mustPlan(plan()))
		var f *orchestrator.Failure
		if !errors.Is(err, orchestrator.ErrUnfinished) || errors.As(err, &f) {
			t.Errorf("%s: %v", name, err)
		}
		h.want(name, before)
	}
	h.run(h.facts().PlanSnapshot(orchestrator.SnapshotRequest{Guest: "other", Set: "x", CutOptions: h.cut()}))
	if out := h.recovered(); out.Result != "finished" || out.Err != nil {
		t.Errorf("outcome %+v", out)
	}
}
