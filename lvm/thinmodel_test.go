package lvm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// thinModel is what the volumes of a group hold, by name.
type thinModel struct {
	t     testing.TB
	r     *rapid.T
	w     *thinWorld
	holds map[string]int
	next  int
}

// TestThinModel does random changes to volumes in two pools, some of them active,
// and now and then dies on the way, with the power or alone. After each, every
// volume holds what it held before the change or what it should after it, and the
// kernel's pools are as the metadata says.
func TestThinModel(t *testing.T) {
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		must(t, flag.Set("rapid.seed", s))
	}
	start := freshThinWorld(t)
	for _, name := range []string{"p", "q"} {
		_, _, err := start.CreateThinPool(t.Context(), "vg", ThinPoolSpec{Name: name, Size: extents(2)}, name == "p")
		must(t, err)
	}
	rapid.Check(t, func(r *rapid.T) {
		m := &thinModel{t: t, r: r, w: start.again(t, 100, true), holds: map[string]int{}}
		for range rapid.IntRange(1, 10).Draw(r, "steps") {
			m.step(t)
		}
	})
}

func (m *thinModel) step(t *testing.T) {
	was := maps.Clone(m.holds)
	op, is, do := m.change()
	if do == nil {
		return
	}
	if rapid.IntRange(0, 2).Draw(m.r, "dies") == 0 {
		m.w.die = rapid.IntRange(0, 60).Draw(m.r, "at")
	}
	err := do(t.Context())
	switch {
	case m.w.dead:
		devices := rapid.Bool().Draw(m.r, "devices stay")
		m.w = m.w.again(t, 100, devices)
		m.w.settled(op + ", and died")
		if got := m.read(); maps.Equal(got, was) {
			is = was
		} else if !maps.Equal(got, is) {
			m.r.Fatalf("%s, and died: %v, want %v or %v", op, got, was, is)
		}
	case err != nil && (errors.Is(err, blockdev.ErrPowerCut) || errors.Is(err, dmcore.ErrUnavailable)):
		m.r.Fatalf("%s: %v", op, err)
	case err != nil && !errors.Is(err, ErrInUse) && !errors.Is(err, ErrMerging) && !errors.Is(err, ErrNoSpace):
		m.r.Fatalf("%s: %v", op, err)
	case err != nil:
		is = was
	}
	m.w.die = -1
	if got := m.read(); !maps.Equal(got, is) {
		m.r.Fatalf("%s (%v): %v, want %v", op, err, got, is)
	}
	if len(m.w.wrong) > 0 {
		m.r.Fatalf("%s: %v", op, m.w.wrong)
	}
	m.holds = is
}

// read is what the kernel has for each volume of the metadata.
func (m *thinModel) read() map[string]int {
	vg := m.w.rig.load(m.t, "vg")
	must(m.t, vg.Validate())
	holds := map[string]int{}
	for _, lv := range vg.LVs {
		th := lv.Thin()
		if th == nil {
			continue
		}
		p := m.w.pools[vg.uuid(vg.LV(vg.LV(th.Pool).ThinPool().Metadata), layerTMeta)]
		if !p.has(th.DeviceID) {
			m.r.Fatalf("%s is not in the kernel's pool: %+v", lv.Name, p)
		}
		holds[lv.Name] = p.thin[th.DeviceID]
	}
	return holds
}

// change draws one, and what volumes hold after it.
func (m *thinModel) change() (op string, is map[string]int, do func(context.Context) error) {
	is = maps.Clone(m.holds)
	names := slices.Sorted(maps.Keys(m.holds))
	w := m.w
	kind := rapid.IntRange(0, 8).Draw(m.r, "change")
	if len(names) == 0 {
		kind = 0
	}
	var name string
	if kind > 0 {
		name = rapid.SampledFrom(names).Draw(m.r, "volume")
	}
	vg := w.rig.load(m.t, "vg")
	ref := Ref{"vg", name}
	m.next++
	fresh := fmt.Sprintf("v%d", m.next)
	on := ThinOptions{Activate: rapid.Bool().Draw(m.r, "activate"), IgnoreSkip: true}
	switch kind {
	case 0:
		pool := rapid.SampledFrom([]string{"p", "q"}).Draw(m.r, "pool")
		is[fresh] = 0
		return "make " + fresh + " in " + pool, is, func(ctx context.Context) error {
			_, err := w.CreateThins(ctx, "vg", []ThinSpec{{Pool: pool, Name: fresh, Size: extents(3)}}, on)
			return err
		}
	case 1, 2:
		is[fresh] = is[name]
		return "snapshot " + fresh + " of " + name, is, func(ctx context.Context) error {
			_, err := w.CreateThins(ctx, "vg", []ThinSpec{{Pool: vg.LV(name).Thin().Pool, Name: fresh, Origin: name}}, on)
			return err
		}
	case 3:
		delete(is, name)
		return "remove " + name, is, func(ctx context.Context) error { return w.Remove(ctx, []Ref{ref}) }
	case 4, 5:
		origin := vg.LV(name).Thin().Origin
		if origin == "" {
			return "", nil, nil
		}
		is[origin] = is[name]
		delete(is, name)
		return "merge " + name + " into " + origin, is, func(ctx context.Context) error {
			_, err := w.MergeThin(ctx, ref)
			return err
		}
	case 6: // what is written is in the kernel alone
		p := w.pools[vg.uuid(vg.LV(vg.LV(vg.LV(name).Thin().Pool).ThinPool().Metadata), layerTMeta)]
		is[name] = m.next
		p.thin[vg.LV(name).Thin().DeviceID] = m.next
		m.holds[name] = m.next
		return "", nil, nil
	case 7:
		return "activate " + name, is, func(ctx context.Context) error { return w.Activate(ctx, ref) }
	default:
		return "deactivate " + name, is, func(ctx context.Context) error { return w.Deactivate(ctx, ref) }
	}
}
