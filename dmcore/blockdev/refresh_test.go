package blockdev

import (
	"bytes"
	"testing"
)

// Somebody writes a device past this host's page cache, as another host does
// that shares it: here, the file below a loop device.
func TestRefresh(t *testing.T) {
	image := loopImage(t)
	loop := attach(t, image)
	dev, err := OpenFile(loop.Path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	file, err := OpenFile(image, false)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()

	read := func() []byte {
		t.Helper()
		p := make([]byte, 4096)
		if _, err := dev.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		return p
	}
	old := read()
	new := bytes.Repeat([]byte{0x5a}, 4096)
	if _, err := file.WriteAt(new, 0); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(), old) {
		t.Log("the loop device keeps no copy here: nothing to forget")
	}
	if err := dev.Refresh(512, 1024); err != nil { // less than the kernel keeps at a time
		t.Fatal(err)
	}
	if !bytes.Equal(read(), new) {
		t.Error("after Refresh the old contents were read")
	}
	if err := file.Refresh(0, 4096); err != nil {
		t.Error(err)
	}
	rw, err := OpenFile(loop.Path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	if _, err := rw.WriteAt(old, 0); err != nil {
		t.Fatal(err)
	}
	if err := rw.Evict(512, 1024); err != nil {
		t.Fatal(err)
	}
	below := make([]byte, 4096)
	if _, err := file.ReadAt(below, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(below, old) {
		t.Error("after Evict the device has not what was written")
	}
}
