package lvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/lvm/ondisk"
)

func TestStoreCreatesAndLoads(t *testing.T) {
	r := newRig(3)
	made := r.group(t, "vg0", PVOptions{}, "m0", "m1")
	vg := r.load(t, "vg0")
	if vg.Seqno != 1 || len(vg.PVs) != 2 || vg.PVs[1].Device != "m1" || vg.PVs[0].PEStart != 2048 || vg.PVs[0].PECount != 112 {
		t.Errorf("loaded %+v with %+v", vg, vg.PVs[0])
	}
	if made.ID != vg.ID {
		t.Errorf("made %s, loaded %s", made.ID, vg.ID)
	}
	l, err := r.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Volume{
		{Path: "m0", ID: vg.PVs[0].ID, Size: 16384, VG: "vg0", Used: true, Areas: 1, AreasInUse: 1, Start: 2048, AreaSize: 1044480, AreaFree: l.PVs[0].AreaFree},
		{Path: "m1", ID: vg.PVs[1].ID, Size: 16384, VG: "vg0", Used: true, Areas: 1, AreasInUse: 1, Start: 2048, AreaSize: 1044480, AreaFree: l.PVs[0].AreaFree},
	}
	if diff := cmp.Diff(want, l.PVs); diff != "" || l.PVs[0].AreaFree < 519000 {
		t.Errorf("%d bytes free; PVs (-want +got):\n%s", l.PVs[0].AreaFree, diff)
	}
	if len(l.Problems) != 0 {
		t.Errorf("problems: %v", l.Problems)
	}
	if _, err := r.CreatePV(t.Context(), "m0", PVOptions{ForceUsed: true, Force: true}); !errors.Is(err, ErrInUse) {
		t.Errorf("CreatePV of a PV in a group: %v", err)
	}
	if _, err := r.CreateVG(t.Context(), VGSpec{Name: "vg0", PVs: []string{"m2"}}); !errors.Is(err, ErrExists) {
		t.Errorf("CreateVG of a name in use: %v", err)
	}
	if _, err := r.CreateVG(t.Context(), VGSpec{Name: "vg1", PVs: []string{"m0"}}); !errors.Is(err, ErrInUse) {
		t.Errorf("CreateVG on a PV in use: %v", err)
	}
	if err := r.RemovePV(t.Context(), "m0"); !errors.Is(err, ErrInUse) {
		t.Errorf("RemovePV of a PV in use: %v", err)
	}
	if _, err := r.Load(t.Context(), "vg1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Load of an unknown group: %v", err)
	}
	if r.open != 0 {
		t.Errorf("%d devices left open", r.open)
	}
}

func TestStoreExtendReduceRemove(t *testing.T) {
	r := newRig(3)
	r.Hints = filepath.Join(t.TempDir(), "hints")
	vg := r.group(t, "vg0", PVOptions{}, "m0")
	if err := os.WriteFile(r.Hints, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreatePV(t.Context(), "m1", PVOptions{NoMetadata: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.Hints); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("hints are still there: %v", err)
	}
	vg, err := r.ExtendVG(t.Context(), vg, "m1")
	if err != nil {
		t.Fatal(err)
	}
	if len(vg.PVs) != 2 || vg.Seqno != 2 || vg.PVs[1].Name != "pv1" {
		t.Errorf("extended to %d PVs, seqno %d", len(vg.PVs), vg.Seqno)
	}
	if _, err := vg.AddLinear(LinearSpec{Name: "lv", Size: Size{Count: 3}, PVs: []string{"pv1"}}); err != nil {
		t.Fatal(err)
	}
	if p, err := r.Prepare(t.Context(), vg); err != nil {
		t.Fatal(err)
	} else if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	vg = r.load(t, "vg0")
	if _, err := r.ReduceVG(t.Context(), vg, "m1"); !errors.Is(err, ErrInUse) {
		t.Errorf("reduce by a PV in use: %v", err)
	}
	if err := r.RemoveVG(t.Context(), vg); !errors.Is(err, ErrInUse) {
		t.Errorf("remove with volumes: %v", err)
	}
	if err := vg.Remove("lv"); err != nil {
		t.Fatal(err)
	}
	if p, err := r.Prepare(t.Context(), vg); err != nil {
		t.Fatal(err)
	} else if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReduceVG(t.Context(), r.load(t, "vg0"), "m0"); !errors.Is(err, ErrInvalid) {
		t.Errorf("reduce by the last metadata area: %v", err)
	}
	if vg, err = r.ReduceVG(t.Context(), r.load(t, "vg0"), "m1"); err != nil {
		t.Fatal(err)
	}
	if err := r.RemovePV(t.Context(), "m1"); err != nil {
		t.Errorf("a PV that left is not free: %v", err)
	}
	if err := r.RemoveVG(t.Context(), vg); err != nil {
		t.Fatal(err)
	}
	if names, err := r.List(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("groups left: %v, %v", names, err)
	}
	r.group(t, "again", PVOptions{SecondMetadata: true}, "m0")
}

func TestStoreRing(t *testing.T) {
	r := newRig(2)
	vg := r.group(t, "vg0", PVOptions{MetadataSize: 60 << 10, DataAlignment: 64 << 10, SecondMetadata: true}, "m0", "m1")
	for i := range 120 {
		vg = r.commit(t, vg, fmt.Sprint("n", i), strings.Repeat("x", 1+i*7))
		if vg.Seqno != uint32(i+2) || vg.Tags[0] != fmt.Sprint("n", i) {
			t.Fatalf("after commit %d: seqno %d, tags %v", i, vg.Seqno, vg.Tags[0])
		}
		f, err := r.scan(t.Context())
		if err != nil || len(f.problems) != 0 || len(f.groups[0].areas) != 4 {
			t.Fatalf("after commit %d: %v, %v, %d areas", i, err, f.problems, len(f.groups[0].areas))
		}
	}
}

// An area too small for the text refuses it before anything is written.
func TestStoreMetadataFull(t *testing.T) {
	r := newRig(2)
	for path, size := range map[string]int64{"m0": 0, "m1": 60 << 10} {
		if _, err := r.CreatePV(t.Context(), path, PVOptions{MetadataSize: size, DataAlignment: 64 << 10}); err != nil {
			t.Fatal(err)
		}
	}
	vg, err := r.CreateVG(t.Context(), VGSpec{Name: "vg0", ExtentSize: 8, PVs: r.Devices})
	if err != nil {
		t.Fatal(err)
	}
	r.Archive = ArchiveIn(t.TempDir())
	for i := 0; ; i++ {
		next := vg.Clone()
		for j := range 20 {
			if _, err := next.AddLinear(LinearSpec{Name: fmt.Sprintf("lv%d.%d", i, j), Size: Size{Count: 1}}); err != nil {
				t.Fatal(err)
			}
		}
		before := r.power.Ops()
		p, err := r.Prepare(t.Context(), next)
		if err != nil {
			archived, _ := filepath.Glob(r.Archive.ArchiveDir + "/*")
			if !errors.Is(err, ErrMetadataFull) || r.power.Ops() != before || len(archived) != i {
				t.Errorf("prepare %d: %v, %d writes, %d archived", i, err, r.power.Ops()-before, len(archived))
			}
			if !strings.Contains(err.Error(), "at most 29952 fit") || !strings.HasPrefix(err.Error(), "vg0: m1: byte 4096: ") {
				t.Errorf("error does not name device and limit: %v", err)
			}
			break
		}
		if err := p.Commit(); err != nil {
			t.Fatal(err)
		}
		vg = r.load(t, "vg0")
	}
	if err := vg.Remove(vg.LVs[0].Name); err != nil {
		t.Fatal(err)
	}
	r.commit(t, vg, "fits")
}

func TestStoreRefuses(t *testing.T) {
	r := newRig(3)
	vg := r.group(t, "vg0", PVOptions{}, "m0", "m1")
	stale := vg.Clone()
	vg = r.commit(t, vg, "newer")
	for _, test := range []struct {
		name string
		vg   *VG
		want error
	}{
		{"changed since", stale, ErrInvalid},
		{"unknown", &VG{Name: "x", ID: "x", Seqno: 3}, ErrNotFound},
		{"invalid", with(vg, func(vg *VG) { vg.ExtentSize = 3 }), ErrInvalid},
		{"foreign", with(vg, func(vg *VG) { vg.SystemID = "other" }), ErrForeign},
		{"missing", with(vg, func(vg *VG) { vg.PVs[1].Flags = []string{"MISSING"} }), ErrMissingPV},
	} {
		before := r.power.Ops()
		if _, err := r.Prepare(t.Context(), test.vg); !errors.Is(err, test.want) || r.power.Ops() != before {
			t.Errorf("%s: %v after %d writes, want %v", test.name, err, r.power.Ops()-before, test.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Prepare(ctx, vg); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, change := range []func(*VG){
		func(vg *VG) { vg.SystemID = "elsewhere" },
		func(vg *VG) { vg.LockType = "sanlock" },
		func(vg *VG) { vg.Status = append(vg.Status, "EXPORTED") },
		func(vg *VG) { vg.Status = append(vg.Status, "CLUSTERED") },
	} {
		foreign := newRig(1)
		made := foreign.group(t, "vg1", PVOptions{}, "m0")
		foreign.force(t, made, change)
		if _, err := foreign.Load(t.Context(), "vg1"); !errors.Is(err, ErrForeign) {
			t.Errorf("Load: %v, want ErrForeign", err)
		}
		if _, err := foreign.Prepare(t.Context(), made); !errors.Is(err, ErrForeign) {
			t.Errorf("Prepare: %v, want ErrForeign", err)
		}
		l, err := foreign.Scan(t.Context())
		if err != nil || len(l.Groups) != 1 || !errors.Is(l.Groups[0].Err, ErrForeign) {
			t.Errorf("Scan: %+v, %v", l, err)
		}
	}
}

func with(vg *VG, change func(*VG)) *VG {
	vg = vg.Clone()
	change(vg)
	return vg
}

// force writes a changed text of the same seqno, as another tool would have.
func (r *rig) force(t testing.TB, vg *VG, change func(*VG)) {
	t.Helper()
	f, err := r.scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range f.groups {
		if g.vg.ID != vg.ID {
			continue
		}
		text, err := with(g.vg, change).Text(Header{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range g.areas {
			slot, err := a.header.Place(text)
			if err != nil {
				t.Fatal(err)
			}
			dev := r.devs[a.disk.path]
			if err := errors.Join(writeSlot(dev, a.header, slot, text), writeFull(dev, a.header.Commit(slot).Encode(), int64(a.header.Start))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestStoreDamage(t *testing.T) {
	flip := func(path string, off int64) func(*rig) {
		return func(r *rig) {
			b := make([]byte, 1)
			if err := readFull(r.devs[path], b, off); err != nil {
				panic(err)
			}
			b[0] ^= 0x10
			if err := writeFull(r.devs[path], b, off); err != nil {
				panic(err)
			}
		}
	}
	for _, test := range []struct {
		name    string
		damage  func(*rig)
		load    error // of "wide", on m0 and m1
		problem error
		prepare error
		where   string
	}{
		{"label", flip("m0", 512+40), nil, ErrCorrupt, ErrMissingPV, "m0: byte 0: label in sector 1: checksum"},
		{"header", flip("m0", 4096+50), nil, ErrCorrupt, nil, "m0: byte 4096: metadata area at 4096: header checksum"},
		{"text", flip("m0", 4096+512+100), nil, ErrCorrupt, nil, "m0: byte 4608: metadata has checksum"},
		{"all headers", func(r *rig) { flip("m0", 4100)(r); flip("m1", 4100)(r) }, ErrNotFound, ErrCorrupt, ErrCorrupt, "m0: byte 4096"},
		{"device gone", func(r *rig) { delete(r.devs, "m1") }, nil, os.ErrNotExist, ErrMissingPV, "m1: open m1"},
		{"copied device", func(r *rig) { r.devs["m3"] = r.devs["m0"] }, ErrDuplicate, ErrDuplicate, ErrDuplicate, "is on m0 and on m3"},
		{"two of one name", func(r *rig) {
			vg, err := r.Load(context.Background(), "other")
			if err != nil {
				panic(err)
			}
			r.force(nil1{}, vg, func(vg *VG) { vg.Name = "wide" })
		}, ErrDuplicate, ErrDuplicate, ErrDuplicate, "two groups have this name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(4)
			wide := r.group(t, "wide", PVOptions{}, "m0", "m1")
			other := r.group(t, "other", PVOptions{}, "m2")
			test.damage(r)
			if vg, err := r.Load(t.Context(), "wide"); !errors.Is(err, test.load) {
				t.Errorf("Load: %v, want %v", err, test.load)
			} else if err == nil && len(vg.PVs) != 2 {
				t.Errorf("loaded with %d PVs", len(vg.PVs))
			}
			l, err := r.Scan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			problems := errors.Join(l.Problems...)
			if !errors.Is(problems, test.problem) || !strings.Contains(problems.Error(), test.where) {
				t.Errorf("problems: %v\nwant %v at %s", problems, test.problem, test.where)
			}
			p, err := r.Prepare(t.Context(), wide)
			if !errors.Is(err, test.prepare) && !errors.Is(err, ErrNotFound) {
				t.Errorf("Prepare: %v, want %v", err, test.prepare)
			}
			if err == nil {
				if len(p.Degraded) != 1 {
					t.Errorf("degraded: %v", p.Degraded)
				}
				if err := p.Commit(); err != nil {
					t.Error(err)
				}
				if vg := r.load(t, "wide"); vg.Seqno != wide.Seqno+1 {
					t.Errorf("seqno %d", vg.Seqno)
				}
			}
			if test.name != "two of one name" {
				r.commit(t, other, "healthy")
			}
			if r.open != 0 {
				t.Errorf("%d devices left open", r.open)
			}
		})
	}
}

// nil1 is a testing.TB for what runs outside of a test function.
type nil1 struct{ testing.TB }

func (nil1) Helper()                  {}
func (nil1) Context() context.Context { return context.Background() }
func (nil1) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }

func TestStoreStaleAndIgnored(t *testing.T) {
	r := newRig(2)
	vg := r.group(t, "vg0", PVOptions{}, "m0", "m1")
	old := make([]byte, 512)
	if err := readFull(r.devs["m1"], old, 4096); err != nil {
		t.Fatal(err)
	}
	vg = r.commit(t, vg, "a")
	if err := writeFull(r.devs["m1"], old, 4096); err != nil { // as if the commit had not reached m1
		t.Fatal(err)
	}
	if got := r.load(t, "vg0"); got.Seqno != 2 {
		t.Errorf("loaded seqno %d, want the newest, 2", got.Seqno)
	}
	l, err := r.Scan(t.Context())
	if err != nil || len(l.Problems) != 1 || !strings.Contains(l.Problems[0].Error(), "seqno 1 of 2") {
		t.Errorf("problems: %v, %v", l.Problems, err)
	}
	vg = r.commit(t, vg, "b")
	if l, err = r.Scan(t.Context()); err != nil || len(l.Problems) != 0 {
		t.Errorf("the next commit did not refresh: %v, %v", l.Problems, err)
	}
	// An ignored area stays as it is, and what it holds does not count.
	if err := readFull(r.devs["m1"], old, 4096); err != nil {
		t.Fatal(err)
	}
	h, err := ondisk.DecodeHeader(old, ondisk.Area{Offset: 4096, Size: 1044480})
	if err != nil {
		t.Fatal(err)
	}
	h.Committed.Flags = ondisk.FlagIgnored
	if err := writeFull(r.devs["m1"], h.Encode(), 4096); err != nil {
		t.Fatal(err)
	}
	r.commit(t, vg, "c")
	if err := readFull(r.devs["m1"], old, 4096); err != nil || !bytes.Equal(old, h.Encode()) {
		t.Errorf("an ignored area was written (%v)", err)
	}
	if l, err = r.Scan(t.Context()); err != nil || len(l.Problems) != 0 || l.PVs[1].AreasInUse != 0 {
		t.Errorf("%v, %v, %d areas in use", l.Problems, err, l.PVs[1].AreasInUse)
	}
}

func TestCreatePVRefusesContents(t *testing.T) {
	for _, sig := range signatures {
		r := newRig(1)
		at := sig.offset(testDevice)
		if err := writeFull(r.devs["m0"], []byte(sig.magic), at); err != nil {
			t.Fatal(err)
		}
		before := r.power.Ops()
		_, err := r.CreatePV(t.Context(), "m0", PVOptions{})
		if !errors.Is(err, ErrInUse) || r.power.Ops() != before {
			t.Errorf("%s: %v after %d writes", sig.name, err, r.power.Ops()-before)
		}
		if _, err := r.CreatePV(t.Context(), "m0", PVOptions{Force: true}); err != nil {
			t.Errorf("%s: forced: %v", sig.name, err)
		}
		got := make([]byte, len(sig.magic))
		if err := readFull(r.devs["m0"], got, at); err != nil || string(got) == sig.magic {
			t.Errorf("%s: is still there (%v)", sig.name, err)
		}
	}
	r := newRig(1)
	r.devs["m0"] = newRig(0).small()
	if _, err := r.CreatePV(t.Context(), "m0", PVOptions{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("small device: %v", err)
	}
}
