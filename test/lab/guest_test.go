package lab

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The guest boots on an NBD export under a private libvirt, says and changes what its disk holds,
// obeys the power button, and what it wrote is found again by e2fsprogs.
func TestGuest(t *testing.T) {
	NeedGuest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := Dir(t)

	var began time.Time
	took := func(what string) {
		t.Helper()
		t.Logf("%s: %.2f s", what, time.Since(began).Seconds())
		began = time.Now()
	}
	began = time.Now()
	boot, err := BuildBoot(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk.img")
	if err := Image(ctx, disk, 32, map[string]string{"version": "v1\n"}); err != nil {
		t.Fatal(err)
	}
	took("kernel, initramfs and disk built")
	socket := filepath.Join(dir, "nbd.sock")
	serve(t, disk, socket)
	uri := "nbd+unix:///disk?socket=" + socket
	took("qemu-nbd started")

	l, err := StartLibvirt(ctx, Mkdir(t, dir, "libvirt"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	took("libvirt started")

	xml := filepath.Join(dir, "web.xml")
	if err := os.WriteFile(xml, []byte(Domain{Name: "web", Boot: boot, Source: uri, Words: "cowhand.write=v2"}.XML()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"define", "--validate", xml}, {"start", "web"}} {
		if _, err := l.Virsh(ctx, args...); err != nil {
			t.Fatal(err)
		}
	}
	took("guest defined and started")
	c, err := Attach(ctx, l.URI, "web")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	took("guest answers")

	expect := func(command, prefix, want string) {
		t.Helper()
		got, err := c.Do(ctx, command, prefix)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: guest says %s%s, want %s", command, prefix, got, want)
		}
	}
	expect("version", "version=", "v2")
	expect("write v3 of it", "version=", "v3 of it")
	if got, err := ReadFile(ctx, uri, Extent{}, "version"); err != nil || got != "v3 of it\n" {
		t.Errorf("e2fsprogs reads %q, %v while the guest runs, want v3 of it", got, err)
	}
	expect("fill 20", "acked=", "1")
	expect("version", "acked=", "2")
	if _, err := c.Wait(ctx, "acked=20"); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	if _, err := l.Virsh(ctx, "shutdown", "--mode", "acpi", "web"); err != nil {
		t.Fatal(err)
	}
	if err := c.Ended(ctx); err != nil {
		t.Fatal(err)
	}
	took("guest off by its power button")

	fill, err := ReadFile(ctx, disk, Extent{}, "fill")
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckFill(fill, 20); err != nil {
		t.Error(err)
	}
	if err := CheckFill(strings.Replace(fill, "count=000000007", "count=000000006", 1), 20); err == nil {
		t.Error("a block that lost its number passes for whole")
	}
}

// serve exports the image as "disk" to QEMU's user until the test ends.
func serve(t *testing.T, image, socket string) {
	t.Helper()
	cmd := exec.Command("qemu-nbd", "--persistent", "--shared=4", "-f", "raw", "-x", "disk", "--socket", socket, image)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it says that it was killed
	})
	for {
		err := os.Chmod(socket, 0o777)
		if err == nil {
			return
		}
		if !errors.Is(err, fs.ErrNotExist) || t.Context().Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // qemu-nbd tells nobody when its socket is there
	}
}
