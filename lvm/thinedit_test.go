package lvm

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// says is what the group's pools and thin volumes say of one another.
func says(vg *VG) string {
	var b strings.Builder
	for _, lv := range vg.LVs {
		s := lv.Segments[0]
		switch {
		case s.ThinPool != nil:
			b.WriteString(lv.Name + ": " + s.ThinPool.Metadata + " " + s.ThinPool.Data)
			for _, m := range s.ThinPool.Messages {
				if m.Create != "" {
					b.WriteString(" create=" + m.Create)
				} else {
					b.WriteString(" delete=" + itoa(m.Delete))
				}
			}
			b.WriteString(" id=" + itoa(uint32(s.ThinPool.TransactionID)) + "\n")
		case s.Thin != nil:
			t := s.Thin
			b.WriteString(lv.Name + ": " + t.Pool + " " + itoa(t.DeviceID))
			for _, n := range []string{t.Origin, t.ExternalOrigin, t.Merge} {
				b.WriteString(" " + n)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

const thinSays = `pool: pool_tmeta pool_tdata id=6
new: new_tmeta new_tdata id=0
t1: pool 1   
ts1: pool 2 t1  
text: pool 3  base 
thick: pool 4   
t5: pool 5   
ts5: pool 6 t5  t5
`

func TestRemoveThin(t *testing.T) {
	lose := func(lines ...string) string {
		s := thinSays
		for i := 0; i < len(lines); i += 2 {
			if !strings.Contains(s, lines[i]) {
				t.Fatalf("%q is not in\n%s", lines[i], s)
			}
			s = strings.Replace(s, lines[i], lines[i+1], 1)
		}
		return s
	}
	if got := says(thinVG(t)); got != thinSays {
		t.Fatal(cmp.Diff(thinSays, got))
	}
	for _, tt := range []struct {
		names string
		want  error
		says  string
	}{
		{"ts1", nil, lose("id=6", "delete=2 id=7", "ts1: pool 2 t1  \n", "")},
		{"t1", nil, lose("id=6", "delete=1 id=7", "t1: pool 1   \n", "", "ts1: pool 2 t1  ", "ts1: pool 2   ")},
		{"t1 ts1", nil, lose("id=6", "delete=1 delete=2 id=7", "t1: pool 1   \n", "", "ts1: pool 2 t1  \n", "")},
		{"thick", ErrInUse, ""},
		{"thick cow", nil, lose("id=6", "delete=4 id=7", "thick: pool 4   \n", "")},
		{"base", ErrInUse, ""},
		{"base text", nil, lose("id=6", "delete=3 id=7", "text: pool 3  base \n", "")},
		{"t5", ErrMerging, ""},
		{"ts5", ErrMerging, ""},
		{"t5 ts5", nil, lose("id=6", "delete=5 delete=6 id=7", "t5: pool 5   \n", "", "ts5: pool 6 t5  t5\n", "")},
		{"pool", ErrInUse, ""},
		{"pool_tdata", ErrInvalid, ""},
		{"new", nil, lose("new: new_tmeta new_tdata id=0\n", "")},
		{"pool t1 ts1 text thick cow t5 ts5", nil, "new: new_tmeta new_tdata id=0\n"},
		{"pool t1 ts1 text thick cow t5 ts5 new", nil, ""},
	} {
		vg := thinVG(t)
		before := string(text(t, vg))
		err := vg.Remove(strings.Fields(tt.names)...)
		if tt.want != nil {
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.names, err, tt.want)
			}
			if after := string(text(t, vg)); after != before {
				t.Errorf("%s was refused, and changed %s", tt.names, cmp.Diff(before, after))
			}
			continue
		}
		must(t, err)
		if diff := cmp.Diff(tt.says, says(vg)); diff != "" {
			t.Errorf("%s: %s", tt.names, diff)
		}
		if (vg.spareLV() != nil) != strings.Contains(tt.says, "_tmeta") {
			t.Errorf("%s: the spare is %v", tt.names, vg.spareLV())
		}
		reread(t, vg)
	}
}

func TestGoesWith(t *testing.T) {
	vg := thinVG(t)
	for name, want := range map[string]string{
		"root": "", "t1": "", "thick": "cow", "t5": "ts5", "base": "text", "pool": "t1 ts1 text cow thick ts5 t5", "new": "",
	} {
		var names []string
		for _, lv := range vg.GoesWith(name) {
			names = append(names, lv.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s goes with %q, want %q", name, got, want)
		}
	}
}

func TestRenameThin(t *testing.T) {
	for name, to := range map[string]string{"pool": "tank", "t1": "other", "t5": "other"} {
		vg := thinVG(t)
		must(t, vg.Rename(name, to))
		got := says(vg)
		if strings.Contains(got, " "+name+" ") || strings.Contains(got, "\n"+name+":") || strings.Contains(got, name+"_t") {
			t.Errorf("%s is named still:\n%s", name, got)
		}
		if !strings.Contains(got, to) {
			t.Errorf("%s is not named:\n%s", to, got)
		}
		reread(t, vg)
	}
	vg := thinVG(t)
	for _, tt := range []struct {
		name, to string
		want     error
	}{
		{"pool", "new", ErrExists}, {"pool", "x_tmeta", ErrInvalid}, {"pool", strings.Repeat("p", 122), ErrInvalid},
		{"pool_tdata", "data", ErrInvalid}, {"base", "other", ErrInUse},
	} {
		before := string(text(t, vg))
		if err := vg.Rename(tt.name, tt.to); !errors.Is(err, tt.want) {
			t.Errorf("%s to %.9s: %v, want %v", tt.name, tt.to, err, tt.want)
		}
		if after := string(text(t, vg)); after != before {
			t.Errorf("%s to %s was refused, and changed %s", tt.name, tt.to, cmp.Diff(before, after))
		}
	}
}

func TestMergeThin(t *testing.T) {
	vg := thinVG(t)
	id := vg.LV("t1").ID
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "other", Origin: "t1"})
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "below", Origin: "ts1"})
	m, err := vg.MergeThin("ts1")
	must(t, err)
	if m.Origin != "t1" || strings.Join(m.Others, " ") != "other" {
		t.Errorf("%+v", m)
	}
	want := `pool: pool_tmeta pool_tdata delete=1 id=9
new: new_tmeta new_tdata id=0
t1: pool 2   
text: pool 3  base 
thick: pool 4   
t5: pool 5   
ts5: pool 6 t5  t5
other: pool 7 t1  
below: pool 8 t1  
`
	if diff := cmp.Diff(want, says(vg)); diff != "" {
		t.Error(diff)
	}
	if vg.LV("t1").ID != id || vg.LV("t1").SkipsActivation() {
		t.Error("the origin is another volume")
	}
	reread(t, vg)

	vg = thinVG(t) // the one that waits
	_, err = vg.MergeThin("ts5")
	must(t, err)
	if th := vg.LV("t5").Thin(); th.DeviceID != 6 || th.Merge != "" || vg.LV("ts5") != nil || !vg.LV("t5").Visible() {
		t.Errorf("%+v", th)
	}
	reread(t, vg)

	vg = thinVG(t)
	must(t, vg.DeferThinMerge("ts1"))
	if lv := vg.LV("ts1"); lv.Visible() || lv.Thin().Merge != "t1" || vg.MergingThin("t1") != lv {
		t.Errorf("%+v", lv)
	}
	reread(t, vg)

	for _, tt := range []struct {
		snap   string
		change func(*VG)
		want   error
	}{
		{"gone", nil, ErrNotFound},
		{"root", nil, ErrInvalid},
		{"t1", nil, ErrInvalid},
		{"text", nil, ErrInvalid},
		{"cow", nil, ErrInvalid},
		{"pool", nil, ErrInvalid},
		{"ts1", func(vg *VG) { snap(t, vg, "t1", "x", 2) }, ErrInUse},
		{"ts1", func(vg *VG) {
			addThin(t, vg, ThinSpec{Pool: "pool", Name: "x", Origin: "t1"})
			must(t, vg.DeferThinMerge("x"))
		}, ErrMerging},
		{"ts1", func(vg *VG) { vg.LV("pool").ThinPool().Messages = []ThinMessage{{Delete: 99}} }, ErrInUse},
	} {
		vg := thinVG(t)
		if tt.change != nil {
			tt.change(vg)
		}
		before := says(vg)
		if _, err := vg.MergeThin(tt.snap); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.snap, err, tt.want)
		}
		if diff := cmp.Diff(before, says(vg)); diff != "" {
			t.Errorf("%s was refused, and changed %s", tt.snap, diff)
		}
	}
}

func TestExtendThin(t *testing.T) {
	vg := testVG(t, 900)
	addPool(t, vg, "pool", 8)
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "t1", Size: Size{Count: 5}})
	size := func(want string) {
		t.Helper()
		var sizes []string
		for _, name := range []string{"pool", "pool_tdata", "pool_tmeta", "lvol0_pmspare", "t1"} {
			sizes = append(sizes, itoa(uint32(vg.LV(name).Extents())))
		}
		if got := strings.Join(sizes, " "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		reread(t, vg)
	}
	extend := func(name string, to Extents) {
		t.Helper()
		_, err := vg.ExtendLV(name, to)
		must(t, err)
	}
	size("8 8 1 1 5")
	extend("t1", 5000) // more than there is
	size("8 8 1 1 5000")
	extend("pool", 12)
	size("12 12 1 1 5000")
	notes, err := vg.ExtendThinMetadata("pool", 3)
	must(t, err)
	if len(notes) != 1 || !strings.Contains(notes[0], "pool_tmeta changed from 4 MiB (1 extents) to 12 MiB (3 extents)") {
		t.Error(notes)
	}
	size("12 12 3 3 5000")
	vg.LV("pool").Segments[0].ChunkSize = 128
	vg.LV("pool_tmeta").Segments[0].Count, vg.LV("lvol0_pmspare").Segments[0].Count = 1, 1
	vg.LV("pool_tmeta").Segments, vg.LV("lvol0_pmspare").Segments = vg.LV("pool_tmeta").Segments[:1], vg.LV("lvol0_pmspare").Segments[:1]
	size("12 12 1 1 5000")
	extend("pool", 850) // metadata for 3.3 GiB fits into 4 MiB
	size("850 850 1 1 5000")
	for _, tt := range []struct {
		name string
		to   Extents
		want error
	}{
		{"pool", 850, ErrInvalid}, {"pool", 2000, ErrNoSpace}, {"t1", 4999, ErrInvalid}, {"t1", MaxExtents + 1, ErrInvalid},
		{"pool_tdata", 900, ErrInvalid}, {"pool_tmeta", 3, ErrInvalid}, {"lvol0_pmspare", 3, ErrInvalid},
	} {
		before := string(text(t, vg))
		if _, err := vg.ExtendLV(tt.name, tt.to); !errors.Is(err, tt.want) {
			t.Errorf("%s to %d: %v, want %v", tt.name, tt.to, err, tt.want)
		}
		if after := string(text(t, vg)); after != before {
			t.Errorf("%s to %d was refused, and changed %s", tt.name, tt.to, cmp.Diff(before, after))
		}
	}
	for to, want := range map[Extents]error{1: ErrInvalid, 500: ErrNoSpace} {
		if _, err := vg.ExtendThinMetadata("pool", to); !errors.Is(err, want) {
			t.Errorf("metadata to %d: %v, want %v", to, err, want)
		}
	}
}

func TestSetThinPool(t *testing.T) {
	yes, no := true, false
	vg := thinVG(t)
	for _, tt := range []struct {
		name, discards string
		zero, full     *bool
		live           bool
		want           error
	}{
		{"pool", DiscardsNoPassdown, nil, nil, true, nil},
		{"pool", DiscardsNoPassdown, nil, nil, false, ErrInvalid},
		{"pool", DiscardsIgnore, nil, nil, true, ErrInUse},
		{"pool", DiscardsIgnore, nil, nil, false, nil},
		{"pool", DiscardsPassdown, nil, nil, true, ErrInUse},
		{"pool", "some", nil, nil, false, ErrInvalid},
		{"pool", "", &yes, nil, false, ErrInvalid},
		{"pool", "", &no, &yes, true, nil},
		{"pool", "", nil, &yes, true, ErrInvalid},
		{"root", DiscardsIgnore, nil, nil, false, ErrInvalid},
		{"gone", DiscardsIgnore, nil, nil, false, ErrNotFound},
	} {
		if err := vg.SetThinPool(tt.name, tt.discards, tt.zero, tt.full, tt.live); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	if p := vg.LV("pool"); p.ThinPool().Discards != DiscardsIgnore || p.ThinPool().Zero || strings.Join(p.Flags, " ") != flagErrorWhenFull {
		t.Errorf("%+v, %v", p.ThinPool(), p.Flags)
	}
	must(t, vg.SetSkipActivation("pool", true))
	if got := strings.Join(vg.LV("pool").Flags, " "); got != flagSkipActivation+" "+flagErrorWhenFull {
		t.Error(got)
	}
	for name, want := range map[string]error{"pool": ErrInvalid, "gone": ErrNotFound, "pool_tdata": ErrInvalid} {
		if err := vg.SetSkipActivation(name, true); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	reread(t, vg)
}
