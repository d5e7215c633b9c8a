package inside

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The program under test runs here, and the checkout is here to be read.
func TestCowhandRuns(t *testing.T) {
	Run(t, Cowhand, "--version")
	if _, err := os.Stat(filepath.Join(Source, "go.mod")); err != nil {
		t.Error(err)
	}
}

// Nothing that runs here changes the host: what is written to the root stays in memory, and the host's
// side of it can be mounted for writing, but not written to.
func TestHostIsReadOnly(t *testing.T) {
	const written = "/etc/cowhand-was-here"
	if err := os.WriteFile(written, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	host := t.TempDir()
	if err := syscall.Mount("root", host, "virtiofs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(host, 0); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(host + written); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("on the host, %s that was made in the VM: %v, want %v", written, err, os.ErrNotExist)
	}
	for _, dir := range []string{"/", "/tmp", "/dev/shm", "/etc"} {
		if err := os.WriteFile(host+dir+"/cowhand-was-here", nil, 0o644); !errors.Is(err, syscall.EROFS) {
			t.Errorf("a file in the host's %s: %v, want %v", dir, err, syscall.EROFS)
		}
	}
}

// What scenarios build faults from is in the kernel.
func TestKernelModules(t *testing.T) {
	Run(t, "modprobe", "-a", "dm-snapshot", "dm-thin-pool", "dm-flakey", "dm-delay", "dm-log-writes", "loop", "nbd")
	targets := Run(t, "dmsetup", "targets")
	for _, target := range []string{"error", "linear", "striped", "snapshot-merge", "thin-pool", "flakey", "delay", "log-writes"} {
		wantLine(t, targets, target)
	}
}
