package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cowhand/dmcore/blockdev"
	"cowhand/lvm"
)

// A disk belongs to one engine, under whatever names.
func TestDiskOfOneEngine(t *testing.T) {
	dir := t.TempDir()
	disk, link := filepath.Join(dir, "disk"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(disk, make([]byte, 4096), 0o600), os.Symlink(disk, link)); err != nil {
		t.Fatal(err)
	}
	one, two := newDisks(dir), newDisks(dir)
	must := func(d blockdev.Device, err error) blockdev.Device {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a, b := must(one.open(disk)), must(one.open(link))
	if _, ok := a.(blockdev.Discarder); !ok {
		t.Error("it has lost what a file can do")
	}
	for range 2 {
		if _, err := two.open(link); !errors.Is(err, lvm.ErrInUse) {
			t.Errorf("a second engine: %v", err)
		}
		if err := errors.Join(a.Close(), a.Close()); err != nil { // twice counts once
			t.Error(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := must(two.open(disk)).Close(); err != nil {
		t.Error(err)
	}
}
