package lvm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/userspace"
	"cowhand/lvm"
)

// world is a host: physical volumes in memory, the userspace machine, and the
// engine over both.
type world struct {
	t       *testing.T
	disks   map[string]*blockdev.Mem
	machine *userspace.Machine
	opener  func(path string, write bool) (blockdev.Device, error) // of disks, for the machine
	*lvm.Engine
}

// kept keeps memory from being closed with each use.
type kept struct{ blockdev.Device }

func (kept) Close() error { return nil }

func newWorld(t *testing.T, pvs int, size int64) *world {
	t.Helper()
	w := &world{t: t, disks: map[string]*blockdev.Mem{}}
	var paths []string
	for i := range pvs {
		path := fmt.Sprintf("/disk%d", i)
		paths = append(paths, path)
		w.disks[path] = blockdev.NewMem(size)
	}
	w.opener = w.open
	w.machine = userspace.New(func(ref dmcore.Dev) (blockdev.Device, error) { return w.opener(string(ref), true) })
	t.Cleanup(func() { w.machine.Close() })
	w.Engine = &lvm.Engine{
		Store: &lvm.Store{Devices: paths, Open: w.open, Host: "host"},
		DM:    dmcore.NewClient(w.machine),
		Locks: lvm.Locks{Dir: filepath.Join(t.TempDir(), "lock")},
		Host:  "host",
	}
	ctx := t.Context()
	for _, p := range paths {
		if _, err := w.CreatePV(ctx, p, lvm.PVOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.CreateVG(ctx, lvm.VGSpec{Name: "vg", PVs: paths, ExtentSize: 2048}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) open(path string, _ bool) (blockdev.Device, error) {
	d, ok := w.disks[path]
	if !ok {
		return nil, fmt.Errorf("%s: no such disk", path)
	}
	return kept{d}, nil
}

func (w *world) create(name, size string) lvm.Ref {
	w.t.Helper()
	s, err := lvm.ParseSize(size)
	if err != nil {
		w.t.Fatal(err)
	}
	spec := lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: name, Size: s}}
	if _, err := w.Create(w.t.Context(), "vg", spec, true); err != nil {
		w.t.Fatal(err)
	}
	return lvm.Ref{VG: "vg", LV: name}
}

func (w *world) snapshot(origin lvm.Ref, name string) lvm.Ref {
	w.t.Helper()
	err := w.Snapshot(w.t.Context(), []lvm.SnapshotRequest{{Origin: origin, Name: name, Size: lvm.Size{Bytes: 4 << 20}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return lvm.Ref{VG: "vg", LV: name}
}

// fill writes n sectors of one byte.
func (w *world) fill(r lvm.Ref, at, n int64, b byte) {
	w.t.Helper()
	h, err := w.machine.Open(dmcore.BuildName(r.VG, r.LV, ""), false)
	if err != nil {
		w.t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.WriteAt(bytes.Repeat([]byte{b}, int(n*512)), at*512); err != nil {
		w.t.Fatal(err)
	}
}

// expect checks that the first byte of sectors reads as b.
func (w *world) expect(r lvm.Ref, sector int64, b byte) {
	w.t.Helper()
	h, err := w.machine.Open(dmcore.BuildName(r.VG, r.LV, ""), true)
	if err != nil {
		w.t.Fatal(err)
	}
	defer h.Close()
	buf := make([]byte, 512)
	if _, err := h.ReadAt(buf, sector*512); err != nil {
		w.t.Fatal(err)
	}
	if want := bytes.Repeat([]byte{b}, 512); !bytes.Equal(buf, want) {
		w.t.Errorf("%s sector %d reads %#x…, want %#x", r, sector, buf[:4], b)
	}
}

func (w *world) names() string {
	w.t.Helper()
	infos, err := w.DM.List(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	s := ""
	for _, i := range infos {
		s += string(i.Name) + " "
		if i.Suspended || i.Inactive {
			w.t.Errorf("%s is left suspended or with an inactive table: %+v", i.Name, i)
		}
	}
	return s
}

func TestLifeOfASnapshot(t *testing.T) {
	w := newWorld(t, 2, 64<<20)
	ctx := t.Context()
	root := w.create("root", "16m")
	w.fill(root, 0, 64, 1)
	s1 := w.snapshot(root, "s1")
	w.fill(root, 0, 8, 2)
	w.fill(s1, 32, 8, 3)
	w.expect(root, 0, 2)
	w.expect(s1, 0, 1)
	w.expect(root, 32, 1)
	w.expect(s1, 32, 3)
	s2 := w.snapshot(root, "s2")
	w.fill(root, 0, 8, 4)
	w.expect(s2, 0, 2)
	w.expect(s1, 0, 1)

	starts, err := w.StartMerge(ctx, []lvm.Ref{s1})
	if err != nil || len(starts) != 1 || !starts[0].Started {
		t.Fatalf("merge: %+v, %v", starts, err)
	}
	w.expect(root, 0, 1)
	w.expect(root, 32, 3)
	w.expect(s2, 0, 2)
	if err := w.WaitMerge(ctx, []lvm.Ref{s1}, time.Second, nil); err != nil {
		t.Fatal(err)
	}
	w.expect(root, 0, 1)
	w.expect(root, 32, 3)
	w.expect(s2, 0, 2)
	w.expect(s2, 32, 1)
	if got, want := w.names(), "vg-root vg-root-real vg-s2 vg-s2-cow "; sorted(got) != sorted(want) {
		t.Errorf("devices %q, want %q", got, want)
	}
	if err := w.Remove(ctx, []lvm.Ref{s2}); err != nil {
		t.Fatal(err)
	}
	if got, want := w.names(), "vg-root "; got != want {
		t.Errorf("devices %q, want %q", got, want)
	}
	if err := w.Deactivate(ctx, root); err != nil {
		t.Fatal(err)
	}
	if err := w.Activate(ctx, root); err != nil {
		t.Fatal(err)
	}
	w.expect(root, 0, 1)
	if err := w.Remove(ctx, []lvm.Ref{root}); err != nil {
		t.Fatal(err)
	}
	if got := w.names(); got != "" {
		t.Errorf("devices %q are left", got)
	}
}

func sorted(s string) string {
	f := bytes.Fields([]byte(s))
	for i := range f {
		for j := i + 1; j < len(f); j++ {
			if bytes.Compare(f[j], f[i]) < 0 {
				f[i], f[j] = f[j], f[i]
			}
		}
	}
	return string(bytes.Join(f, []byte(" ")))
}

// A merge of an open origin waits for its next activation, then continues after
// the machine is gone and another one restores what was active.
func TestDeferredMerge(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root := w.create("root", "16m")
	w.fill(root, 0, 64, 1)
	s1 := w.snapshot(root, "s1")
	w.fill(root, 0, 64, 2)
	h, err := w.machine.Open("vg-root", false)
	if err != nil {
		t.Fatal(err)
	}
	starts, err := w.StartMerge(ctx, []lvm.Ref{s1})
	if err != nil || starts[0].Started {
		t.Fatalf("merge: %+v, %v", starts, err)
	}
	if _, err := w.StartMerge(ctx, []lvm.Ref{s1}); !errors.Is(err, lvm.ErrMerging) {
		t.Errorf("merge asked twice: %v", err)
	}
	w.expect(root, 0, 2)
	if err := w.WaitMerge(ctx, []lvm.Ref{s1}, time.Second, nil); !errors.Is(err, lvm.ErrInUse) {
		t.Errorf("waiting for a deferred merge: %v", err)
	}
	h.Close()
	if err := w.Deactivate(ctx, root); err != nil {
		t.Fatal(err)
	}
	if err := w.Activate(ctx, root); err != nil {
		t.Fatal(err)
	}
	w.expect(root, 0, 1)
	if err := w.WaitMerge(ctx, []lvm.Ref{s1}, time.Second, nil); err != nil {
		t.Fatal(err)
	}
	w.expect(root, 0, 1)
}

// errStop is the crash that Trace makes.
var errStop = errors.New("stopped here")

// A process that dies at any step of a snapshot, a merge or a removal leaves the
// state before or after, once what it left suspended is reconciled.
func TestStopAtEveryStep(t *testing.T) {
	for _, op := range []string{"snapshot", "second", "merge", "finish", "remove"} {
		for n := 0; ; n++ {
			if done := stopAt(t, op, n); done {
				t.Logf("%s: stopped at each of %d steps", op, n)
				break
			}
		}
	}
}

func stopAt(t *testing.T, op string, n int) (ran bool) {
	w := newWorld(t, 1, 32<<20)
	ctx := t.Context()
	root := w.create("root", "8m")
	w.fill(root, 0, 64, 1)
	s1 := lvm.Ref{VG: "vg", LV: "s1"}
	if op != "snapshot" {
		w.snapshot(root, "s1")
		w.fill(root, 0, 8, 2)
	}
	run := map[string]func() error{
		"snapshot": func() error {
			return w.Snapshot(ctx, []lvm.SnapshotRequest{{Origin: root, Name: "s1", Size: lvm.Size{Bytes: 4 << 20}}})
		},
		"second": func() error {
			return w.Snapshot(ctx, []lvm.SnapshotRequest{{Origin: root, Name: "s2", Size: lvm.Size{Bytes: 4 << 20}}})
		},
		"merge":  func() error { _, err := w.StartMerge(ctx, []lvm.Ref{s1}); return err },
		"finish": func() error { return w.WaitMerge(ctx, []lvm.Ref{s1}, time.Second, nil) },
		"remove": func() error { return w.Remove(ctx, []lvm.Ref{s1}) },
	}[op]
	if op == "finish" {
		if _, err := w.StartMerge(ctx, []lvm.Ref{s1}); err != nil {
			t.Fatal(err)
		}
	}
	// Death: from the nth step on nothing is done any more, not even undoing.
	dead := false
	step := 0
	w.Trace = func(string) error {
		if step++; step > n {
			dead = true
			return errStop
		}
		return nil
	}
	live := w.DM
	w.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, c dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		if dead && c.Changes() {
			return nil, errStop
		}
		return live.Control().Do(ctx, c, r)
	}))
	err := run()
	w.Trace, w.DM = nil, live
	if !dead {
		if err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		return true
	}
	infos, err := w.DM.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Reconcile(ctx, infos); err != nil {
		t.Fatalf("%s stopped at %d: reconcile: %v", op, n, err)
	}
	w.names() // none is suspended
	vg, err := w.Group(ctx, "vg")
	if err != nil {
		t.Fatal(err)
	}
	has := vg.LV("s1") != nil
	merging := has && vg.Snapshot("s1").Merging
	want := byte(2)
	switch {
	case op == "snapshot":
		want = 1
	case merging, op == "finish":
		want = 1
	}
	w.expect(root, 0, want)
	if has && !merging {
		w.expect(s1, 0, 1)
	}
	w.fill(root, 0, 8, 9)
	w.expect(root, 0, 9)
	if has && !merging {
		w.expect(s1, 0, 1)
	}
	return false
}

// A device mapper that is lost before the commit leaves nothing; after it, a
// snapshot that nobody should trust.
func TestSnapshotWithoutItsMachine(t *testing.T) {
	for _, lostAt := range []dmcore.Command{dmcore.Suspend, dmcore.Resume} {
		w := newWorld(t, 1, 32<<20)
		root := w.create("root", "8m")
		live, suspended := w.DM, false
		w.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, c dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
			if c == lostAt && (c == dmcore.Suspend || suspended) {
				return nil, dmcore.ErrUnavailable
			}
			suspended = suspended || c == dmcore.Suspend
			return live.Control().Do(ctx, c, r)
		}))
		err := w.Snapshot(t.Context(), []lvm.SnapshotRequest{{Origin: root, Name: "s1", Size: lvm.Size{Bytes: 4 << 20}}})
		vg, again := w.Group(t.Context(), "vg")
		if again != nil {
			t.Fatal(again)
		}
		committed := vg.LV("s1") != nil
		if !errors.Is(err, dmcore.ErrUnavailable) || errors.Is(err, lvm.ErrTorn) != committed || committed != (lostAt == dmcore.Resume) {
			t.Errorf("lost at %s: recorded %v, %v", lostAt, committed, err)
		}
	}
}
