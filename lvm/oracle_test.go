package lvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore/blockdev"
)

// lvm2 is the real thing, confined to loop devices of a test.
type lvm2 struct {
	t     *testing.T
	paths []string
	conf  string
	etc   string
	locks Locks
	store *Store
}

// oracle makes n loop devices of 32 MiB, and confines lvm2 and a Store to them. The
// test is a parallel one from then on.
func oracle(t *testing.T, n int) *lvm2 {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	for _, tool := range []string{"lvm", "losetup"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	t.Parallel() // its time is spent waiting
	dir := t.TempDir()
	o := &lvm2{t: t, etc: filepath.Join(dir, "etc"), locks: Locks{Dir: filepath.Join(dir, "locks")}}
	for i := range n {
		file := filepath.Join(dir, fmt.Sprintf("pv%d.img", i))
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, 32<<20); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("losetup", "-f", "--show", file).CombinedOutput()
		if err != nil {
			t.Skipf("no loop devices: %v: %s", err, out)
		}
		path := strings.TrimSpace(string(out))
		t.Cleanup(func() {
			if out, err := exec.Command("losetup", "-d", path).CombinedOutput(); err != nil {
				t.Errorf("losetup -d %s: %v: %s", path, err, out)
			}
		})
		o.paths = append(o.paths, path)
	}
	var filter []string
	for _, p := range o.paths {
		filter = append(filter, fmt.Sprintf("%q", "a|^"+p+"$|"))
	}
	o.conf = fmt.Sprintf(`devices/use_devicesfile=0 devices/hints="none" global/use_lvmpolld=0 global/locking_dir=%q global/activation=0 devices/filter=[%s,"r|.*|"]`,
		o.locks.Dir, strings.Join(filter, ","))
	if err := os.MkdirAll(o.etc, 0o700); err != nil {
		t.Fatal(err)
	}
	o.store = &Store{
		Devices: o.paths, Host: "test", Command: "cowhand test", Archive: ArchiveIn(o.etc),
		Open: func(path string, write bool) (blockdev.Device, error) { return blockdev.OpenFile(path, !write) },
		Now:  func() time.Time { return time.Unix(1800000000, 0).UTC() },
	}
	return o
}

func (o *lvm2) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{args[0], "--config", o.conf, "--driverloaded", "n"}, args[1:]...)
	cmd := exec.CommandContext(ctx, "lvm", args...)
	cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+o.etc, "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C", "TZ=UTC")
	cmd.WaitDelay = time.Second
	return cmd
}

// noDeviceMapper is what lvm2 complains about where there is none.
var noDeviceMapper = regexp.MustCompile(`Activation disabled|not zeroed|device-mapper|/dev/mapper/control|libdevmapper|check for active volumes`)

// lvm runs a command that must succeed, and complain of nothing else; it returns
// what was printed.
func (o *lvm2) lvm(args ...string) string {
	o.t.Helper()
	var out, warnings bytes.Buffer
	cmd := o.command(o.t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &warnings
	if err := cmd.Run(); err != nil {
		o.t.Fatalf("lvm %s: %v\n%s%s", strings.Join(args, " "), err, &out, &warnings)
	}
	for line := range strings.Lines(warnings.String()) {
		if !noDeviceMapper.MatchString(line) {
			o.t.Errorf("lvm %s: %s", strings.Join(args, " "), line)
		}
	}
	return strings.TrimSpace(out.String())
}

// agree checks that both sides see the same, and nothing wrong, on the devices.
func (o *lvm2) agree() {
	o.t.Helper()
	l, err := o.store.Scan(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	for _, p := range l.Problems {
		o.t.Errorf("we see a problem: %v", p)
	}
	var vgs, lvs, pvs []string
	for _, g := range l.Groups {
		if g.Err != nil {
			o.t.Error(g.Err)
		}
		vg := g.VG
		vgs = append(vgs, fmt.Sprintf("%s %s %d %d %d %s", vg.Name, vg.ID.Dashed(), vg.Seqno, vg.ExtentSize, vg.FreeExtents(), sorted(vg.Tags)))
		for _, lv := range vg.ShownLVs() {
			lvs = append(lvs, fmt.Sprintf("%s %s %s %d %s", vg.Name, lv.Name, lv.ID.Dashed(), vg.Size(lv), sorted(lv.Tags)))
		}
	}
	for _, v := range l.PVs {
		pvs = append(pvs, fmt.Sprintf("%s %s %s %d %d", v.Path, v.ID.Dashed(), v.VG, v.Areas, v.AreasInUse))
	}
	report := o.report()
	for what, ours := range map[string][]string{"vg": vgs, "lv": lvs, "pv": pvs} {
		slices.Sort(ours)
		if diff := cmp.Diff(report[what], ours); diff != "" {
			o.t.Errorf("%s (-lvm2 +cowhand):\n%s", what, diff)
		}
	}
}

func sorted(tags []string) string { return strings.Join(slices.Sorted(slices.Values(tags)), ",") }

// report is what lvm2 sees: for each kind of thing, sorted, the fields that agree
// compares.
func (o *lvm2) report() map[string][]string {
	o.t.Helper()
	fields := map[string]string{
		"vg": "vg_name,vg_uuid,vg_seqno,vg_extent_size,vg_free_count,vg_tags",
		"lv": "vg_name,lv_name,lv_uuid,lv_size,lv_tags",
		"pv": "pv_name,pv_uuid,vg_name,pv_mda_count,pv_mda_used_count",
	}
	args := []string{"fullreport", "--reportformat", "json", "--units", "s", "--nosuffix"}
	for what, f := range fields {
		args = append(args, "--configreport", what, "-o", f)
	}
	var out struct {
		Report []map[string][]map[string]string
	}
	if err := json.Unmarshal([]byte(o.lvm(args...)), &out); err != nil {
		o.t.Fatal(err)
	}
	rows := map[string][]string{"vg": nil, "lv": nil, "pv": nil}
	for _, r := range out.Report {
		for what := range rows {
			for _, row := range r[what] {
				var values []string
				for f := range strings.SplitSeq(fields[what], ",") {
					values = append(values, row[f])
				}
				if what != "vg" || row["vg_name"] != "" { // free PVs are reported under a group without a name
					rows[what] = append(rows[what], strings.Join(values, " "))
				}
			}
		}
	}
	for _, r := range rows {
		slices.Sort(r)
	}
	return rows
}

func (o *lvm2) change(name string, change func(*VG) error) {
	o.t.Helper()
	vg, err := o.store.Load(o.t.Context(), name)
	if err == nil {
		err = change(vg)
	}
	var p *Pending
	if err == nil {
		p, err = o.store.Prepare(o.t.Context(), vg)
	}
	if err == nil {
		err = p.Commit()
	}
	if err == nil {
		err = errors.Join(append(p.Degraded, o.store.Backup(p.VG))...)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// What we write, lvm2 reads.
func TestOracleReadsOurs(t *testing.T) {
	o := oracle(t, 3)
	for i, opts := range []PVOptions{{SecondMetadata: true}, {MetadataSize: 64 << 10, DataAlignment: 64 << 10}, {NoMetadata: true}} {
		if _, err := o.store.CreatePV(t.Context(), o.paths[i], opts); err != nil {
			t.Fatal(err)
		}
	}
	o.agree()
	if _, err := o.store.CreateVG(t.Context(), VGSpec{Name: "ours", PVs: o.paths[:2], Tags: []string{"b", "a"}}); err != nil {
		t.Fatal(err)
	}
	o.agree()
	o.change("ours", func(vg *VG) error {
		_, err := vg.AddLinear(LinearSpec{Name: "root", Size: Size{Count: 9}, Tags: []string{"cowhand.set=x"}, Stamp: Stamp{Time: time.Unix(1700000000, 0), Host: "h"}})
		return err
	})
	o.agree()
	o.change("ours", func(vg *VG) error {
		_, err := vg.AddSnapshots([]SnapshotSpec{{Origin: "root", Name: "s1", Size: Size{Count: 1}}, {Origin: "root", Name: "s2", Size: Size{Count: 1}}})
		return err
	})
	o.agree()
	origins := strings.Fields(o.lvm("lvs", "--noheadings", "-o", "lv_name,origin", "-S", "origin!=''", "-O", "lv_name", "ours"))
	if diff := cmp.Diff([]string{"s1", "root", "s2", "root"}, origins); diff != "" {
		t.Errorf("snapshots and origins (-want +got):\n%s", diff)
	}
	vg, err := o.store.Load(t.Context(), "ours")
	if err != nil {
		t.Fatal(err)
	}
	if vg, err = o.store.ExtendVG(t.Context(), vg, o.paths[2]); err != nil {
		t.Fatal(err)
	}
	o.lvm("vgck", "ours")
	for _, path := range o.paths[:2] {
		dump := o.lvm("pvck", "--dump", "metadata", path)
		if !strings.Contains(dump, fmt.Sprintf("seqno = %d", vg.Seqno)) || !strings.Contains(dump, `description = "Write from cowhand test."`) {
			t.Errorf("pvck --dump metadata %s:\n%s", path, dump)
		}
		if headers := o.lvm("pvck", "--dump", "headers", path); strings.Contains(headers, "incorrect") || strings.Contains(headers, "invalid") {
			t.Errorf("pvck --dump headers %s:\n%s", path, headers)
		}
	}
	// Backups are as lvm2 wants them: vgs finds nothing to refresh, and a
	// group can be restored from what we archived.
	archived := func() int {
		files, err := filepath.Glob(o.etc + "/archive/ours_*.vg")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	before := archived()
	o.lvm("vgs", "ours")
	if n := archived(); n != before || n != int(vg.Seqno)-1 {
		t.Errorf("%d archived copies, vgs made it %d, want %d", before, n, vg.Seqno-1)
	}
	backup := filepath.Join(t.TempDir(), "file")
	o.lvm("vgcfgbackup", "-f", backup, "ours")
	theirs, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(o.etc + "/backup/ours")
	if err != nil {
		t.Fatal(err)
	}
	_, theirBody, _ := strings.Cut(string(theirs), "\nours {")
	_, ourBody, _ := strings.Cut(string(ours), "\nours {")
	if diff := cmp.Diff(theirBody, ourBody); diff != "" {
		t.Errorf("backup file (-lvm2 +cowhand):\n%s", diff)
	}
	first, err := filepath.Glob(o.etc + "/archive/ours_00001-*.vg")
	if err != nil || len(first) != 1 {
		t.Fatalf("archive: %v, %v", first, err)
	}
	if _, err = o.store.ReduceVG(t.Context(), vg, o.paths[2]); err != nil {
		t.Fatal(err)
	}
	o.lvm("vgcfgrestore", "-f", first[0], "ours")
	o.agree()
	o.change("ours", func(vg *VG) error { return vg.Remove("root") })
	vg, err = o.store.Load(t.Context(), "ours")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.store.RemoveVG(t.Context(), vg); err != nil {
		t.Fatal(err)
	}
	o.agree()
	o.lvm("vgcreate", "theirs", o.paths[0], o.paths[2])
	if err := o.store.RemovePV(t.Context(), o.paths[1]); err != nil {
		t.Fatal(err)
	}
	o.agree()
}

// Both change one group in turns.
func TestOracleTakesTurns(t *testing.T) {
	o := oracle(t, 3)
	o.lvm("pvcreate", "--metadatacopies", "2", o.paths[0], o.paths[1])
	o.lvm("pvcreate", o.paths[2])
	o.agree()
	o.lvm("vgcreate", "-s", "1M", "both", o.paths[0], o.paths[1])
	o.agree()
	o.lvm("lvcreate", "-an", "-Zn", "-Wn", "-l", "3", "-n", "theirs", "both")
	o.agree()
	for _, turn := range []func(){
		func() {
			o.change("both", func(vg *VG) error {
				_, err := vg.AddLinear(LinearSpec{Name: "ours", Size: Size{Count: 5}})
				return err
			})
		},
		func() { o.lvm("lvextend", "-l", "+4", "both/ours") },
		func() { o.change("both", func(vg *VG) error { return vg.Rename("theirs", "renamed") }) },
		func() { o.lvm("lvchange", "--addtag", "x", "both/renamed") },
		func() { o.change("both", func(vg *VG) error { return vg.AddTags("ours", "cowhand.role=test") }) },
		func() { o.lvm("lvcreate", "-an", "-Zn", "-Wn", "-i", "2", "-l", "4", "-n", "striped", "both") },
		func() {
			vg, err := o.store.Load(t.Context(), "both")
			if err == nil {
				_, err = o.store.ExtendVG(t.Context(), vg, o.paths[2])
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		func() { o.lvm("pvchange", "--metadataignore", "y", o.paths[1]) },
		func() { o.change("both", func(vg *VG) error { return vg.DelTags("renamed", "x") }) },
		func() { o.lvm("pvchange", "--metadataignore", "n", o.paths[1]) },
		func() { o.lvm("vgreduce", "both", o.paths[2]) },
		func() { o.change("both", func(vg *VG) error { return vg.Remove("striped") }) },
		func() { // a crash between our precommit and commit
			vg, err := o.store.Load(t.Context(), "both")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := o.store.Prepare(t.Context(), vg); err != nil {
				t.Fatal(err)
			}
		},
		func() { o.lvm("lvremove", "-y", "both/renamed") },
		func() { o.change("both", func(vg *VG) error { return vg.Remove("ours") }) },
		func() { o.lvm("vgremove", "both") },
	} {
		turn()
		o.agree()
		if t.Failed() {
			return
		}
	}
}

// PVs are made byte for byte as pvcreate makes them; groups as vgcreate does.
func TestOracleSameBytes(t *testing.T) {
	o := oracle(t, 2)
	for _, test := range []struct {
		args []string
		opts PVOptions
	}{
		{nil, PVOptions{}},
		{[]string{"--metadatacopies", "2"}, PVOptions{SecondMetadata: true}},
		{[]string{"--metadatacopies", "0"}, PVOptions{NoMetadata: true}},
		{[]string{"--metadatasize", "3m"}, PVOptions{MetadataSize: 3 << 20}},
		{[]string{"--dataalignment", "64k", "--metadatasize", "64k", "--metadatacopies", "2"}, PVOptions{DataAlignment: 64 << 10, MetadataSize: 64 << 10, SecondMetadata: true}},
	} {
		o.lvm(append([]string{"pvcreate", "-ff", "-y", o.paths[0]}, test.args...)...)
		l, err := o.store.Scan(t.Context())
		if err != nil || len(l.PVs) == 0 {
			t.Fatalf("%v, %+v", err, l)
		}
		theirs := o.read(0, 64<<10)
		test.opts.ID = l.PVs[0].ID
		if _, err := o.store.CreatePV(t.Context(), o.paths[0], test.opts); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(theirs, o.read(0, 64<<10)) {
			t.Errorf("pvcreate %v: the first 64 KiB differ", test.args)
		}
		o.agree()
		if test.opts.NoMetadata {
			continue
		}
		o.lvm("vgcreate", "one", o.paths[0])
		vg, err := o.store.Load(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		want := *vg.PVs[0]
		text := o.read(4096+512, 4096)
		text = text[:bytes.IndexByte(text, 0)+1]
		if got, err := vg.Text(vg.Header()); err != nil || !bytes.Equal(got, text) {
			t.Errorf("an untouched group prints other than it was read (%v):\n%s", err, cmp.Diff(string(text), string(got)))
		}
		o.lvm("vgremove", "one")
		ours, err := o.store.CreateVG(t.Context(), VGSpec{Name: "one", PVs: o.paths[:1]})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, *ours.PVs[0], cmp.AllowUnexported(PV{})); diff != "" {
			t.Errorf("pvcreate %v: PV in the group (-lvm2 +cowhand):\n%s", test.args, diff)
		}
		o.agree()
		if err := o.store.RemoveVG(t.Context(), ours); err != nil {
			t.Fatal(err)
		}
	}
}

func (o *lvm2) read(off, n int64) []byte {
	o.t.Helper()
	dev, err := o.store.Open(o.paths[0], false)
	if err != nil {
		o.t.Fatal(err)
	}
	defer dev.Close()
	b := make([]byte, n)
	if err := readFull(dev, b, off); err != nil {
		o.t.Fatal(err)
	}
	return b
}
