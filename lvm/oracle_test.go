package lvm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cowhand/dmcore/blockdev"
)

// lvm2 is the real thing, confined to loop devices of a test.
type lvm2 struct {
	t     *testing.T
	paths []string
	conf  string
	etc   string
	locks Locks
	store *Store
}

// oracle makes n loop devices of 32 MiB, and confines lvm2 and a Store to them.
func oracle(t *testing.T, n int) *lvm2 {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	for _, tool := range []string{"lvm", "losetup"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	o := &lvm2{t: t, etc: filepath.Join(dir, "etc"), locks: Locks{Dir: filepath.Join(dir, "locks")}}
	for i := range n {
		file := filepath.Join(dir, fmt.Sprintf("pv%d.img", i))
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, 32<<20); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("losetup", "-f", "--show", file).CombinedOutput()
		if err != nil {
			t.Skipf("no loop devices: %v: %s", err, out)
		}
		path := strings.TrimSpace(string(out))
		t.Cleanup(func() {
			if out, err := exec.Command("losetup", "-d", path).CombinedOutput(); err != nil {
				t.Errorf("losetup -d %s: %v: %s", path, err, out)
			}
		})
		o.paths = append(o.paths, path)
	}
	var filter []string
	for _, p := range o.paths {
		filter = append(filter, fmt.Sprintf("%q", "a|^"+p+"$|"))
	}
	o.conf = fmt.Sprintf(`devices/use_devicesfile=0 devices/hints="none" global/use_lvmpolld=0 global/locking_dir=%q activation=0 global/activation=0 devices/filter=[%s,"r|.*|"]`,
		o.locks.Dir, strings.Join(filter, ","))
	o.conf = strings.Replace(o.conf, "activation=0 global/activation=0", "global/activation=0", 1)
	if err := os.MkdirAll(o.etc, 0o700); err != nil {
		t.Fatal(err)
	}
	o.store = &Store{
		Devices: o.paths, Host: "test", Command: "cowhand test", Archive: &Archive{Dir: o.etc},
		Open: func(path string, write bool) (blockdev.Device, error) { return blockdev.OpenFile(path, !write) },
		Now:  func() time.Time { return time.Unix(1800000000, 0).UTC() },
	}
	return o
}

func (o *lvm2) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{args[0], "--config", o.conf, "--driverloaded", "n"}, args[1:]...)
	cmd := exec.CommandContext(ctx, "lvm", args...)
	cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+o.etc, "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C", "TZ=UTC")
	cmd.WaitDelay = time.Second
	return cmd
}

// lvm runs a command that must succeed without a warning but the one about
// activation, and returns what it printed.
func (o *lvm2) lvm(args ...string) string {
	o.t.Helper()
	var out, warnings bytes.Buffer
	cmd := o.command(o.t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &warnings
	if err := cmd.Run(); err != nil {
		o.t.Fatalf("lvm %s: %v\n%s%s", strings.Join(args, " "), err, &out, &warnings)
	}
	for line := range strings.Lines(warnings.String()) {
		if !strings.Contains(line, "Activation disabled") && !strings.Contains(line, "not zeroed") {
			o.t.Errorf("lvm %s: %s", strings.Join(args, " "), line)
		}
	}
	return strings.TrimSpace(out.String())
}
