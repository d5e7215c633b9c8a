package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/configs"
	"cowhand/dmcore/blockdev"
	"cowhand/lvm"
)

// Without a list, the kernel's engine looks where lvm2's settings say; devices that
// a command names come on top, unless those settings rule them out.
func TestDevicesFound(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	if _, err := exec.LookPath("losetup"); err != nil {
		t.Skip("losetup is not installed")
	}
	dir := t.TempDir()
	dev := filepath.Join(dir, "dev")
	if err := os.Mkdir(dev, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		image := filepath.Join(dir, name+".img")
		err := os.WriteFile(image, nil, 0o600)
		if err == nil {
			err = os.Truncate(image, 8<<20)
		}
		if err != nil {
			t.Fatal(err)
		}
		l, err := blockdev.AttachLoop(image, false)
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("losetup", "-d", l.Path).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		if err := os.Symlink(l.Path, filepath.Join(dev, name)); err != nil {
			t.Fatal(err)
		}
	}
	conf := fmt.Sprintf("devices { scan = %q filter = [ \"r|two|\" ] hints = 5 }\n", dev)
	if err := os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LVM_SYSTEM_DIR", dir)
	one, two, image := filepath.Join(dev, "one"), filepath.Join(dev, "two"), filepath.Join(dir, "one.img")

	var told bytes.Buffer
	h := &host{stderr: &told, settings: settings{Config: configs.Config{Engine: configs.EngineKernel}, verbose: true}}
	defer h.close(nil)
	paths, err := h.devicePaths()
	if diff := cmp.Diff([]string{one}, paths); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
	for _, want := range []string{"lvm.conf:1: devices/hints is 5", "not looked at: " + two + " is rejected by r|two| of devices/filter"} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("not told: %s\n%s", want, &told)
		}
	}
	r := &lvmRun{host: h, args: new(lvmArgs)}
	if err := r.know(two); !errors.Is(err, lvm.ErrInvalid) || !strings.Contains(err.Error(), "is rejected by") {
		t.Errorf("a device that is ruled out: %v", err)
	}
	if err := errors.Join(r.know(one), r.know(image)); err != nil {
		t.Error(err)
	}
	if paths, err = h.devicePaths(); err != nil || !cmp.Equal([]string{one, image}, paths) {
		t.Errorf("%q %v", paths, err)
	}

	for _, list := range []settings{
		{Config: configs.Config{Engine: configs.EngineKernel, Devices: []string{two}}},
		{Config: configs.Config{Engine: configs.EngineUserspace, Devices: []string{two}}},
		{Config: configs.Config{Engine: configs.EngineUserspace}},
	} {
		h := &host{stderr: &told, settings: list}
		if paths, err := h.devicePaths(); err != nil || !cmp.Equal(list.Devices, paths) {
			t.Errorf("%+v: %q %v", list.Config, paths, err)
		}
	}
}
