package blockdev

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel tells one caller that a write was lost. Who was syncing at the
// same time must not take its own success for word that nothing was.
func TestSyncFailsForAllAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fails := func(int) error { return unix.EIO }
	err = d.syncing("sync", func(int) error {
		if err := d.syncing("sync", fails); err == nil {
			t.Error("no error of a sync that failed")
		}
		return nil
	})
	if err == nil {
		t.Error("success beside a sync that was told of a lost write")
	}
	if err := d.Sync(); err == nil {
		t.Error("success after it")
	}
}
