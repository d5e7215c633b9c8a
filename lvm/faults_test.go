package lvm_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/userspace"
	"cowhand/lvm"
)

var errFault = errors.New("fault")

// fail has the first command of that kind to the device fail; it is not carried
// out.
func (w *world) fail(cmd dmcore.Command, name dmcore.Name) (restore func()) {
	w.t.Helper()
	info, err := w.DM.Info(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	live, failed := w.DM, false
	w.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, c dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		if c == cmd && r.UUID == info.UUID && !failed {
			failed = true
			return nil, &dmcore.Error{Cmd: c, Name: name, Err: errFault}
		}
		return live.Control().Do(ctx, c, r)
	}))
	return func() {
		w.DM = live
		if !failed {
			w.t.Errorf("%s of %s was never asked for", cmd, name)
		}
	}
}

// reconcile does what the engine does when the connection of a process ends.
func (w *world) reconcile() {
	w.t.Helper()
	infos, err := w.DM.List(w.t.Context())
	if err == nil {
		err = w.Reconcile(w.t.Context(), infos)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// A snapshot whose merge could not take its exceptions over is not let go of:
// they would be lost to the merge, and the origin show what it held before.
func TestMergeThatDoesNotTakeOver(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	root := w.create("root", "16m")
	w.fill(root, 0, 64, 1)
	s1 := w.snapshot(root, "s1")
	w.fill(root, 0, 64, 2)
	restore := w.fail(dmcore.Resume, "vg-root")
	if _, err := w.StartMerge(t.Context(), []lvm.Ref{s1}); !errors.Is(err, errFault) {
		t.Errorf("merge: %v", err)
	}
	restore()
	w.reconcile()
	w.names()
	w.expect(root, 0, 1)
	if err := w.WaitMerge(t.Context(), []lvm.Ref{s1}, time.Second, nil); err != nil {
		t.Fatal(err)
	}
	w.expect(root, 0, 1)
}

// Without the group's lock, which somebody alive may hold, Reconcile leaves the
// devices alone that the metadata does not know: they may be his, not committed
// yet.
func TestReconcileBesideAChange(t *testing.T) {
	t.Parallel() // it waits for the lock
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	w.create("root", "16m")
	root, err := w.DM.Info(ctx, "vg-root")
	if err == nil {
		err = w.DM.Suspend(ctx, root.UUID, dmcore.SuspendOptions{})
	}
	fresh := root.UUID[:len(root.UUID)-4] + "zzzz"
	if err == nil {
		_, err = w.DM.Create(ctx, "vg-fresh", fresh)
	}
	if err == nil {
		err = w.DM.Load(ctx, fresh, dmcore.Table{{Length: 8, Target: dmcore.Failing{}}}, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := w.Locks.VG(ctx, "vg", true)
	if err != nil {
		t.Fatal(err)
	}
	if root, err = w.DM.Info(ctx, "vg-root"); err == nil {
		err = w.Reconcile(ctx, []dmcore.Info{root})
	}
	if err != nil {
		t.Fatal(err)
	}
	if root, err = w.DM.Info(ctx, "vg-root"); err != nil || root.Suspended {
		t.Errorf("vg-root is %+v, %v", root, err)
	}
	if i, err := w.DM.Info(ctx, "vg-fresh"); err != nil || !i.Inactive {
		t.Errorf("vg-fresh is %+v, %v", i, err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got, want := w.names(), "vg-root "; got != want {
		t.Errorf("devices %q, want %q", got, want)
	}
}

// A volume that was deactivated while Reconcile waited for the lock stays so.
func TestReconcileDeactivated(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "16m")
	left, err := w.DM.List(ctx)
	if err == nil {
		err = w.Deactivate(ctx, root)
	}
	if err == nil {
		err = w.Reconcile(ctx, left)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := w.names(); got != "" {
		t.Errorf("devices %q, want none", got)
	}
}

// A volume that was opened since it was looked at is not removed.
func TestRemoveOpenedMeanwhile(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	root := w.create("root", "16m")
	s1 := w.snapshot(root, "s1")
	w.fill(s1, 0, 8, 3)
	w.Trace = func(step string) error {
		if step == "dm: suspend vg-root and freeze its file system" || step == "dm: suspend vg-root" {
			h, err := w.machine.Open("vg-s1", false)
			if err != nil {
				t.Error(err)
			} else {
				t.Cleanup(func() { h.Close() })
			}
		}
		return nil
	}
	if err := w.Remove(t.Context(), []lvm.Ref{s1}); !errors.Is(err, lvm.ErrInUse) {
		t.Errorf("remove: %v", err)
	}
	w.Trace = nil
	w.names()
	w.expect(s1, 0, 3)
}

// Nor does a merge that waited begin under who opens the volume just then.
func TestRefreshOpenedMeanwhile(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "16m")
	w.fill(root, 0, 64, 1)
	s1 := w.snapshot(root, "s1")
	w.fill(root, 0, 64, 2)
	open := func() *userspace.Handle {
		h, err := w.machine.Open("vg-root", false)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first := open()
	if starts, err := w.StartMerge(ctx, []lvm.Ref{s1}); err != nil || starts[0].Started {
		t.Fatal(starts, err)
	}
	first.Close()
	var second *userspace.Handle
	w.Trace = func(step string) error {
		if second == nil && strings.HasPrefix(step, "dm: suspend vg-root") {
			second = open()
		}
		return nil
	}
	if err := w.Refresh(ctx, root); !errors.Is(err, lvm.ErrInUse) {
		t.Errorf("refresh: %v", err)
	}
	w.Trace = nil
	w.names()
	w.expect(root, 0, 2)
	second.Close()
	if err := w.Refresh(ctx, root); err != nil {
		t.Fatal(err)
	}
	w.expect(root, 0, 1)
}

// forget removes a volume as lvm2 does, which knows nothing of our devices.
func (w *world) forget(lv string) {
	w.t.Helper()
	vg, err := w.Group(w.t.Context(), "vg")
	if err == nil {
		err = vg.Remove(lv)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := w.Store.Prepare(w.t.Context(), vg)
	if err == nil {
		err = p.Commit()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// A device that is open although lvm2 removed its volume keeps its extents from
// being given to another.
func TestOpenOrphan(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	root := w.create("root", "16m")
	w.create("old", "16m")
	h, err := w.machine.Open("vg-old", false)
	if err != nil {
		t.Fatal(err)
	}
	w.forget("old")
	snapshot := func() error {
		return w.Snapshot(t.Context(), []lvm.SnapshotRequest{{Origin: root, Name: "s1", Size: lvm.Size{Bytes: 4 << 20}}})
	}
	if err := snapshot(); !errors.Is(err, lvm.ErrInUse) {
		t.Errorf("snapshot: %v", err)
	}
	if err := w.Tag(t.Context(), root, []string{"t"}, nil); err != nil {
		t.Errorf("a change that allocates nothing: %v", err)
	}
	h.Close()
	if err := snapshot(); err != nil {
		t.Error(err)
	}
}

// Nor are they given away while somebody has it open who is gone when one looks:
// what could not be removed is mapped.
func TestBusyOrphan(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	w.create("old", "16m")
	w.forget("old")
	live := w.DM
	w.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, c dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		if c == dmcore.Remove {
			return nil, &dmcore.Error{Cmd: c, Name: "vg-old", Err: dmcore.ErrBusy}
		}
		return live.Control().Do(ctx, c, r)
	}))
	spec := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: "new", Size: lvm.Size{Bytes: 4 << 20}}, Stripes: 1}
	if _, err := w.Create(ctx, "vg", spec, true); !errors.Is(err, lvm.ErrInUse) {
		t.Errorf("create: %v", err)
	}
	w.DM = live
	if _, err := w.Create(ctx, "vg", spec, true); err != nil {
		t.Error(err)
	}
	if got, want := w.names(), "vg-new "; got != want {
		t.Errorf("devices %q, want %q", got, want)
	}
}

// A merge waits for its snapshot to be closed, also when the origin has no
// device.
func TestActivateUnderOpenSnapshot(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "16m")
	s1 := w.snapshot(root, "s1")
	w.fill(s1, 0, 8, 3)
	h, err := w.machine.Open("vg-s1", false)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if starts, err := w.StartMerge(ctx, []lvm.Ref{s1}); err != nil || starts[0].Started {
		t.Fatal(starts, err)
	}
	info, err := w.DM.Info(ctx, "vg-root")
	if err == nil {
		err = w.DM.Remove(ctx, info.UUID)
	}
	if err == nil {
		err = w.Activate(ctx, root)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.expect(s1, 0, 3)
	w.expect(root, 0, 0)
}

// A device whose I/O does not end is given up on, and what was suspended with it
// goes on.
func TestSuspendTakesTooLong(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	root := w.create("root", "16m")
	live := w.DM
	w.Window = time.Millisecond
	w.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, c dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		if c == dmcore.Suspend {
			<-ctx.Done()
			return nil, &dmcore.Error{Cmd: c, Name: "vg-root", Err: context.Cause(ctx)}
		}
		return live.Control().Do(ctx, c, r)
	}))
	err := w.Snapshot(t.Context(), []lvm.SnapshotRequest{{Origin: root, Name: "s1", Size: lvm.Size{Bytes: 4 << 20}}})
	if err == nil || !strings.Contains(err.Error(), "than the 1ms that are allowed") {
		t.Errorf("snapshot: %v", err)
	}
	w.DM = live
	if got, want := w.names(), "vg-root "; got != want {
		t.Errorf("devices %q, want %q", got, want)
	}
}

// guardian notes when its clock runs.
type guardian struct {
	steps *[]string
	done  error
}

func (g guardian) Begin() error { *g.steps = append(*g.steps, "begin"); return nil }
func (g guardian) Done() error  { *g.steps = append(*g.steps, "done"); return g.done }

// The guardian's clock runs while devices are suspended, and no longer. What
// becomes of it after that does not make a change fail that stands.
func TestGuard(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	root := w.create("root", "16m")
	var steps []string
	var warned []error
	w.Warn = func(err error) { warned = append(warned, err) }
	w.Trace = func(step string) error { steps = append(steps, step); return nil }
	w.Guard = func(context.Context, []lvm.ID) (lvm.Guardian, error) { return guardian{&steps, errFault}, nil }
	w.snapshot(root, "s1")
	at := func(word string) int {
		return slices.IndexFunc(steps, func(s string) bool { return strings.HasPrefix(s, word) })
	}
	if b, d := at("begin"), at("done"); b < 0 || !strings.HasPrefix(steps[b-1], "dm: load") || !strings.HasPrefix(steps[b+1], "dm: suspend") || !strings.HasPrefix(steps[d-1], "dm: resume") {
		t.Errorf("steps %q", steps)
	}
	if len(warned) != 1 || !errors.Is(warned[0], errFault) {
		t.Errorf("warnings %v", warned)
	}
}

// A volume that cannot be put in order does not keep another from it.
func TestReconcileOneByOne(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	w.create("bad", "16m")
	w.create("good", "16m")
	var left []dmcore.Info
	for _, name := range []dmcore.Name{"vg-bad", "vg-good"} {
		info, err := w.DM.Info(ctx, name)
		if err == nil {
			err = w.DM.Suspend(ctx, info.UUID, dmcore.SuspendOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, info)
	}
	live := w.DM
	w.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, c dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		if c == dmcore.TableOf && r.UUID == left[0].UUID {
			return nil, &dmcore.Error{Cmd: c, Name: "vg-bad", Err: errFault}
		}
		return live.Control().Do(ctx, c, r)
	}))
	if err := w.Reconcile(ctx, left); !errors.Is(err, errFault) {
		t.Errorf("reconcile: %v", err)
	}
	if i, err := live.Info(ctx, "vg-good"); err != nil || i.Suspended {
		t.Errorf("vg-good is %+v, %v", i, err)
	}
	if err := w.Release(ctx, left); err != nil {
		t.Fatal(err)
	}
	w.DM = live
	w.names() // none is suspended
}

// A merge is finished although its origin was given another name meanwhile.
func TestFinishMergeOfRenamed(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "16m")
	s1 := w.snapshot(root, "s1")
	w.fill(s1, 0, 8, 3)
	if starts, err := w.StartMerge(ctx, []lvm.Ref{s1}); err != nil || !starts[0].Started {
		t.Fatal(starts, err)
	}
	live, renamed := w.DM, false
	w.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, c dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		reply, err := live.Control().Do(ctx, c, r)
		if c == dmcore.TargetStatusOf && err == nil && !renamed {
			if s, err := dmcore.ParseSnapshotStatus(reply.Targets[0].Params); err == nil && s.Merged() {
				renamed = true
				if err := w.Rename(ctx, root, "base"); err != nil {
					t.Error(err)
				}
			}
		}
		return reply, err
	}))
	if err := w.WaitMerge(ctx, []lvm.Ref{s1}, time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}
	w.DM = live
	if got, want := w.names(), "vg-base "; got != want || !renamed {
		t.Errorf("devices %q, want %q", got, want)
	}
	w.expect(lvm.Ref{VG: "vg", LV: "base"}, 0, 3)
}

// A device that cannot be resumed with its new table, not even after that was
// cleared, gets its old one again.
func TestResumeFallsBackToTheOldTable(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "16m")
	info, err := w.DM.Info(ctx, "vg-root")
	if err != nil {
		t.Fatal(err)
	}
	live, swapped := w.DM, false
	w.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, c dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		switch {
		case r.UUID != info.UUID:
		case c == dmcore.Load && r.Table[0].Target.Type() == "snapshot-origin":
			swapped = true
		case c == dmcore.Load:
			swapped = false
		case c == dmcore.Resume && swapped:
			return nil, &dmcore.Error{Cmd: c, Name: "vg-root", Err: errFault}
		}
		return live.Control().Do(ctx, c, r)
	}))
	err = w.Snapshot(ctx, []lvm.SnapshotRequest{{Origin: root, Name: "s1", Size: lvm.Size{Bytes: 4 << 20}}})
	if !errors.Is(err, errFault) || !errors.Is(err, lvm.ErrTorn) {
		t.Errorf("snapshot: %v, want the fault, and that it is torn", err)
	}
	w.DM = live
	w.fill(root, 0, 8, 3) // it is not suspended
	w.expect(root, 0, 3)
}
