package lvm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestArchive(t *testing.T) {
	now := time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)
	a := ArchiveIn(t.TempDir())
	a.RetainMin, a.RetainDays, a.Now = 3, 10, func() time.Time { return now }
	vg := newRig(1).group(t, "my_vg", PVOptions{}, "m0")
	dir := a.ArchiveDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]int{ // what lvm2 left there, and other files
		"my_vg_00007-1.vg": 40, "my_vg_00008-2.vg": 5, "my_vg_00009-3.vg": 30, "my_vg_00010-4.vg": 20, "my_vg_00011-5.vg": 20,
		"my_00050-6.vg": 40, "my_vg_x.vg": 40, "my_vg_00001-7.tmp": 40, "other": 40,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		when := now.AddDate(0, 0, -age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Archive(vg, Header{Description: "Created *before* executing 'x'", Time: now}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		name := e.Name()
		if m, _ := filepath.Match("my_vg_00012-*.vg", name); m {
			name = "new"
		}
		got = append(got, name)
	}
	// Six of the group: 7, 9 and 10 are old enough, and go while more than three stay.
	want := []string{"my_00050-6.vg", "my_vg_00001-7.tmp", "my_vg_00008-2.vg", "my_vg_00011-5.vg", "new", "my_vg_x.vg", "other"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
	if err := a.Backup(vg, Header{Description: "Created *after* executing 'x'", Time: now}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(a.BackupDir, "my_vg"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(text)
	if err != nil || again.ID != vg.ID || again.Seqno != vg.Seqno {
		t.Errorf("backup reads as %+v, %v", again, err)
	}
	if info, err := os.Stat(filepath.Join(a.BackupDir, "my_vg")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("backup has mode %v, %v", info.Mode(), err)
	}
	for range 2 {
		if err := a.Forget("my_vg"); err != nil {
			t.Error(err)
		}
	}
	if err := a.Forget("../archive/x"); err == nil {
		t.Error("Forget took a path")
	}
}

func TestArchiveFailureStopsTheChange(t *testing.T) {
	r := newRig(1)
	vg := r.group(t, "vg0", PVOptions{}, "m0")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Archive = ArchiveIn(file)
	before := r.power.Ops()
	if _, err := r.Prepare(t.Context(), vg); err == nil || r.power.Ops() != before {
		t.Errorf("prepared without an archived copy: %v", err)
	}
	p, err := r.PrepareSuspended(t.Context(), vg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); err != nil {
		t.Error(err)
	}
}

// Each kind of copy can be off, and then leaves nothing.
func TestArchiveOff(t *testing.T) {
	vg := newRig(1).group(t, "vg0", PVOptions{}, "m0")
	for _, kept := range []string{"archive", "backup", ""} {
		dir := t.TempDir()
		a := ArchiveIn(dir)
		if kept != "archive" {
			a.ArchiveDir = ""
		}
		if kept != "backup" {
			a.BackupDir = ""
		}
		if err := errors.Join(a.Archive(vg, Header{}), a.Backup(vg, Header{})); err != nil {
			t.Error(err)
		}
		var got string
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 1 {
			t.Errorf("%v %v", entries, err)
		} else if len(entries) == 1 {
			got = entries[0].Name()
		}
		if got != kept {
			t.Errorf("%q: kept %q", kept, got)
		}
		if err := a.Forget("vg0"); err != nil {
			t.Error(err)
		}
	}
}

// Where nothing has to be retained, the one just written is.
func TestArchiveRetainsNone(t *testing.T) {
	vg := newRig(1).group(t, "vg0", PVOptions{}, "m0")
	a := ArchiveIn(t.TempDir())
	a.RetainMin, a.RetainDays, a.Now = -1, -1, func() time.Time { return time.Now().Add(time.Minute) }
	for range 3 {
		if err := a.Archive(vg, Header{}); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(a.ArchiveDir); err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
}

// vgcfgrestore finds both kinds where lvm2 is set to keep them.
func TestArchiveOracle(t *testing.T) {
	o := oracle(t, 1)
	dir := t.TempDir()
	a := &Archive{ArchiveDir: filepath.Join(dir, "old"), BackupDir: filepath.Join(dir, "now")}
	o.store.Archive = a
	o.conf += fmt.Sprintf(" backup/archive_dir=%q backup/backup_dir=%q", a.ArchiveDir, a.BackupDir)
	o.lvm("pvcreate", o.paths[0])
	if _, err := o.store.CreateVG(t.Context(), VGSpec{Name: "kept", PVs: o.paths}); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"one", "two"} {
		o.change("kept", func(vg *VG) error { return vg.AddTags("", tag) })
	}
	list := o.lvm("vgcfgrestore", "--list", "kept")
	if n := strings.Count(list, "Created *before* executing 'cowhand test'"); n != 2 || !strings.Contains(list, "Created *after* executing 'cowhand test'") {
		t.Errorf("%d archived copies\n%s", n, list)
	}
	tags := func() string { return o.lvm("vgs", "--noheadings", "-o", "tags", "kept") }
	archived, err := filepath.Glob(a.ArchiveDir + "/kept_00001-*.vg")
	if err != nil || len(archived) != 1 {
		t.Fatalf("%v %v", archived, err)
	}
	backup, err := os.ReadFile(filepath.Join(a.BackupDir, "kept"))
	if err != nil {
		t.Fatal(err)
	}
	o.lvm("vgcfgrestore", "-f", archived[0], "kept")
	if got := tags(); got != "one" {
		t.Errorf("restored from the archive: tags %q", got)
	}
	if err := os.WriteFile(filepath.Join(a.BackupDir, "kept"), backup, 0o600); err != nil {
		t.Fatal(err)
	}
	o.lvm("vgcfgrestore", "kept")
	if got := tags(); got != "one,two" {
		t.Errorf("restored from the backup: tags %q", got)
	}
}
