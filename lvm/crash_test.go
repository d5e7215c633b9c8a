package lvm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"cowhand/dmcore/blockdev"
)

// transition is a change of what is on the devices that a power cut must not
// divide.
type transition struct {
	name  string
	setup func(t testing.TB, r *rig)
	do    func(ctx context.Context, r *rig) error
}

var transitions = []transition{
	{"create pv", func(testing.TB, *rig) {}, func(ctx context.Context, r *rig) error {
		_, err := r.CreatePV(ctx, "m0", PVOptions{SecondMetadata: true, ID: testID(0)})
		return err
	}},
	{"create pv again", func(t testing.TB, r *rig) {
		if _, err := r.CreatePV(t.Context(), "m0", PVOptions{ID: testID(9)}); err != nil {
			t.Fatal(err)
		}
	}, func(ctx context.Context, r *rig) error {
		_, err := r.CreatePV(ctx, "m0", PVOptions{SecondMetadata: true, ID: testID(0)})
		return err
	}},
	{"create vg", setupPVs, func(ctx context.Context, r *rig) error {
		_, err := r.CreateVG(ctx, VGSpec{Name: "vg0", ID: testID(7), PVs: []string{"m0", "m1", "m2"}})
		return err
	}},
	{"commit", setupVG("m0", "m1", "m2"), changeTags("new")},
	{"commit on one area", setupVG("m1"), changeTags("new")},
	{"commit wrapping text", func(t testing.TB, r *rig) {
		setupVG("m1")(t, r)
		r.wrapNext(t, "vg0")
	}, changeTags(strings.Repeat("n", 1000), strings.Repeat("o", 1000))},
	{"abort", setupVG("m0", "m1"), func(ctx context.Context, r *rig) error {
		vg, err := r.Load(ctx, "vg0")
		if err != nil {
			return err
		}
		vg.Tags = []string{"never"}
		p, err := r.Prepare(ctx, vg)
		if err != nil {
			return err
		}
		return p.Abort()
	}},
	{"extend", setupVG("m0"), func(ctx context.Context, r *rig) error {
		vg, err := r.Load(ctx, "vg0")
		if err == nil {
			_, err = r.ExtendVG(ctx, vg, "m1", "m2")
		}
		return err
	}},
	{"reduce", setupVG("m0", "m1", "m2"), func(ctx context.Context, r *rig) error {
		vg, err := r.Load(ctx, "vg0")
		if err == nil {
			_, err = r.ReduceVG(ctx, vg, "m0", "m2")
		}
		return err
	}},
	{"remove", setupVG("m0", "m1"), func(ctx context.Context, r *rig) error {
		vg, err := r.Load(ctx, "vg0")
		if err == nil {
			err = r.RemoveVG(ctx, vg)
		}
		return err
	}},
}

func testID(n int) ID { return ID(fmt.Sprintf("%032d", n+1)) }

// setupPVs makes three PVs, with two, one and no metadata areas.
func setupPVs(t testing.TB, r *rig) {
	for i, o := range []PVOptions{{SecondMetadata: true}, {}, {NoMetadata: true}} {
		o.ID, o.MetadataSize, o.DataAlignment = testID(i), 32<<10, 64<<10
		if _, err := r.CreatePV(t.Context(), r.Devices[i], o); err != nil {
			t.Fatal(err)
		}
	}
}

func setupVG(paths ...string) func(testing.TB, *rig) {
	return func(t testing.TB, r *rig) {
		setupPVs(t, r)
		if _, err := r.CreateVG(t.Context(), VGSpec{Name: "vg0", ID: testID(7), PVs: paths}); err != nil {
			t.Fatal(err)
		}
	}
}

func changeTags(tags ...string) func(context.Context, *rig) error {
	return func(ctx context.Context, r *rig) error {
		vg, err := r.Load(ctx, "vg0")
		if err != nil {
			return err
		}
		vg.Tags = tags
		p, err := r.Prepare(ctx, vg)
		if err != nil {
			return err
		}
		return p.Commit()
	}
}

// wrapNext commits until the next text will be split by the end of the ring.
func (r *rig) wrapNext(t testing.TB, name string) {
	for range 100 {
		f, err := r.scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g, err := f.named(name)
		if err != nil {
			t.Fatal(err)
		}
		h := g.areas[0].header
		if slot, err := h.Place(make([]byte, 3000)); err == nil && len(h.Spans(slot)) == 2 {
			return
		}
		r.commit(t, r.load(t, name), strings.Repeat("x", 1+int(g.vg.Seqno)*13%700))
	}
	t.Fatal("the ring never wraps")
}

// state is what can be read: groups with their PVs and tags, and free PVs.
func (r *rig) state(t testing.TB) string {
	t.Helper()
	l, err := r.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, g := range l.Groups {
		if g.Err != nil {
			t.Errorf("group that cannot be used: %v", g.Err)
		}
		fmt.Fprintf(&b, "%s %d %.12q:", g.VG.Name, g.VG.Seqno, g.VG.Tags)
		for _, pv := range g.VG.PVs {
			fmt.Fprintf(&b, " %s", pv.Device)
			if pv.Missing() {
				t.Errorf("%s of %s is missing", pv.Device, g.VG.Name)
			}
		}
		b.WriteString("; ")
	}
	for _, v := range l.PVs {
		fmt.Fprintf(&b, "%s=%s(%s) ", v.Path, v.ID[30:], v.VG)
	}
	return b.String()
}

// A power cut at every write and sync of every change leaves the old or the new
// state, whatever part of what was not synced survives; and what comes after
// works.
func TestCrash(t *testing.T) {
	rng := testSeed(t)
	for _, tr := range transitions {
		t.Run(tr.name, func(t *testing.T) {
			base := newRig(3)
			tr.setup(t, base)
			base = base.reboot(rng, 100)
			old := base.state(t)
			after := base.reboot(rng, 100)
			if err := tr.do(t.Context(), after); err != nil {
				t.Fatal(err)
			}
			allowed := map[string]bool{old: true, after.state(t): true}
			if tr.name == "create pv again" {
				allowed[""] = true // the old one is wiped first, on purpose
			}
			seen := map[string]bool{}
			for cut := 1; ; cut++ {
				r := base.reboot(rng, 100)
				r.power.CutAt(cut)
				err := tr.do(t.Context(), r)
				if err != nil && !errors.Is(err, blockdev.ErrPowerCut) {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				for _, keep := range []int{0, 20, 50, 80, 100} {
					n := r.reboot(rng, keep)
					got := n.state(t)
					if !allowed[got] {
						t.Fatalf("cut at %d, keep %d%%: state is\n%s, want one of\n%v", cut, keep, got, allowed)
					}
					if err == nil && got != after.state(t) {
						t.Fatalf("success was reported, the state is\n%s", got)
					}
					seen[got] = true
					n.goesOn(t, rng)
				}
				if err == nil {
					break
				}
			}
			for s := range allowed {
				if !seen[s] {
					t.Errorf("no cut led to\n%s", s)
				}
			}
		})
	}
}

// goesOn commits once more, is cut again while it does, and commits in the end.
func (r *rig) goesOn(t testing.TB, rng *rand.Rand) {
	t.Helper()
	names, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		seqno := r.load(t, name).Seqno
		again := r.reboot(rng, 100)
		again.power.CutAt(1 + rng.IntN(12))
		if err := changeTags("again")(t.Context(), again); err != nil && !errors.Is(err, blockdev.ErrPowerCut) {
			t.Fatal(err)
		}
		again = again.reboot(rng, rng.IntN(101))
		vg := again.load(t, name)
		if vg.Seqno != seqno && vg.Seqno != seqno+1 {
			t.Fatalf("seqno went from %d to %d", seqno, vg.Seqno)
		}
		if last := again.commit(t, vg, "last"); last.Seqno != vg.Seqno+1 || last.Tags[0] != "last" {
			t.Fatalf("after the crash: seqno %d, tags %q", last.Seqno, last.Tags)
		}
	}
}

// An operation that fails leaves the old state if an error is reported, the new
// one if not, and everything closed.
func TestFailingDevice(t *testing.T) {
	rng := testSeed(t)
	for _, tr := range transitions {
		if strings.HasPrefix(tr.name, "create pv") || tr.name == "remove" { // two steps: reported, done by repeating
			continue
		}
		t.Run(tr.name, func(t *testing.T) {
			base := newRig(3)
			tr.setup(t, base)
			base = base.reboot(rng, 100)
			old := base.state(t)
			after := base.reboot(rng, 100)
			if err := tr.do(t.Context(), after); err != nil {
				t.Fatal(err)
			}
			for at, done := 1, false; !done; at++ {
				r := base.reboot(rng, 100)
				r.power.FailAt(at, errTest)
				err := tr.do(t.Context(), r)
				done = r.power.Ops() < at
				want := after.state(t)
				if err != nil {
					want = old
				}
				if err != nil && !errors.Is(err, errTest) {
					t.Fatalf("operation %d failed: %v", at, err)
				}
				if got := r.state(t); got != want {
					t.Fatalf("operation %d failed, error %v: state is\n%s, want\n%s", at, err, got, want)
				}
				if r.open != 0 {
					t.Fatalf("operation %d failed: %d devices left open", at, r.open)
				}
				r.goesOn(t, rng)
			}
		})
	}
}

// Without memory, without a second area: a commit that fails says so, and says
// what is on disk.
func TestCommitSaysWhatIsOnDisk(t *testing.T) {
	r := newRig(1)
	vg := r.group(t, "vg0", PVOptions{}, "m0")
	p, err := r.Prepare(t.Context(), vg)
	if err != nil {
		t.Fatal(err)
	}
	r.power.FailAt(1, errTest)
	if err := p.Commit(); !errors.Is(err, errTest) || !strings.HasSuffix(err.Error(), "the old state was restored") {
		t.Errorf("one failing write: %v", err)
	}
	if err := p.Commit(); !errors.Is(err, ErrInvalid) {
		t.Errorf("a second commit: %v", err)
	}
	if err := p.Abort(); err != nil {
		t.Errorf("an abort after all: %v", err)
	}
	if p, err = r.Prepare(t.Context(), vg); err != nil {
		t.Fatal(err)
	}
	r.power.CutAt(1)
	if err := p.Commit(); !errors.Is(err, blockdev.ErrPowerCut) || !errors.Is(err, ErrUndecided) {
		t.Errorf("power cut: %v", err)
	}
}

// The window between suspend and resume holds Commit: it takes no memory.
func TestCommitAllocatesNothing(t *testing.T) {
	r := newRig(2)
	vg := r.group(t, "vg0", PVOptions{}, "m0", "m1")
	p, err := r.Prepare(t.Context(), vg)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range p.devices {
		d.dev = nullDevice{d.dev}
	}
	defer p.Abort()
	if n := testing.AllocsPerRun(10, func() { p.flip() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// nullDevice remembers nothing but what the areas compare.
type nullDevice struct{ blockdev.Device }

func (nullDevice) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (nullDevice) ReadAt(b []byte, _ int64) (int, error)  { return len(b), nil }
func (nullDevice) Sync() error                            { return nil }
