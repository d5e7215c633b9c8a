package lvm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
)

// addPool makes a pool of so many extents of 4 MiB, the first of the group's.
func addPool(t testing.TB, vg *VG, name string, n Extents) *LV {
	t.Helper()
	pool, _, err := vg.AddThinPool(ThinPoolSpec{Name: name, Size: Size{Count: n}, Stamp: testStamp(uint64(len(vg.LVs)) + 50)})
	must(t, err)
	return pool
}

func addThin(t testing.TB, vg *VG, spec ThinSpec) *LV {
	t.Helper()
	spec.Stamp = testStamp(uint64(len(vg.LVs)) + 50)
	lvs, err := vg.AddThins([]ThinSpec{spec})
	must(t, err)
	vg.ForgetMessages(spec.Pool)
	return lvs[0]
}

// What a pool is made of, and how it prints: as lvm2's, of which testdata has one.
func TestAddThinPool(t *testing.T) {
	vg := testVG(t, 100)
	add(t, vg, "root", 4)
	addPool(t, vg, "pool", 8)
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "t1", Size: Size{Count: 5}})
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "ts1", Origin: "t1"})
	for _, name := range []string{"lvol0_pmspare", "pool", "pool_tmeta", "pool_tdata", "t1", "ts1"} {
		if diff := cmp.Diff(alike(section(golden(t), name)), alike(section(text(t, vg), name))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if p := vg.LV("pool").ThinPool(); p.TransactionID != 2 || vg.LV("ts1").Thin().TransactionID != 1 || vg.LV("ts1").Thin().DeviceID != 2 {
		t.Errorf("%+v, %+v", p, vg.LV("ts1").Thin())
	}
	// The spare, then data and metadata behind it.
	for name, start := range map[string]Extents{"lvol0_pmspare": 4, "pool_tdata": 5, "pool_tmeta": 13} {
		if got := vg.LV(name).Segments[0].Stripes[0].Start; got != start {
			t.Errorf("%s begins at %d, want %d", name, got, start)
		}
	}
	reread(t, vg)
}

// alike are the lines of a section but for those that differ by nature.
func alike(section string) []string {
	return slices.DeleteFunc(slices.Collect(strings.Lines(section)), func(line string) bool {
		return slices.ContainsFunc([]string{"id =", "creation_", "\"pv0\",", "transaction_id"}, func(p string) bool { return strings.HasPrefix(line, p) })
	})
}

// Sizes are reckoned as lvm2 2.03.16 does.
func TestThinGeometry(t *testing.T) {
	const gib = 256 // extents of 4 MiB
	for _, tt := range []struct {
		spec           ThinPoolSpec
		data, metadata Extents
		chunk          dmcore.Sectors
		says           string
	}{
		{ThinPoolSpec{Size: Size{Count: 8}}, 8, 1, 128, "at most 15.88 TiB of data"},
		{ThinPoolSpec{Size: Size{Count: 10 * gib}}, 10 * gib, 3, 128, ""},
		{ThinPoolSpec{Size: Size{Count: 128 * gib}}, 128 * gib, 32, 128, ""},
		{ThinPoolSpec{Size: Size{Count: 129 * gib}}, 129 * gib, 17, 256, ""},
		{ThinPoolSpec{Size: Size{Count: 1024 * gib}}, 1024 * gib, 32, 1024, "slow down"},
		{ThinPoolSpec{Size: Size{Count: 10 * gib}, Chunk: 512}, 10 * gib, 1, 512, ""},
		{ThinPoolSpec{Size: Size{Count: 10 * gib}, Metadata: Size{Count: 2}}, 10 * gib, 2, 256, ""},
		{ThinPoolSpec{Size: Size{Count: 10 * gib}, Metadata: Size{Count: 2}, Chunk: 128}, 10 * gib, 2, 128, "suggested minimum size 128 KiB"},
		{ThinPoolSpec{Size: Size{Count: 8}, Metadata: Size{Count: 5000}}, 8, 4065, 128, "Reducing pool metadata size"},
		{ThinPoolSpec{Size: Size{Percent: 100, Of: OfFree}}, 2000*gib - 2*32, 32, 2048, "consider -Zn"},
	} {
		vg := testVG(t, 2000*gib)
		g, notes, err := vg.thinGeometry(&tt.spec)
		must(t, err)
		want := geometry{tt.data, tt.metadata, tt.chunk}
		if g != want {
			t.Errorf("%+v: %+v, want %+v", tt.spec, g, want)
		}
		if !strings.Contains(strings.Join(notes, "; "), tt.says) {
			t.Errorf("%+v: %q, want %q", tt.spec, notes, tt.says)
		}
	}
}

func TestAddThinPoolRefuses(t *testing.T) {
	eight := Size{Count: 8}
	for _, tt := range []struct {
		spec ThinPoolSpec
		want error
		says string
	}{
		{ThinPoolSpec{Name: "p", Size: eight, Chunk: 64}, ErrInvalid, "multiple of 64 KiB"},
		{ThinPoolSpec{Name: "p", Size: eight, Chunk: 200}, ErrInvalid, "multiple of 64 KiB"},
		{ThinPoolSpec{Name: "p", Size: eight, Chunk: 2 << 21}, ErrInvalid, "up to 1 GiB"},
		{ThinPoolSpec{Name: "p", Size: Size{Count: 1}, Chunk: 16384}, ErrInvalid, "less than a chunk"},
		{ThinPoolSpec{Name: "p", Size: eight, Discards: "some"}, ErrInvalid, "discards"},
		{ThinPoolSpec{Name: "p_tmeta", Size: eight}, ErrInvalid, "reserved"},
		{ThinPoolSpec{Name: "snapshot0", Size: eight}, ErrInvalid, "reserved"},
		{ThinPoolSpec{Name: "root", Size: eight}, ErrExists, "root"},
		{ThinPoolSpec{Name: "p", Size: Size{Count: 99}}, ErrNoSpace, "not enough free extents"},
		{ThinPoolSpec{Name: "p", Size: Size{Count: 95}}, ErrNoSpace, "not enough free extents"},
		{ThinPoolSpec{Name: "p", Size: eight, PVs: []string{"pv9"}}, ErrNotFound, "pv9"},
		{ThinPoolSpec{Name: "p"}, ErrInvalid, "no size"},
	} {
		vg := testVG(t, 100)
		add(t, vg, "root", 4)
		before := string(text(t, vg))
		tt.spec.Stamp = testStamp(9)
		_, _, err := vg.AddThinPool(tt.spec)
		if tt.says == "up to 1 GiB" {
			tt.says = "to 1 GiB"
		}
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v, want %v, %q", tt.spec, err, tt.want, tt.says)
		}
		if after := string(text(t, vg)); after != before {
			t.Errorf("%+v was refused, and changed %s", tt.spec, cmp.Diff(before, after))
		}
	}
}

func TestAddThins(t *testing.T) {
	vg := thinVG(t)
	yes, no := true, false
	five := Size{Count: 5}
	lvs, err := vg.AddThins([]ThinSpec{
		{Pool: "pool", Name: "a", Size: five, Stamp: testStamp(90)},
		{Pool: "pool", Name: "b", Origin: "t1", Tags: []string{"x"}, Stamp: testStamp(91)},
		{Pool: "pool", Name: "c", Origin: "t1", Skip: &no, ReadOnly: true, Stamp: testStamp(92)},
		{Pool: "pool", Name: "d", Origin: "text", Stamp: testStamp(93)},
		{Pool: "pool", Name: "e", Origin: "base", Skip: &yes, Stamp: testStamp(94)},
		{Pool: "new", Name: "f", Size: five, Stamp: testStamp(95)},
	})
	must(t, err)
	var got []string
	for _, lv := range lvs {
		th := lv.Thin()
		got = append(got, fmt.Sprintf("%s %d %v %v: %s %d %d %s %s", lv.Name, lv.Extents(), lv.Writable(), lv.SkipsActivation(), th.Pool, th.TransactionID, th.DeviceID, th.Origin, th.ExternalOrigin))
	}
	want := []string{
		"a 5 true false: pool 6 7  ", "b 5 true true: pool 6 8 t1 ", "c 5 false false: pool 6 9 t1 ",
		"d 3 true true: pool 6 10 text base", "e 2 true true: pool 6 11  base", "f 5 true false: new 0 1  ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	p := vg.LV("pool").ThinPool()
	if p.TransactionID != 7 || len(p.Messages) != 5 || vg.LV("new").ThinPool().TransactionID != 1 {
		t.Errorf("%+v", p)
	}
	reread(t, vg)
	if _, err := vg.AddThins([]ThinSpec{{Pool: "pool", Size: five}}); !errors.Is(err, ErrInUse) {
		t.Errorf("with messages pending: %v", err)
	}
}

func TestAddThinsRefuses(t *testing.T) {
	one := Size{Count: 1}
	for _, tt := range []struct {
		spec ThinSpec
		want error
	}{
		{ThinSpec{Pool: "gone", Size: one}, ErrNotFound},
		{ThinSpec{Pool: "root", Size: one}, ErrInvalid},
		{ThinSpec{Pool: "pool"}, ErrInvalid},
		{ThinSpec{Pool: "pool", Size: Size{Percent: 10, Of: OfFree}}, ErrInvalid},
		{ThinSpec{Pool: "pool", Name: "t1", Size: one}, ErrExists},
		{ThinSpec{Pool: "pool", Name: "a_tdata", Size: one}, ErrInvalid},
		{ThinSpec{Pool: "pool", Name: "a", Size: one, Origin: "t1"}, ErrInvalid},
		{ThinSpec{Pool: "pool", Name: "a", Origin: "gone"}, ErrNotFound},
		{ThinSpec{Pool: "pool", Name: "a", Origin: "root"}, ErrInvalid}, // writable
		{ThinSpec{Pool: "pool", Name: "a", Origin: "pool"}, ErrInvalid},
		{ThinSpec{Pool: "pool", Name: "a", Origin: "pool_tdata"}, ErrInvalid},
		{ThinSpec{Pool: "pool", Name: "a", Origin: "t5"}, ErrMerging},
		{ThinSpec{Pool: "pool", Name: "a", Origin: "ts5"}, ErrInvalid}, // hidden, being merged
		{ThinSpec{Pool: "new", Name: "a", Origin: "cow"}, ErrUnsupported},
		{ThinSpec{Pool: "pool", Name: "a", Size: one, Tags: []string{"a tag"}}, ErrInvalid},
	} {
		vg := thinVG(t)
		before := string(text(t, vg))
		_, err := vg.AddThins([]ThinSpec{{Pool: "pool", Name: "first", Size: one, Stamp: testStamp(3)}, tt.spec})
		if !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v, want %v", tt.spec, err, tt.want)
		}
		if after := string(text(t, vg)); after != before {
			t.Errorf("%+v was refused, and changed %s", tt.spec, cmp.Diff(before, after))
		}
	}
}

func TestCheckThinPool(t *testing.T) {
	fit := dmcore.ThinPoolStatus{TransactionID: 6, UsedMetadata: 100, TotalMetadata: 1024, UsedData: 10, TotalData: 512, Mode: dmcore.ThinPoolWritable}
	for _, tt := range []struct {
		change func(*dmcore.ThinPoolStatus)
		want   error
		says   string
	}{
		{func(*dmcore.ThinPoolStatus) {}, nil, ""},
		{func(s *dmcore.ThinPoolStatus) { *s = dmcore.ThinPoolStatus{State: dmcore.ThinFail} }, ErrInUse, "has failed"},
		{func(s *dmcore.ThinPoolStatus) { s.NeedsCheck = true }, ErrInUse, "needs a check"},
		{func(s *dmcore.ThinPoolStatus) { s.Mode = dmcore.ThinPoolReadOnly }, ErrInUse, "read-only"},
		{func(s *dmcore.ThinPoolStatus) { s.Mode = dmcore.ThinPoolOutOfDataSpace }, ErrNoSpace, "full"},
		{func(s *dmcore.ThinPoolStatus) { s.UsedData = 512 }, ErrNoSpace, "full"},
		{func(s *dmcore.ThinPoolStatus) { s.UsedMetadata = 767 }, nil, ""},
		{func(s *dmcore.ThinPoolStatus) { s.UsedMetadata = 768 }, ErrNoSpace, "at most 75.00%"},
		{func(s *dmcore.ThinPoolStatus) { s.TransactionID = 5 }, ErrTransaction, "transaction id is 5 in the kernel, 6"},
	} {
		vg := thinVG(t)
		st := fit
		tt.change(&st)
		err := vg.CheckThinPool("pool", st)
		if tt.want == nil {
			must(t, err)
		} else if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", st, err, tt.says)
		}
	}
}

func TestOverprovisioned(t *testing.T) {
	vg := testVG(t, 60)
	addPool(t, vg, "pool", 8)
	never := ExtendPolicy{Threshold: 100, Amount: 20}
	check := func(want string) {
		t.Helper()
		lines := vg.Overprovisioned("pool", never, HumanSize)
		if want == "" && len(lines) > 0 || want != "" && (len(lines) == 0 || lines[0] != want) {
			t.Errorf("%q, want %q", lines, want)
		}
	}
	check("")
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "a", Size: Size{Count: 8}})
	check("")
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "b", Size: Size{Count: 1}})
	check("WARNING: Sum of all thin volume sizes (36 MiB) exceeds the size of thin pool vg/pool (32 MiB).")
	if lines := vg.Overprovisioned("b", ExtendPolicy{Threshold: 70, Amount: 20}, HumanSize); len(lines) > 0 {
		t.Errorf("a pool that will be extended, and there is room: %q", lines)
	}
	if lines := vg.Overprovisioned("b", ExtendPolicy{Threshold: 70}, HumanSize); len(lines) != 3 || !strings.Contains(lines[2], "percent above 0") {
		t.Errorf("by nothing: %q", lines)
	}
	whole := vg
	vg = vg.Clone()
	add(t, vg, "plain", 45)
	if lines := vg.Overprovisioned("plain", never, HumanSize); len(lines) != 3 || !strings.Contains(lines[0], "of thin pools and the amount of free space in volume group (20 MiB)") {
		t.Errorf("another volume: %q", lines)
	}
	add(t, vg, "rest", 5)
	if lines := vg.Overprovisioned("rest", never, HumanSize); len(lines) != 3 || !strings.Contains(lines[0], "(no free space in volume group)") {
		t.Errorf("the rest: %q", lines)
	}
	vg = whole
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "c", Size: Size{Count: 45}})
	check("WARNING: Sum of all thin volume sizes (216 MiB) exceeds the size of thin pool vg/pool and the amount of free space in volume group (200 MiB).")
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "d", Size: Size{Count: 7}})
	check("WARNING: Sum of all thin volume sizes (244 MiB) exceeds the size of thin pool vg/pool and the size of whole volume group (240 MiB).")
	addPool(t, vg, "more", 30)
	check("WARNING: Sum of all thin volume sizes (244 MiB) exceeds the size of thin pools and the size of whole volume group (240 MiB).")
}
