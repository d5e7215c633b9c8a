package configs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cowhand/lvm"
)

// The file we ship says what the code does without one: in every key.
func TestDefaultFileEqualsDefault(t *testing.T) {
	got, err := Parse("cowhand.yaml", DefaultFile())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), got); d != "" {
		t.Errorf("(-Default +file)\n%s", d)
	}
	// Not because the file leaves keys out: over other settings it says the same.
	other := Config{Devices: []string{"/dev/x"}}
	if ps := other.merge("cowhand.yaml", DefaultFile()); ps != nil {
		t.Fatal(ps)
	}
	if d := cmp.Diff(Default(), other); d != "" {
		t.Errorf("(-Default +file alone)\n%s", d)
	}
	def := Default()
	if err := def.Validate(); err != nil {
		t.Error(err)
	}
}

func TestLaterFilesWin(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	system := write("system", `
engine: userspace
devices: [/dev/vdb, /dev/vdc]
snapshot:
  size: 5GiB
  chunk: 64KiB
libvirt: {shutdown_timeout: 90s}
`)
	user := write("user", `
devices: [/images/*.img]
snapshot: {size: "25%ORIGIN"}
libvirt:
archive: {retain_days: 7}
`)
	got, err := Load(system, user)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Engine = EngineUserspace
	want.Devices = []string{"/images/*.img"}
	want.Snapshot = Snapshot{Size: lvm.Size{Percent: 25, Of: lvm.OfOrigin}, Chunk: lvm.Size{Bytes: 64 << 10}}
	want.Libvirt.ShutdownTimeout = Duration(90 * time.Second)
	want.Archive.RetainDays = 7
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if n := got.Snapshot.ChunkSectors(); n != 128 {
		t.Errorf("chunk of %d sectors, want 128", n)
	}
	if _, err := Load(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if got, err := Load(); err != nil || !cmp.Equal(got, Default()) {
		t.Errorf("no file: %+v, %v", got, err)
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"several at once", `
engin: kernel
devices: /dev/vdb
snapshot:
  size: 20%PARENT
  chunk: 3KiB
  chunks: 4KiB
libvirt:
  shutdown_timeout: 30
archive:
  retain_min: many
`, `
f:2:1: unknown key "engin"; did you mean engine?
f:3:10: devices: want a list, have "/dev/vdb"
f:5:9: snapshot.size: size "20%PARENT": percentages are of ORIGIN, FREE, VG or PVS: invalid
f:7:3: unknown key snapshot."chunks"; did you mean snapshot.chunk?
f:9:21: libvirt.shutdown_timeout: missing unit in duration "30"
f:11:15: archive.retain_min: want a number, have "many"
`},
		{"values", `
engine: userspce
devices: [vdb, "/dev/[a", /dev/vdc]
state_dir: var/lib
snapshot: {size: "", chunk: 1MiB}
merge: {interval: 0s}
libvirt: {uri: "", qemu_users: [qemu, "a:b"], shutdown_timeout: 999h}
archive: {retain_min: 0}
monitor: {pause: trial, pause_at: 50}
`, `
f:2:9: engine: "userspce": want one of auto, kernel, userspace; did you mean userspace?
f:3:11: devices[0]: "vdb": want an absolute path or glob
f:3:16: devices[1]: "/dev/[a": the glob's brackets or backslashes do not match
f:4:12: state_dir: "var/lib": want an absolute path, or "" for the default
f:5:18: snapshot.size: is empty; want for example 20%ORIGIN or 5GiB
f:5:29: snapshot.chunk: 1MiB: want a power of two from 4KiB to 512KiB
f:6:19: merge.interval: 0s: want 100ms to 1h0m0s
f:7:16: libvirt.uri: is empty; virsh's default is qemu:///system
f:7:39: libvirt.qemu_users[1]: "a:b" is no user name
f:7:65: libvirt.shutdown_timeout: 999h0m0s: want 1s to 24h0m0s
f:8:23: archive.retain_min: 0: want 1 to 1048576
f:9:18: monitor.pause: "trial": want one of none, trials, sets, all; did you mean trials?
f:9:35: monitor.pause_at: 50: want 51 to 100 percent
`},
		{"key of another section", "size: 5GiB\nuri: x\n", `
f:1:1: unknown key "size"; did you mean snapshot.size?
f:2:1: unknown key "uri"; did you mean libvirt.uri?
`},
		{"nothing like it", "zzzzzzzz: 1\n", "\nf:1:1: unknown key \"zzzzzzzz\"\n"},
		{"twice", "engine: auto\nengine: kernel\n", "\nf:2:1: engine: is set twice, first in line 1\n"},
		{"no value", "engine:\nmerge:\n  interval: ~\n", `
f:1:8: engine: has no value: leave the key out to have the default
f:3:13: merge.interval: has no value: leave the key out to have the default
`},
		{"wrong kinds", "engine: [auto]\nmerge: 2s\nstate_dir: 12\narchive: [1]\n? [a]\n: b\n", `
f:1:9: engine: want text, have a list
f:2:8: merge: want keys and values (interval), have "2s"
f:3:12: state_dir: want text, have "12"; put it in quotes
f:4:10: archive: want keys and values (dir, retain_min, retain_days), have a list
f:5:3: a list is no key
`},
		{"no mapping", "- a\n", "\nf:1:1: want keys and values (engine, devices, state_dir, run_dir, libvirt, snapshot, merge, monitor, archive), have a list\n"},
		{"alias", "engine: &a auto\nstate_dir: *a\n", `
f:1:9: an anchor: anchors and aliases are not read
f:2:12: an alias: anchors and aliases are not read
`},
		{"merge key", "<<: {engine: kernel}\n", "\nf:1:1: unknown key \"<<\"\n"},
		{"documents", "engine: auto\n---\nengine: kernel\n", "\nf:1:1: more than one document; settings are one\n"},
		{"syntax", "engine: auto\n  snapshot: [\n", "\nf:2:1: mapping values are not allowed in this context\n"},
		{"too long", strings.Repeat("# 345678\n", maxFile/9+1), "\nf:1:1: the file is longer than 1048576 bytes\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("f", []byte(c.text))
			if err == nil {
				t.Fatal("no error")
			}
			if d := cmp.Diff(strings.TrimSpace(c.want), err.Error()); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
		})
	}
}

func TestNothingSaidIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "\n# nothing\n", "---\n", "null\n", "{}\n"} {
		got, err := Parse("f", []byte(text))
		if err != nil || !cmp.Equal(got, Default()) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// Problems of all files are told, each with its own.
func TestProblemsOfTwoFiles(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, p := range []string{a, b} {
		if err := os.WriteFile(p, []byte("engine: steam\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Load(a, b)
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) != 2 || e.Problems[0].File != a || e.Problems[1].File != b {
		t.Errorf("%v", err)
	}
}

func TestManyProblemsAreCut(t *testing.T) {
	_, err := Parse("f", []byte(strings.Repeat("x: 1\n", 1000)))
	if n := strings.Count(err.Error(), "\n"); n != maxShown || !strings.Contains(err.Error(), "more") {
		t.Errorf("%d lines: %v", n+1, err)
	}
}

// Flags and variables are checked by Validate, without a place.
func TestValidateAfterFlags(t *testing.T) {
	c := Default()
	c.Engine, c.RunDir = "", "run"
	err := c.Validate()
	const want = "engine: \"\": want one of auto, kernel, userspace\nrun_dir: \"run\": want an absolute path, or \"\" for the default"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

// Whatever the file is: an answer, settings that hold, and places in the file.
func FuzzParse(f *testing.F) {
	f.Add([]byte(DefaultFile()))
	f.Add([]byte("engine: &a [*a]\n"))
	f.Add([]byte("snapshot: {size: 5G, chunk: 8KiB}\ndevices: [/dev/a*]\n"))
	f.Add([]byte("merge:\n  interval: 1h30m\n---\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f", text)
		var e *Error
		if errors.As(err, &e) {
			for _, p := range e.Problems {
				if p.Line < 1 || p.Column < 1 || p.File != "f" {
					t.Errorf("problem without a place: %+v", p)
				}
			}
			return
		}
		if err != nil {
			t.Fatalf("%v", err)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("settings that do not hold: %v", err)
		}
	})
}
