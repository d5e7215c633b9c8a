package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cowhand/dmcore/blockdev"
	"cowhand/lvm"
)

func imageHost(t *testing.T) (h *host, image string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	image = filepath.Join(dir, "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 4<<20)); err != nil {
		t.Fatal(err)
	}
	return &host{stderr: io.Discard, settings: settings{lockDir: filepath.Join(dir, "locks")}}, image
}

// A loop device that was attached for a command is detached with its last user;
// one that was there before stays.
func TestNodeOfImage(t *testing.T) {
	h, image := imageHost(t)
	loopOf := func() string {
		t.Helper()
		out, err := exec.Command("losetup", "-n", "-O", "NAME", "-j", image).Output()
		if err != nil {
			t.Skip(err)
		}
		return strings.TrimSpace(string(out))
	}
	dev, err := h.node(image)
	if err != nil {
		t.Skip(err) // as in a container
	}
	path := loopOf()
	if want := fmt.Sprintf("7:%s", strings.TrimPrefix(path, "/dev/loop")); string(dev) != want {
		t.Errorf("%s, want %s", dev, want)
	}
	if again, err := h.node(image); err != nil || again != dev {
		t.Errorf("%s %v", again, err)
	}
	user, err := os.Open(path) // stands for a mapping
	if err != nil {
		t.Fatal(err)
	}
	h.close(nil)
	if loopOf() != path {
		t.Error("it went although somebody uses it")
	}
	other := &host{stderr: io.Discard, settings: h.settings} // the next command
	if again, err := other.node(image); err != nil || again != dev {
		t.Errorf("%s %v", again, err)
	}
	if err := user.Close(); err != nil {
		t.Fatal(err)
	}
	if loopOf() != path {
		t.Error("it went while a command was at work")
	}
	other.close(nil)
	if loopOf() != "" {
		t.Errorf("%s stays", path)
	}
	if _, err := blockdev.AttachLoop(image, false); err != nil {
		t.Fatal(err)
	}
	third := &host{stderr: io.Discard, settings: h.settings}
	if _, err := third.node(image); err != nil {
		t.Fatal(err)
	}
	third.close(nil)
	path = loopOf()
	if path == "" {
		t.Fatal("one that was there before went")
	}
	if out, err := exec.Command("losetup", "-d", path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A disk that a userspace engine has is not mapped by the kernel.
func TestNodeHeld(t *testing.T) {
	h, image := imageHost(t)
	theirs := newDisks(h.lockDir)
	dev, err := theirs.open(image)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.node(image); !errors.Is(err, lvm.ErrInUse) || !strings.Contains(err.Error(), image) {
		t.Errorf("%v", err)
	}
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	if err := newDisks(h.lockDir).unheld(image); err != nil {
		t.Error(err)
	}
}
