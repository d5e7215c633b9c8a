package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cowhand/configs"
	"cowhand/lvm"
	"cowhand/lvm/lvmconf"
)

// lvm2Dir is a directory of lvm2's settings.
func lvm2Dir(t *testing.T, conf string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LVM_SYSTEM_DIR", dir)
	return dir
}

func TestLVM2Settings(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("others than root share nothing with lvm2")
	}
	dir := lvm2Dir(t, `
global { locking_dir = "/locks" wait_for_locks = 0 system_id_source = "lvmlocal" }
local { system_id = "me" extra_system_ids = ["you"] }
backup { archive_dir = "/a" retain_min = 0 retain_days = 5 }
activation { volume_list = [] auto_activation_volume_list = ["x"] read_only_volume_list = "@y" }
tags { z { } }
`)
	usual := configs.Default().Archive
	for _, c := range []struct {
		name   string
		set    settings
		locks  string
		copies *lvm.Archive
	}{
		{"nothing set", settings{Config: configs.Config{Archive: usual}}, "/locks",
			&lvm.Archive{ArchiveDir: "/a", BackupDir: filepath.Join(dir, "backup"), RetainMin: -1, RetainDays: 5}},
		{"numbers", settings{Config: configs.Config{Archive: configs.Archive{RetainMin: 3, RetainDays: 4}}}, "/locks",
			&lvm.Archive{ArchiveDir: "/a", BackupDir: filepath.Join(dir, "backup"), RetainMin: 3, RetainDays: 4}},
		{"directories", settings{Config: configs.Config{Archive: configs.Archive{Dir: "/own", RetainMin: 10, RetainDays: 30}}, lockDir: "/lock"}, "/lock",
			&lvm.Archive{ArchiveDir: "/own/archive", BackupDir: "/own/backup", RetainMin: 10, RetainDays: 30}},
		{"state directory", settings{Config: configs.Config{StateDir: "/state", Archive: usual}}, "/locks",
			&lvm.Archive{ArchiveDir: "/state/lvm/archive", BackupDir: "/state/lvm/backup", RetainMin: 10, RetainDays: 30}},
	} {
		h := &host{stderr: io.Discard, settings: c.set}
		h.defaults()
		e := h.newEngine(nil, nil)
		if diff := cmp.Diff(c.copies, e.Store.Archive, cmpopts.IgnoreFields(lvm.Archive{}, "Now")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
		if want := (lvm.Locks{Dir: c.locks, NoWait: true}); e.Locks != want {
			t.Errorf("%s: %+v", c.name, e.Locks)
		}
		if !cmp.Equal([]string{"me", "you"}, e.Store.SystemIDs) {
			t.Errorf("%s: %q", c.name, e.Store.SystemIDs)
		}
		want := lvm.Lists{Volumes: []string{}, Auto: []string{"x"}, ReadOnly: []string{"@y"}, HostTags: []string{"z"}}
		if diff := cmp.Diff(want, h.lvm2.lists()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
	lvm2Dir(t, "backup { backup = 0 archive = 0 }")
	h := &host{stderr: io.Discard, settings: settings{Config: configs.Config{Archive: usual}}}
	h.defaults()
	if a := h.archive(); a.ArchiveDir != "" || a.BackupDir != "" {
		t.Errorf("both off: %+v", a)
	}
}

// Processes that this one starts come to the same settings.
func TestLVM2SettingsInherited(t *testing.T) {
	lvm2Dir(t, `backup { archive_dir = "/a" }`)
	for _, set := range []settings{
		{}, {Config: configs.Config{StateDir: "/state"}}, {Config: configs.Config{Archive: configs.Archive{Dir: "/own"}}}, {lockDir: "/lock"},
	} {
		set.Engine = configs.EngineUserspace
		h := &host{stderr: io.Discard, settings: set}
		h.defaults()
		args, err := h.globals(nil)
		if err != nil {
			t.Fatal(err)
		}
		child := &host{stdout: io.Discard, stderr: io.Discard}
		app := newApp(child)
		app.After, app.Action = nil, nil
		if err := app.RunContext(t.Context(), append([]string{"cowhand"}, args...)); err != nil {
			t.Fatal(err)
		}
		want, got := h.newEngine(nil, nil), child.newEngine(nil, nil)
		set = settings{} // the child has defaults of its own for how many are retained
		want.Store.Archive.RetainMin, want.Store.Archive.RetainDays = got.Store.Archive.RetainMin, got.Store.Archive.RetainDays
		if diff := cmp.Diff(want.Store.Archive, got.Store.Archive, cmpopts.IgnoreFields(lvm.Archive{}, "Now")); diff != "" || want.Locks != got.Locks || h.StateDir != child.StateDir {
			t.Errorf("%q: locks %+v, %+v, state %s, %s\n%s", args, want.Locks, got.Locks, h.StateDir, child.StateDir, diff)
		}
	}
}

func TestLVM2SettingsWrong(t *testing.T) {
	lvm2Dir(t, "devices { filter = 5 }\nglobal { system_id_source = \"uname\"")
	h := &host{stderr: io.Discard, settings: settings{Config: configs.Config{Engine: configs.EngineUserspace}}}
	h.defaults()
	if _, err := h.devicePaths(); !errors.Is(err, lvmconf.ErrInvalid) || !strings.Contains(err.Error(), "lvm.conf:") {
		t.Errorf("%v", err)
	}
}

// What is refused ends a verb of cowhand's with 3 and LVM2's with 5, and says what
// to do.
func TestRefusedGroups(t *testing.T) {
	for err, want := range map[error]string{
		lvm.ErrExcluded:  "volume_list",
		lvm.ErrExported:  "vgimport",
		lvm.ErrShared:    "lvmlockd",
		lvm.ErrForeign:   "extra_system_ids",
		lvm.ErrMissingPV: "--removemissing",
		lvm.ErrDuplicate: "one of the copies",
	} {
		var out strings.Builder
		h := &host{stderr: &out}
		code := h.report(t.Context(), &lvm.Error{VG: "vg0", Err: err})
		if code != exitRefused || !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "vg0") || !strings.Contains(lvmHint(err), want) {
			t.Errorf("%v: exit status %d\n%s", err, code, &out)
		}
	}
}
