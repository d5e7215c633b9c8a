package lvm

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cowhand/dmcore/blockdev"
)

// What is zeroed does not take along what lies in the same page, and was written
// there by others past this host's page cache: here, to the file below a loop
// device.
func TestZeroBesideOthers(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, bytes.Repeat([]byte{1}, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	loop, err := blockdev.AttachLoop(image, false)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		f, err := os.Open(loop.Path)
		if err == nil {
			err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
			f.Close()
		}
		if err != nil {
			t.Error(err)
		}
	})
	held, err := os.Open(loop.Path) // as who maps it: what is cached stays
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, err := held.ReadAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err == nil {
		_, err = file.WriteAt([]byte("theirs"), 2048)
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	e := &Engine{Store: &Store{Open: func(path string, write bool) (blockdev.Device, error) { return blockdev.OpenFile(path, !write) }}}
	if err := e.zeroDevice(loop.Path, 0, 1024); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:1025], append(make([]byte, 1024), 1)) {
		t.Errorf("the beginning reads % x …", got[:16])
	}
	if !strings.HasPrefix(string(got[2048:]), "theirs") {
		t.Errorf("beside it %q was written back", got[2048:2054])
	}
}
