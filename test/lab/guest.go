package lab

import (
	"context"
	"debug/elf"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed guest/init
var guestInit []byte

//go:embed guest/stop
var guestStop []byte

//go:embed guest/fetch-kernel
var fetchKernel string

// Boot is what a guest is started from: two files that QEMU's user may read.
type Boot struct {
	Kernel, Initrd string
}

// CacheDir is where the guest's kernel is kept between runs: $COWHAND_LAB_CACHE, else the folder
// cowhand in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("COWHAND_LAB_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("lab: no cache folder for the guest's kernel (set COWHAND_LAB_CACHE): %w", err)
	}
	return filepath.Join(dir, "cowhand"), nil
}

// Kernel returns the folder of a kernel that guests and VMs boot (guest/fetch-kernel tells what lies
// in it). It comes from the cache, and is fetched by apt-get download when the cache has none.
func Kernel(ctx context.Context) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	fetch := exec.CommandContext(ctx, "bash", "-c", fetchKernel, "fetch-kernel", cache)
	if out, err := fetch.CombinedOutput(); err != nil {
		return "", fmt.Errorf("lab: kernel: %w\n%s", err, out)
	}
	return filepath.Join(cache, "linux"), nil
}

// BuildBoot writes the kernel and the first root file system of the lab's guest into dir.
func BuildBoot(ctx context.Context, dir string) (Boot, error) {
	linux, err := Kernel(ctx)
	if err != nil {
		return Boot{}, err
	}
	kernel, err := os.ReadFile(filepath.Join(linux, "vmlinuz"))
	if err != nil {
		return Boot{}, err
	}
	initrd, err := initramfs(ctx, filepath.Join(linux, "guest"))
	if err != nil {
		return Boot{}, err
	}
	b := Boot{Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd")}
	if err := os.WriteFile(b.Kernel, kernel, 0o644); err != nil {
		return Boot{}, err
	}
	return b, os.WriteFile(b.Initrd, initrd, 0o644)
}

// initramfs is busybox under all its names, the modules in the order they must be loaded, and the
// guest's two scripts.
func initramfs(ctx context.Context, modules string) ([]byte, error) {
	box, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("lab: guest: %w", err)
	}
	if err := static(box); err != nil {
		return nil, err
	}
	boxBytes, err := os.ReadFile(box)
	if err != nil {
		return nil, err
	}
	applets, err := exec.CommandContext(ctx, box, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("lab: busybox --list: %w", err)
	}

	var c Cpio
	for _, dir := range []string{"bin", "dev", "disk", "etc", "etc/acpi", "etc/acpi/PWRF", "modules", "proc", "sys"} {
		c.Dir(dir)
	}
	c.Program("init", guestInit)
	c.Program("bin/stop", guestStop)
	c.Link("etc/acpi/PWRF/00000080", "/bin/stop") // what busybox acpid runs for the power button
	c.Program("bin/busybox", boxBytes)
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			c.Link("bin/"+name, "busybox")
		}
	}
	if err := c.Programs("modules", modules); err != nil { // sorted by name: the order of loading
		return nil, err
	}
	return c.Bytes(), nil
}

// static fails for a program that needs a loader, which the guest does not have.
func static(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("lab: %s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("lab: %s is not static: install the package busybox-static", path)
		}
	}
	return nil
}
