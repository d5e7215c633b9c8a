package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/configs"
	"cowhand/dmcore"
)

// A disk that a table names otherwise than the command line does is one disk:
// found twice, its group could not be used.
func TestDaemonKnowsEachDiskOnce(t *testing.T) {
	dir := t.TempDir()
	disk, link, other := filepath.Join(dir, "disk"), filepath.Join(dir, "link"), filepath.Join(dir, "other")
	for _, f := range []string{disk, other} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(disk, link); err != nil {
		t.Fatal(err)
	}
	h := &host{settings: settings{Config: configs.Config{Devices: []string{link}}}}
	var tables []dmcore.Table
	for _, path := range []string{disk, other, "0:3"} {
		tables = append(tables, dmcore.Table{{Length: 8, Target: dmcore.Linear{Dev: dmcore.Dev(path)}}})
	}
	e, err := h.daemonEngine(nil, tables)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{link, other}, e.Store.Devices); diff != "" {
		t.Error(diff)
	}
}
