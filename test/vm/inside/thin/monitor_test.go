package thin

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cowhand/dmcore"
	"cowhand/test/vm/inside"
)

// A monitor whose clock stands for an hour is woken by the kernel: by a pool that is
// short of data, then of metadata, and by a snapshot that is lost.
func TestMonitorEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	disk, dir := inside.Disks(t, 1)[0], t.TempDir()
	settings := filepath.Join(dir, "cowhand.yaml")
	for file, text := range map[string]string{
		settings:                       "monitor: {interval: 1h}\n",
		filepath.Join(dir, "lvm.conf"): "activation { thin_pool_autoextend_threshold=70 thin_pool_autoextend_percent=20 monitoring=0 }\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("LVM_SYSTEM_DIR", dir)
	inside.Run(t, "vgcreate", "vg0", disk)
	t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", "vg0") })
	for _, command := range []string{
		"lvcreate -T -L 32M -V 64M -n t1 vg0/pool", "lvcreate -L 16M -n root vg0", "lvcreate -s -L 4M -n snap vg0/root",
	} {
		cowhand(t, disk, strings.Fields(command)...)
	}

	e := engine(disk)
	vg := load(t, e)
	m := monitor(t, disk, settings)
	m.tells("watches 2 snapshots and thin pools")
	inside.Run(t, "dd", "if=/dev/zero", "of=/dev/vg0/t1", "bs=1M", "count=24", "oflag=direct")
	m.tells("vg0/pool (data): was 7")
	m.stop()

	m = monitor(t, disk, settings) // one that looks no more often because the data filled quickly
	m.tells("watches 2 snapshots and thin pools")
	fillMetadata(t, e.DM, dmcore.BuildUUID(string(vg.ID), string(vg.LV("pool").ID), "tpool"), 95)
	m.tells("vg0/pool (metadata): was 8")
	m.stop()

	m = monitor(t, disk, settings)
	m.tells("watches 2 snapshots and thin pools")
	inside.Run(t, "dd", "if=/dev/zero", "of=/dev/vg0/root", "bs=1M", "count=8", "oflag=direct")
	m.tells("vg0/snap: ran full")
	m.stop()

	if got := strings.Fields(inside.Run(t, "lvs", "--noheadings", "-o", "lv_size,lv_metadata_size", "vg0/pool")); !slices.Equal(got, []string{"40.00m", "8.00m"}) {
		t.Errorf("the pool has %v, want 40 and 8 MiB", got)
	}
	if table, want := inside.Run(t, "dmsetup", "table", "vg0-pool-tpool"), fmt.Sprintf(" 128 %d ", 40*16*30/100); !strings.Contains(table, want) {
		t.Errorf("low water mark: %s, want %q", table, want)
	}
}

// monitored is a monitor that runs.
type monitored struct {
	*testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func monitor(t *testing.T, disk, settings string) *monitored {
	t.Helper()
	m := &monitored{T: t, cmd: exec.Command(inside.Cowhand, "--engine", "kernel", "--devices", disk, "--config", settings, "monitor")}
	stderr, err := m.cmd.StderrPipe()
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	m.lines = bufio.NewScanner(stderr)
	t.Cleanup(func() { // should the test not have come to its end
		if m.cmd.ProcessState == nil {
			m.cmd.Process.Kill()
			m.cmd.Wait()
		}
	})
	return m
}

// tells waits until the monitor says something.
func (m *monitored) tells(want string) {
	m.Helper()
	for m.lines.Scan() {
		if m.Logf("monitor: %s", m.lines.Text()); strings.Contains(m.lines.Text(), want) {
			return
		}
	}
	m.Fatalf("the monitor ended, and did not say %q: %v", want, m.lines.Err())
}

// stop asks the monitor to end; it has nothing more to say.
func (m *monitored) stop() {
	m.Helper()
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		m.Fatal(err)
	}
	for m.lines.Scan() {
		m.Errorf("the monitor says: %s", m.lines.Text())
	}
	if err := m.cmd.Wait(); err != nil {
		m.Errorf("the monitor, told to stop: %v", err)
	}
}
