package lvm_test

import (
	"testing"

	"cowhand/dmcore/blockdev"
	"cowhand/lvm"
)

// A device of the userspace engine has the number of no node: what /dev/dm-N is for
// its N is a device of the kernel's, and another's. Nothing of a new volume has to be
// zeroed there.
func TestCreateThinZeroesNoStrangersDevice(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	size, err := lvm.ParseSize("16m")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.CreateThinPool(t.Context(), "vg", lvm.ThinPoolSpec{Name: "pool", Size: size, NoZero: true}, true); err != nil {
		t.Fatal(err)
	}
	stranger := map[string]bool{}
	inner := w.Store.Open
	w.Store.Open = func(path string, write bool) (blockdev.Device, error) {
		stranger[path] = w.disks[path] == nil
		return inner(path, write)
	}
	_, err = w.CreateThins(t.Context(), "vg", []lvm.ThinSpec{{Pool: "pool", Name: "t", Size: size}}, lvm.ThinOptions{Activate: true})
	if err != nil {
		t.Error(err)
	}
	for path, is := range stranger {
		if is {
			t.Errorf("%s was opened", path)
		}
	}
}
