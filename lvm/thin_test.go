package lvm

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What real lvm2 wrote, 2.03.16: between the commit that makes a thin volume and
// the one that knows the kernel has it, and the same for a thin snapshot.
func thinGolden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	must(t, err)
	return b
}

func TestThinIsRead(t *testing.T) {
	for _, tt := range []struct {
		file     string
		pool     ThinPool
		thin     string
		says     Thin
		wantSkip bool
	}{
		{"thin-create.bin", ThinPool{TransactionID: 1, Messages: []ThinMessage{{Create: "t1"}}}, "t1", Thin{DeviceID: 1}, false},
		{"thin-snapshot.bin", ThinPool{TransactionID: 2, Messages: []ThinMessage{{Create: "ts1"}}}, "ts1", Thin{TransactionID: 1, DeviceID: 2, Origin: "t1"}, true},
		{"vg-text-seqno12.bin", ThinPool{TransactionID: 2}, "ts1", Thin{TransactionID: 1, DeviceID: 2, Origin: "t1"}, true},
	} {
		vg := mustParse(t, thinGolden(t, tt.file))
		must(t, vg.Validate())
		tt.pool.Metadata, tt.pool.Data, tt.pool.Discards, tt.pool.Zero = "pool_tmeta", "pool_tdata", DiscardsPassdown, true
		tt.says.Pool = "pool"
		if diff := cmp.Diff(&tt.pool, vg.LV("pool").ThinPool()); diff != "" {
			t.Errorf("%s: %s", tt.file, diff)
		}
		if c := vg.LV("pool").Segments[0].ChunkSize; c != 128 {
			t.Errorf("%s: chunk size %d", tt.file, c)
		}
		if diff := cmp.Diff(&tt.says, vg.LV(tt.thin).Thin()); diff != "" {
			t.Errorf("%s: %s", tt.file, diff)
		}
		if got := vg.LV(tt.thin).SkipsActivation(); got != tt.wantSkip {
			t.Errorf("%s: %s skips activation: %v", tt.file, tt.thin, got)
		}
		if !vg.LV("lvol0_pmspare").spare() || vg.LV("pool_tmeta").spare() {
			t.Errorf("%s: the spare is not known", tt.file)
		}
	}
}

// Reading, taking the messages away and giving them back ends in lvm2's bytes.
func TestThinPrintsAsItWas(t *testing.T) {
	for _, file := range []string{"thin-create.bin", "thin-snapshot.bin", "vg-text-seqno12.bin"} {
		was := thinGolden(t, file)
		vg := mustParse(t, was)
		got, err := vg.Text(vg.Header())
		must(t, err)
		if !bytes.Equal(got, was) {
			t.Errorf("%s: %s", file, cmp.Diff(string(was), string(got)))
		}
		messages := vg.LV("pool").ThinPool().Messages
		if messages == nil {
			continue
		}
		vg.LV("pool").ThinPool().Messages = nil
		got, err = vg.Text(vg.Header())
		must(t, err)
		cut := strings.Index(string(was), "\nmessage1 {")
		end := cut + strings.Index(string(was[cut:]), "}\n") + 2
		if want := string(was[:cut]) + string(was[end:]); string(got) != want {
			t.Errorf("%s, without its message: %s", file, cmp.Diff(want, string(got)))
		}
		vg = mustParse(t, got)
		vg.LV("pool").ThinPool().Messages = messages
		got, err = vg.Text(vg.Header())
		must(t, err)
		if !bytes.Equal(got, was) {
			t.Errorf("%s, with its message again: %s", file, cmp.Diff(string(was), string(got)))
		}
	}
}

// thinVG has all there is: a pool "pool" with thin volumes, snapshots, an
// external origin "base" and a thick snapshot; one waits to be merged; and a pool
// "new" that nothing was ever made in.
func thinVG(t testing.TB) *VG {
	t.Helper()
	vg := testVG(t, 200)
	add(t, vg, "root", 4)
	hide := func(name string, n Extents) *LV {
		lv := add(t, vg, "x", n)
		lv.Name = name
		lv.setStatus(statusVisible, false)
		return lv
	}
	lvOf := func(name string, s Segment, status ...string) *LV {
		lv := add(t, vg, "x", 1)
		lv.Name, lv.Segments = name, []*Segment{&s}
		if status != nil {
			lv.Status = status
		}
		return lv
	}
	base := add(t, vg, "base", 2)
	base.setStatus(statusWrite, false)
	for _, pool := range []string{"pool", "new"} {
		hide(pool+"_tmeta", 1)
		hide(pool+"_tdata", 8)
		lvOf(pool, Segment{Count: 8, Type: typeThinPool, ChunkSize: 128, ThinPool: &ThinPool{
			Metadata: pool + "_tmeta", Data: pool + "_tdata", Discards: DiscardsPassdown, Zero: true}})
	}
	hide("lvol0_pmspare", 1)
	vg.LV("pool").ThinPool().TransactionID = 6
	thin := func(name string, n Extents, s Thin, status ...string) *LV {
		s.Pool = "pool"
		s.TransactionID = uint64(s.DeviceID) - 1
		return lvOf(name, Segment{Count: n, Type: typeThin, Thin: &s}, status...)
	}
	thin("t1", 5, Thin{DeviceID: 1})
	thin("ts1", 5, Thin{DeviceID: 2, Origin: "t1"}).Flags = []string{flagSkipActivation}
	thin("text", 3, Thin{DeviceID: 3, ExternalOrigin: "base"})
	thin("thick", 2, Thin{DeviceID: 4})
	thin("t5", 4, Thin{DeviceID: 5})
	thin("ts5", 4, Thin{DeviceID: 6, Origin: "t5", Merge: "t5"}, statusRead, statusWrite)
	snapOf(t, vg, "thick", "cow", 1)
	must(t, vg.Validate())
	return reread(t, vg)
}

// snapOf adds a thick snapshot of any volume, as lvm2 can.
func snapOf(t testing.TB, vg *VG, origin, name string, n Extents) {
	t.Helper()
	cow := add(t, vg, name, n)
	cow.setStatus(statusVisible, false)
	helper := add(t, vg, "x", 1)
	helper.Name = "snapshot0"
	helper.Segments = []*Segment{{Count: vg.LV(origin).Extents(), Type: typeSnapshot, ChunkSize: 8, Origin: origin, COW: name}}
}

// A new pool and new thin volumes are printed as lvm2 does.
func TestThinPrintsNew(t *testing.T) {
	vg := thinVG(t)
	vg.LV("pool").ThinPool().Messages = []ThinMessage{{Create: "ts1"}, {Delete: 7}}
	got := text(t, vg)
	for name, want := range map[string]string{
		"pool": `type = "thin-pool"
metadata = "pool_tmeta"
pool = "pool_tdata"
transaction_id = 6
chunk_size = 128
discards = "passdown"
zero_new_blocks = 1

message1 {
create = "ts1"
}
message2 {
delete = 7
}
}
}`,
		"text": `type = "thin"
thin_pool = "pool"
transaction_id = 2
device_id = 3
external_origin = "base"
}
}`,
		"ts5": `type = "thin"
thin_pool = "pool"
transaction_id = 5
device_id = 6
origin = "t5"
merge = "t5"
}
}`,
	} {
		s := section(got, name)
		if _, s, _ = strings.Cut(s, "\n\n"); !strings.HasSuffix(s, want) {
			t.Errorf("%s is\n%s\nwant\n%s", name, s, want)
		}
	}
	again := mustParse(t, got)
	for _, lv := range vg.LVs {
		if diff := cmp.Diff(lv.ThinPool(), again.LV(lv.Name).ThinPool()); diff != "" {
			t.Errorf("%s: %s", lv.Name, diff)
		}
		if diff := cmp.Diff(lv.Thin(), again.LV(lv.Name).Thin()); diff != "" {
			t.Errorf("%s: %s", lv.Name, diff)
		}
	}
}

// What changes in a segment is changed in its text and nothing else.
func TestThinChanges(t *testing.T) {
	vg := thinVG(t)
	raw := text(t, vg)
	for _, tt := range []struct {
		lv       string
		change   func(*LV)
		old, new string
	}{
		{"pool", func(lv *LV) { lv.ThinPool().TransactionID = 9 }, "transaction_id = 6\n", "transaction_id = 9\n"},
		{"pool", func(lv *LV) { lv.ThinPool().Discards = DiscardsIgnore }, `"passdown"`, `"ignore"`},
		{"pool", func(lv *LV) { lv.ThinPool().Zero = false }, "zero_new_blocks = 1\n", ""},
		{"pool", func(lv *LV) { lv.Segments[0].ChunkSize = 256 }, "chunk_size = 128", "chunk_size = 256"},
		{"ts1", func(lv *LV) { lv.Thin().Origin = "" }, "origin = \"t1\"\n", ""},
		{"ts1", func(lv *LV) { lv.Thin().DeviceID = 20 }, "device_id = 2\n", "device_id = 20\n"},
		{"text", func(lv *LV) { lv.Thin().ExternalOrigin = "root" }, `external_origin = "base"`, `external_origin = "root"`},
	} {
		c := mustParse(t, raw)
		tt.change(c.LV(tt.lv))
		want := strings.Replace(section(raw, tt.lv), tt.old, tt.new, 1)
		if got := section(text(t, c), tt.lv); got != want {
			t.Errorf("%s: %s", tt.lv, cmp.Diff(want, got))
		}
		if !bytes.Equal(text(t, vg), raw) {
			t.Errorf("%s: the change changed another", tt.lv)
		}
	}
	// A copy is changed alone.
	c := vg.Clone()
	c.LV("pool").ThinPool().Messages = []ThinMessage{{Delete: 1}}
	c.LV("t1").Thin().DeviceID = 99
	if !bytes.Equal(text(t, vg), raw) {
		t.Error("changing a clone changed what it was cloned from")
	}
}

// A pool that says crop_metadata has that glued to its type.
func TestThinCrop(t *testing.T) {
	raw := strings.Replace(string(text(t, thinVG(t))), "type = \"thin-pool\"", "type = \"thin-pool+CROP_METADATA\"", 1)
	raw = strings.Replace(raw, "zero_new_blocks = 1\n", "crop_metadata = 1\n", 1)
	vg := mustParse(t, []byte(raw))
	must(t, vg.Validate())
	p := vg.LV("pool").ThinPool()
	if p == nil || !p.Crop || p.Zero || vg.LV("pool").SegType() != "thin-pool" {
		t.Fatalf("%+v, type %s", p, vg.LV("pool").SegType())
	}
	if got := string(text(t, vg)); got != raw {
		t.Error(cmp.Diff(raw, got))
	}
	// What else may be glued to a type is not known: the segment stays closed.
	raw = strings.Replace(raw, "+CROP_METADATA", "+CROP_METADATA+NEW", 1)
	vg = mustParse(t, []byte(raw))
	if vg.LV("pool").ThinPool() != nil {
		t.Error("a type with an unknown flag was opened")
	}
}

func TestThinParseRefuses(t *testing.T) {
	raw := string(thinGolden(t, "thin-snapshot.bin"))
	for old, new := range map[string]string{
		"metadata = \"pool_tmeta\"\n":     "",
		"pool = \"pool_tdata\"\n":         "pool = 5\n",
		"transaction_id = 2\n":            "transaction_id = -2\n",
		"chunk_size = 128\n":              "",
		"discards = \"passdown\"\n":       "discards = 1\n",
		"zero_new_blocks = 1\n":           "zero_new_blocks = \"yes\"\n",
		"create = \"ts1\"\n":              "",
		"thin_pool = \"pool\"\n":          "",
		"device_id = 2\n":                 "device_id = \"2\"\n",
		"create = \"ts1\"\n}":             "delete = 99999999999\n}",
		"origin = \"t1\"\n":               "origin = 1\n",
		"transaction_id = 1\ndevice_id =": "device_id =",
	} {
		if !strings.Contains(raw, old) {
			t.Fatalf("no %q", old)
		}
		if _, err := Parse([]byte(strings.Replace(raw, old, new, 1))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q for %q: %v", new, old, err)
		}
	}
}

func TestThinLinks(t *testing.T) {
	vg := thinVG(t)
	var names []string
	for _, lv := range vg.ThinVolumes("pool") {
		names = append(names, lv.Name)
	}
	if got := strings.Join(names, " "); got != "t1 ts1 text thick t5 ts5" {
		t.Errorf("in the pool: %s", got)
	}
	if vg.ThinVolumes("new") != nil || vg.ThinVolumes("root") != nil {
		t.Error("volumes where there are none")
	}
	for name, want := range map[string]string{
		"pool_tdata": "pool", "base": "text", "t1": "", "t5": "", "pool": "", "root": "",
	} {
		if got := strings.Join(vg.users(name), " "); got != want {
			t.Errorf("users of %s: %q, want %q", name, got, want)
		}
	}
	names = nil
	for _, lv := range vg.ShownLVs() {
		names = append(names, lv.Name)
	}
	if got := strings.Join(names, " "); got != "root base pool new t1 ts1 text thick t5 cow" {
		t.Errorf("shown: %s", got)
	}
	// What others stand on.
	for _, name := range []string{"base", "pool_tdata"} {
		if err := vg.Remove(name); err == nil {
			t.Errorf("%s could be removed", name)
		}
		if err := vg.Rename(name, "other"); err == nil {
			t.Errorf("%s could be renamed", name)
		}
	}
}

// A backup file says how large a pool's chunks are, and not a thick snapshot's.
func TestThinFileText(t *testing.T) {
	b, err := thinVG(t).FileText(testHeader)
	must(t, err)
	for want, n := range map[string]int{"chunk_size = 128\t# 64 Kilobytes\n": 2, "chunk_size = 8\n": 1, "\t\t\t\ttransaction_id = 6\n": 1} {
		if got := strings.Count(string(b), want); got != n {
			t.Errorf("%q is there %d times, want %d", want, got, n)
		}
	}
}
