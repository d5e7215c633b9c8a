package main

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// The values are those of lvm2 2.03.16.
func TestLVMUnits(t *testing.T) {
	for _, c := range []struct {
		bytes uint64
		unit  byte
		short string
		long  string
	}{
		{0, 'r', "0 ", "0   "},
		{0, 'b', "0B", "0 B"},
		{0, 'm', "0 ", "0   "},
		{4 << 20, 'r', "4.00m", "4.00 MiB"},
		{4 << 20, 'b', "4194304B", "4194304 B"},
		{4 << 20, 's', "8192S", "8192 Se"},
		{4 << 20, 'k', "4096.00k", "4096.00 KiB"},
		{4 << 20, 'g', "0.00g", "0.00 GiB"},
		{12 << 20, 'H', "12.58M", "12.58 MB"},
		{12 << 20, 'K', "12582.91K", "12582.91 KB"},
		{1020 << 10, 'r', "1020.00k", "1020.00 KiB"},
		{1 << 20, 'h', "1.00m", "1.00 MiB"},
		{1000204886016, 'h', "931.51g", "931.51 GiB"},
		{238466 * 4 << 20, 'r', "<931.51g", "<931.51 GiB"},
		{238466 * 4 << 20, 'g', "931.51g", "931.51 GiB"},
		{math.MaxUint64, 'h', "16.00e", "16.00 EiB"},
	} {
		if got := (lvmUnits{unit: c.unit}).String(c.bytes); got != c.short {
			t.Errorf("%d in %c: %q, want %q", c.bytes, c.unit, got, c.short)
		}
		if got := (lvmUnits{unit: c.unit, long: true}).String(c.bytes); got != c.long {
			t.Errorf("%d in %c: %q, want %q", c.bytes, c.unit, got, c.long)
		}
	}
	if got := (lvmUnits{unit: 'm', noSuffix: true}).String(1 << 20); got != "1.00" {
		t.Errorf("without suffix: %q", got)
	}
	for _, bad := range []string{"", "x", "mm", "3m"} {
		if _, err := lvmParseUnits(bad); err == nil {
			t.Errorf("unit %q is taken", bad)
		}
	}
}

// Nearly full is not full, and nearly empty not empty.
func TestLVMPercent(t *testing.T) {
	for p, want := range map[float64]string{0: "0.00", 100: "100.00", 99.9999: "99.99", 0.001: "0.01", 45: "45.00"} {
		if got := lvmPercent(p); got != want {
			t.Errorf("%v: %q, want %q", p, got, want)
		}
	}
}

// testLook is a group with an origin, a full snapshot, and one that merges.
func testLook(t *testing.T) *lvmLook {
	t.Helper()
	size := func(n lvm.Extents) lvm.Size { return lvm.Size{Count: n} }
	vg := &lvm.VG{Name: "vg", ID: lvm.ID(strings.Repeat("a", 32)), ExtentSize: 2048, Status: []string{"RESIZEABLE", "READ", "WRITE"},
		PVs: []*lvm.PV{{Name: "pv0", ID: lvm.ID(strings.Repeat("p", 32)), Device: "/disk", PEStart: 2048, PECount: 100, Status: []string{"ALLOCATABLE"}}}}
	if _, err := vg.AddLinear(lvm.LinearSpec{Name: "root", Size: size(10)}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"full", "back"} {
		if _, err := vg.AddSnapshots([]lvm.SnapshotSpec{{Origin: "root", Name: name, Size: size(3)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := vg.StartMerge("back"); err != nil {
		t.Fatal(err)
	}
	live := dmcore.Info{Live: true, Dev: dmcore.DevNo{Minor: 7}, OpenCount: 1}
	return &lvmLook{groups: []*lvmGroup{newLVMGroup(vg, nil, map[string]lvm.LVState{
		"root": {Known: true, Exists: true, Info: live, Snapshot: &dmcore.SnapshotStatus{Allocated: 50, Total: 200, Metadata: 8}},
		"full": {Known: true, Exists: true, Info: live, Snapshot: &dmcore.SnapshotStatus{State: dmcore.SnapshotInvalid}},
		"back": {Known: true, Exists: true, Info: live, Snapshot: &dmcore.SnapshotStatus{State: dmcore.MergeFailed}},
	})}}
}

// show prints a report of testLook.
func show(t *testing.T, report lvmReport, line string) string {
	t.Helper()
	args, err := parseLVM(lvmOptions(lvmReportFlags+" "+lvmCommon), strings.Split(line, " "))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r := &lvmRun{host: &host{stdout: &out}, args: args}
	if err := r.printReport(testLook(t), report); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestLVMReportOfLiveVolumes(t *testing.T) {
	for line, want := range map[string]string{
		"-a -o lv_name,lv_attr,data_percent,lv_merging,lv_merge_failed,lv_snapshot_invalid,lv_device_open,lv_kernel_minor --separator :": `
  LV:Attr:Data%:Merging:MergeFailed:SnapInvalid:DevOpen:KMin
  [back]:Swi-mos---::merging:merge failed::open:7
  full:swi-Ios---:100.00:::snapshot invalid:open:7
  root:Owi-aos---:25.00:merging:::open:7
`,
		"-o lv_name,lv_size --noheadings": `
  full  3.00m
  root 10.00m
`,
		"-o lv_name -O -data_percent --noheadings": `
  full
  root
`,
		"-S lv_size>3m||lv_name=back -a -o lv_name --noheadings": `
  [back]
  root  
`,
		"-S data_percent<50 -o lv_name --noheadings": `
  root
`,
		"-S lv_name=nobody": "\n",
	} {
		if diff := cmp.Diff(want, "\n"+show(t, lvmLVs, line)); diff != "" {
			t.Errorf("lvs %s:\n%s", line, diff)
		}
	}
}

// JSON cannot be broken by what a name or tag holds.
func TestLVMJSONQuotes(t *testing.T) {
	l := lvmLayout{name: "lv", json: true, columns: []lvmColumn{{name: "lv_name"}}}
	var out strings.Builder
	if err := l.print(&out, [][]lvmCell{{{text: `a"b\c`}}}); err != nil {
		t.Fatal(err)
	}
	if want := `{"lv_name":"a\"b\\c"}`; !strings.Contains(out.String(), want) {
		t.Errorf("printed %s, want %s in it", out.String(), want)
	}
}

func TestLVMSelectRefuses(t *testing.T) {
	for _, bad := range []string{"x", "=1", "lv_name", "nothing=1", "lv_name=~r", "lv_name=a&&"} {
		if _, err := lvmSelection(lvmColumns(), "lv_", bad); err == nil {
			t.Errorf("--select %q is taken", bad)
		}
	}
}

// No two columns answer to one name.
func TestLVMColumnsAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range lvmColumns() {
		plain := strings.ReplaceAll(c.name, "_", "")
		if seen[plain] {
			t.Errorf("column %s twice", c.name)
		}
		seen[plain] = true
	}
	for _, r := range []lvmReport{lvmPVs, lvmVGs, lvmLVs} {
		for _, list := range []string{r.columns, r.verbose, r.segments, r.segmentsLong, r.sort, r.sortSegments} {
			if _, err := lvmChoose(lvmColumns(), r.prefix, list, nil); err != nil {
				t.Errorf("%ss: %v", r.name, err)
			}
		}
	}
}
