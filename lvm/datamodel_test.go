package lvm

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/userspace"
)

// dataHost is the engine over the userspace machine, on disks that crash.
type dataHost struct {
	*Engine
	machine *userspace.Machine
	rig     *rig
}

func newDataHost(t testing.TB, r *rig) *dataHost {
	m := userspace.New(func(ref dmcore.Dev) (blockdev.Device, error) { return r.Open(string(ref), true) })
	t.Cleanup(func() { m.Close() })
	return &dataHost{&Engine{Store: r.Store, DM: dmcore.NewClient(m), Locks: Locks{Dir: filepath.Join(t.TempDir(), "lock")}, Host: "test"}, m, r}
}

// contents are what volumes hold, a byte for each block of 4 KiB.
type contents map[string][]byte

const dataBlock = 4096

func (c contents) clone() contents {
	n := contents{}
	for name, b := range c {
		n[name] = bytes.Clone(b)
	}
	return n
}

func (c contents) equal(o contents) bool { return maps.EqualFunc(c, o, bytes.Equal) }

func (c contents) String() string {
	var s strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&s, "%s %x; ", name, c[name])
	}
	return s.String()
}

type dataModel struct {
	t     testing.TB
	r     *rapid.T
	h     *dataHost
	holds contents
	next  int
}

// TestDataModel does random changes to a group with thick and thin volumes, all of
// them active and read and written through the userspace machine, and now and then
// cuts the power on the way. After each change every volume holds what it should;
// after a cut, what it held before or what it should after.
func TestDataModel(t *testing.T) {
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		must(t, flag.Set("rapid.seed", s))
	}
	base := newRig(5)
	base.group(t, "vg", PVOptions{}, base.Devices...)
	_, _, err := newDataHost(t, base).CreateThinPool(t.Context(), "vg", ThinPoolSpec{Name: "pool", Size: extents(48)}, false)
	must(t, err)
	steps := 12
	if os.Getenv("COWHAND_SOAK") != "" {
		steps = 60
	}
	rapid.Check(t, func(r *rapid.T) {
		m := &dataModel{t: t, r: r, holds: contents{},
			h: newDataHost(t, base.reboot(rand.New(rand.NewPCG(1, 1)), 100))}
		m.thick(t.Context(), "k", 3)
		_, err := m.h.CreateThins(t.Context(), "vg", []ThinSpec{{Pool: "pool", Name: "t", Size: extents(3)}}, ThinOptions{Activate: true})
		if err != nil {
			r.Fatal(err)
		}
		m.holds["t"] = make([]byte, 3*blocksOfExtent)
		for range rapid.IntRange(1, steps).Draw(r, "steps") {
			m.step(t.Context())
		}
		if err := m.h.machine.Close(); err != nil {
			r.Fatal(err)
		}
	})
}

func (m *dataModel) step(ctx context.Context) {
	op, may, do := m.change()
	if do == nil {
		return
	}
	cut := rapid.IntRange(0, 2).Draw(m.r, "cut") == 0
	if cut {
		m.h.rig.power.CutAt(rapid.IntRange(1, 150).Draw(m.r, "at"))
	}
	err := do(ctx)
	died := cut && m.h.gone()
	m.h.rig.power.CutAt(0)
	switch {
	case died:
		op += ", and the power went"
		m.reboot(ctx)
		may = append(may, m.holds)
	case err == nil:
		may = may[:1]
	case errors.Is(err, ErrInUse), errors.Is(err, ErrMerging), errors.Is(err, ErrNoSpace), errors.Is(err, ErrInvalid):
		may = []contents{m.holds}
	default:
		m.r.Fatalf("%s: %v", op, err)
	}
	m.activate(ctx, op)
	got := m.read(op)
	i := slices.IndexFunc(may, got.equal)
	if i < 0 {
		m.r.Fatalf("%s (%v):\n%s, want one of\n%v", op, err, got, may)
	}
	m.holds = may[i]
}

func (h *dataHost) gone() bool {
	_, err := h.rig.devs[h.rig.Devices[0]].ReadAt(make([]byte, 1), 0)
	return err != nil
}

// reboot is a power cut, and what the host does when it is there again.
func (m *dataModel) reboot(ctx context.Context) {
	m.h.machine.Close() // it has no disks any more
	keep := rapid.SampledFrom([]int{0, 50, 100}).Draw(m.r, "keep")
	seed := rapid.Uint64().Draw(m.r, "survivors")
	m.h = newDataHost(m.t, m.h.rig.reboot(rand.New(rand.NewPCG(seed, 0)), keep))
	if _, err := m.h.Recover(ctx); err != nil {
		m.r.Fatalf("recover: %v", err)
	}
}

// activate activates everything, and has merges come to their end.
func (m *dataModel) activate(ctx context.Context, when string) {
	vg := m.h.rig.load(m.t, "vg")
	for _, lv := range vg.ShownLVs() {
		if lv.ThinPool() != nil {
			continue
		}
		if err := m.h.Activate(ctx, Ref{"vg", lv.Name}); err != nil {
			m.r.Fatalf("%s: activate %s: %v", when, lv.Name, err)
		}
	}
	merges, err := m.h.Merges(ctx)
	if err != nil {
		m.r.Fatalf("%s: %v", when, err)
	}
	for _, g := range merges {
		if err := m.h.WaitMerge(ctx, []Ref{g.Snapshot}, 0, nil); err != nil {
			m.r.Fatalf("%s: wait for the merge of %s: %v", when, g.Snapshot, err)
		}
	}
}

func (m *dataModel) open(name string, readOnly bool) *userspace.Handle {
	d, err := m.h.machine.Open(dmcore.BuildName("vg", name, ""), readOnly)
	if err != nil {
		m.r.Fatal(err)
	}
	return d
}

// read is what the volumes of the metadata hold.
func (m *dataModel) read(when string) contents {
	vg := m.h.rig.load(m.t, "vg")
	if err := vg.Validate(); err != nil {
		m.r.Fatalf("%s: %v", when, err)
	}
	got := contents{}
	for _, lv := range vg.ShownLVs() {
		if lv.ThinPool() != nil {
			continue
		}
		size := vg.Size(lv)
		if o := vg.Origin(lv.Name); o != nil {
			size = vg.Size(o)
		}
		d := m.open(lv.Name, true)
		b := make([]byte, size.Bytes())
		if _, err := d.ReadAt(b, 0); err != nil {
			m.r.Fatalf("%s: read %s: %v", when, lv.Name, err)
		}
		if err := d.Close(); err != nil {
			m.r.Fatal(err)
		}
		for i := 0; i < len(b); i += dataBlock {
			if !bytes.Equal(b[i:i+dataBlock], bytes.Repeat(b[i:i+1], dataBlock)) {
				m.r.Fatalf("%s: %s: block %d is a mixture", when, lv.Name, i/dataBlock)
			}
			got[lv.Name] = append(got[lv.Name], b[i])
		}
	}
	return got
}

// write fills blocks of a volume, and makes that durable.
func (m *dataModel) write(name string, from, n int, with byte) {
	d := m.open(name, false)
	if _, err := d.WriteAt(bytes.Repeat([]byte{with}, n*dataBlock), int64(from)*dataBlock); err != nil {
		m.r.Fatalf("write %s: %v", name, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		m.r.Fatalf("write %s: %v", name, err)
	}
	b := m.holds[name]
	for i := range n {
		b[from+i] = with
	}
}

const blocksOfExtent = 64 << 10 / dataBlock

// change draws one: what volumes may hold after it, first what they do if nothing
// goes wrong, and how it is done.
func (m *dataModel) change() (op string, may []contents, do func(context.Context) error) {
	is := m.holds.clone()
	names := slices.Sorted(maps.Keys(m.holds))
	kind := rapid.SampledFrom([]string{"thick", "thin", "write", "write", "write", "cut", "cut", "cut", "merge", "merge", "remove", "extend", "off", "pool"}).Draw(m.r, "change")
	if len(names) == 0 && kind != "thick" {
		kind = "thin"
	}
	vg := m.h.rig.load(m.t, "vg")
	name := ""
	if len(names) > 0 {
		name = rapid.SampledFrom(names).Draw(m.r, "volume")
	}
	m.next++
	fresh := fmt.Sprintf("v%d", m.next)
	n := rapid.IntRange(1, 3).Draw(m.r, "extents")
	ref := Ref{"vg", name}
	switch {
	case len(names) >= 12 && (kind == "thin" || kind == "thick" || kind == "cut"):
		kind = "remove"
	}
	switch kind {
	case "thick":
		m.thick(m.t.Context(), fresh, n)
		return "", nil, nil
	case "thin":
		is[fresh] = make([]byte, n*blocksOfExtent)
		return "make thin " + fresh, []contents{is}, func(ctx context.Context) error {
			_, err := m.h.CreateThins(ctx, "vg", []ThinSpec{{Pool: "pool", Name: fresh, Size: extents(Extents(n))}}, ThinOptions{Activate: true})
			return err
		}
	case "write":
		at := rapid.IntRange(0, len(m.holds[name])-1).Draw(m.r, "at")
		m.write(name, at, min(rapid.IntRange(1, 20).Draw(m.r, "blocks"), len(m.holds[name])-at), byte(m.next))
		if got := m.read("write " + name); !got.equal(m.holds) {
			m.r.Fatalf("written to %s at %d:\n%s, want\n%s", name, at, got, m.holds)
		}
		return "", nil, nil
	case "cut":
		return m.cut(vg, names)
	case "merge":
		snaps := slices.DeleteFunc(names, func(n string) bool { return vg.SnapshotOf(n) == nil })
		if len(snaps) == 0 {
			return "", nil, nil
		}
		name = rapid.SampledFrom(snaps).Draw(m.r, "snapshot")
		ref, origin := Ref{"vg", name}, vg.SnapshotOf(name)
		is[origin.Name] = is[name]
		delete(is, name)
		return "merge " + name + " into " + origin.Name, []contents{is}, func(ctx context.Context) error {
			if err := m.h.StartMergeNow(ctx, []Ref{ref}); err != nil {
				return err
			}
			return m.h.WaitMerge(ctx, []Ref{ref}, 0, nil)
		}
	case "remove":
		delete(is, name)
		return "remove " + name, []contents{is}, func(ctx context.Context) error { return m.h.Remove(ctx, []Ref{ref}) }
	case "extend":
		if !vg.Thin(name) {
			return "", nil, nil
		}
		is[name] = append(is[name], make([]byte, blocksOfExtent)...)
		return "extend " + name, []contents{is}, func(ctx context.Context) error {
			_, err := m.h.Extend(ctx, ref, ExtendRequest{Size: extents(1), More: true})
			return err
		}
	case "off":
		return "deactivate " + name, []contents{is}, func(ctx context.Context) error { return m.h.Deactivate(ctx, ref) }
	}
	return "extend the pool", []contents{is}, func(ctx context.Context) error {
		_, err := m.h.Extend(ctx, Ref{"vg", "pool"}, ExtendRequest{Size: extents(4), More: true})
		return err
	}
}

// thick makes a plain volume and overwrites what lay on its extents.
func (m *dataModel) thick(ctx context.Context, name string, n int) {
	spec := StripedSpec{LinearSpec: LinearSpec{Name: name, Size: extents(Extents(n))}}
	if _, err := m.h.Create(ctx, "vg", spec, true); errors.Is(err, ErrNoSpace) {
		return
	} else if err != nil {
		m.r.Fatalf("make %s: %v", name, err)
	}
	m.holds[name] = make([]byte, n*blocksOfExtent)
	m.write(name, 0, n*blocksOfExtent, byte(m.next))
}

// cut is a set of snapshots of one instant, thin ones of thin volumes or thick
// ones. If the power goes in between the thin ones may be alone.
func (m *dataModel) cut(vg *VG, names []string) (op string, may []contents, do func(context.Context) error) {
	is, thin := m.holds.clone(), m.holds.clone()
	var reqs []SnapshotRequest
	op = "cut"
	for _, name := range names {
		if vg.Origin(name) != nil || len(reqs) == 3 || !rapid.Bool().Draw(m.r, "of "+name) {
			continue
		}
		m.next++
		r := SnapshotRequest{Origin: Ref{"vg", name}, Name: fmt.Sprintf("v%d", m.next), Chunk: 8, Activate: true}
		if r.Thin = vg.Thin(name) && rapid.IntRange(0, 3).Draw(m.r, "thick") > 0; r.Thin {
			thin[r.Name] = bytes.Clone(is[name])
		} else {
			r.Size = extents(9) // more than it can need
		}
		is[r.Name] = bytes.Clone(is[name])
		op += fmt.Sprintf(" %s of %s (thin %v)", r.Name, name, r.Thin)
		reqs = append(reqs, r)
	}
	if len(reqs) == 0 {
		return "", nil, nil
	}
	return op, []contents{is, thin}, func(ctx context.Context) error { return m.h.Snapshot(ctx, reqs) }
}
