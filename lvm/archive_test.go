package lvm

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestArchive(t *testing.T) {
	now := time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)
	a := &Archive{Dir: t.TempDir(), RetainMin: 3, RetainDays: 10, Now: func() time.Time { return now }}
	vg := newRig(1).group(t, "my_vg", PVOptions{}, "m0")
	dir := filepath.Join(a.Dir, "archive")
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
	text, err := os.ReadFile(filepath.Join(a.Dir, "backup", "my_vg"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(text)
	if err != nil || again.ID != vg.ID || again.Seqno != vg.Seqno {
		t.Errorf("backup reads as %+v, %v", again, err)
	}
	if info, err := os.Stat(filepath.Join(a.Dir, "backup", "my_vg")); err != nil || info.Mode().Perm() != 0o600 {
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
	r.Archive = &Archive{Dir: file}
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
