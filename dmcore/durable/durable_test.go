package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	for _, w := range []struct {
		data string
		perm os.FileMode
	}{{"first", 0o600}, {"", 0o644}, {"the third, which is longer", 0o666}} {
		if err := WriteFile(path, []byte(w.data), w.perm); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != w.data {
			t.Errorf("read %q, %v; want %q", got, err, w.data)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode() != w.perm {
			t.Errorf("mode %v, %v; want %v", fi.Mode(), err, w.perm)
		}
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("the directory holds %q", got)
		}
	}
}

func TestWriteFileHere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := WriteFile("plain", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := names(t, "."); len(got) != 1 || got[0] != "plain" {
		t.Errorf("the directory holds %q", got)
	}
}

// A write that fails leaves the old file, and no other.
func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if got := names(t, dir); len(got) != 1 || got[0] != "taken" {
		t.Errorf("the directory holds %q", got)
	}
	if err := WriteFile(filepath.Join(dir, "none", "f"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a directory that is not there: %v", err)
	}
}

// Readers find one version or the other while the file is replaced.
func TestWriteFileIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	version := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 5000+1000*i) }
	if err := WriteFile(path, version(0), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			got, err := os.ReadFile(path)
			if err != nil || len(got) == 0 || !bytes.Equal(got, version(int(got[0]-'a'))) {
				t.Errorf("read %d bytes of no version: %v", len(got), err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range 50 {
		if err := WriteFile(path, version(i%5), 0o600); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
}

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	for round := range 2 { // the second opens what the first made
		a, err := OpenAppend(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				line := fmt.Sprintf("%d%d\n", round, i)
				if n, err := a.Write([]byte(line)); n != len(line) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
			})
		}
		wg.Wait()
		if err := errors.Join(a.Close(), a.Close()); err != nil {
			t.Error(err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("write after close: %v", err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Fields(got)
	seen := map[string]bool{}
	for _, l := range lines {
		seen[string(l)] = true
	}
	if len(lines) != 16 || len(seen) != 16 {
		t.Errorf("%d lines, %d different; want 16:\n%s", len(lines), len(seen), got)
	}
	for _, l := range lines[:8] {
		if l[0] != '0' {
			t.Errorf("line %q of the second round among those of the first", l)
		}
	}
}

// /dev/full takes nothing; after the first failure nothing is tried again.
func TestAppendFails(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	a := &Appender{f: f}
	defer a.Close()
	_, first := a.Write([]byte("x"))
	_, second := a.Write([]byte("y"))
	if first == nil || second == nil || first.Error() == second.Error() {
		t.Errorf("writes gave %v, then %v", first, second)
	}
	if _, err := OpenAppend(filepath.Join(t.TempDir(), "none", "f"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a directory that is not there: %v", err)
	}
	if err := SyncDir(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncDir of none: %v", err)
	}
}

func TestMkdirAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		if err := MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "c")} {
		if err := MkdirAll(path, 0o700); err == nil {
			t.Errorf("%s was made", path)
		}
	}
}
