package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"cowhand/test/lab"
)

// A trial fills its snapshot in a group without room. It is paused before the snapshot is lost, and
// goes on, with all that it wrote, when something else is removed: whichever monitor looks then.
func TestTrialWaitsForRoom(t *testing.T) {
	b := newBench(t)
	b.cowhand("try", "web", "--set", "try", "--size", "4M")
	c := b.console("web-try")
	b.cowhand("lvm", "lvcreate", "-l", "100%FREE", "-n", "rest", "herd")
	// Beside it a monitor that is kept from running for a second by others must be in time.
	b.virsh("blkdeviotune", "web-try", "vda", "--total-iops-sec", "30")

	m := b.monitor()
	if err := c.Send("fill 2000"); err != nil {
		t.Fatal(err)
	}
	var acked atomic.Int64
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for {
			n, err := c.Wait(b.ctx, "acked=")
			if err != nil {
				return
			}
			if n, err := strconv.ParseInt(n, 10, 64); err == nil {
				acked.Store(n)
			}
		}
	}()
	m.tells("herd/web.try: is ")
	m.tells("guest web-try is paused: herd/web.try behind its disk vda is 9")
	if got := b.virsh("domstate", "web-try"); got != "paused" {
		t.Fatalf("the guest is %s, want paused", got)
	}
	at := acked.Load()
	if said := b.says("guests"); !strings.Contains(said, "guest web-try is paused: herd/web.try") || !strings.Contains(said, "extend group herd") {
		t.Errorf("cowhand guests says\n%s", said)
	}
	m.kill()
	m = b.monitor()
	m.tells("guest web-try is paused")
	if now := acked.Load(); now > at+1 || now < 100 { // one may have been on the line
		t.Errorf("%d writes were done when it was paused, and now %d", at, now)
	}
	b.cowhand("lvm", "lvremove", "-y", "herd/rest")
	m.tells("herd/web.try: was ")
	m.tells("guest web-try: goes on")
	b.eventually("the guest has gone on", func() bool { return acked.Load() > at+20 })
	m.stop()
	b.virsh("blkdeviotune", "web-try", "vda", "--total-iops-sec", "0")

	b.cowhand("keep", "web", "-y")
	<-counted
	c = b.console("web")
	b.ask(c, "version", firstVersion) // it listens
	b.virsh("shutdown", "web")
	if err := c.Ended(b.ctx); err != nil {
		t.Fatal(err)
	}
	if err := lab.CheckFill(b.onVolume("web", "fill"), int(acked.Load())); err != nil {
		t.Error(err)
	}
	b.generation()
	t.Logf("paused after %d writes, kept after %d", at, acked.Load())
}

// The monitor goes on when the engine was killed, and starts none that was stopped.
func TestMonitorOutlivesTheEngine(t *testing.T) {
	b := newBench(t)
	b.cowhand("snapshot", "web", "--set", "s", "--size", "4M")
	m := b.monitor()
	write := func(mib int) {
		uri := strings.TrimSpace(b.cowhand("engine", "uri", "herd/web"))
		b.output("qemu-io", "-f", "raw", "-c", fmt.Sprintf("write %dM 1M", mib), uri)
	}
	pid := b.enginePID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.tells("the engine is gone")
	m.tells("watches 1 ")
	for mib := range 3 {
		write(mib)
	}
	m.tells("herd/web.s: was 7")

	b.cowhand("engine", "stop", "--force")
	m.tells("the engine is gone")
	if now := b.enginePID(); now != 0 {
		t.Errorf("engine %d was started", now)
	}
	for mib := 3; mib < 6; mib++ { // who needs the engine starts it
		write(mib)
	}
	m.tells("herd/web.s: was ")
	m.stop()
}

// monitored is a monitor that runs.
type monitored struct {
	*bench
	cmd  *exec.Cmd
	said chan string
}

func (b *bench) monitor() *monitored {
	b.Helper()
	settings := filepath.Join(b.Dir, "cowhand.yaml")
	if err := os.WriteFile(settings, []byte("monitor: {interval: 1s}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	m := &monitored{b, b.Command(b.ctx, "cowhand", "--config", settings, "monitor"), make(chan string, 1000)}
	stderr, err := m.cmd.StderrPipe()
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		defer close(m.said)
		lines := bufio.NewReader(stderr)
		for {
			line, err := lines.ReadString('\n')
			if line != "" {
				m.said <- line
			}
			if err != nil {
				return
			}
		}
	}()
	b.Cleanup(func() {
		if m.cmd.ProcessState == nil {
			m.kill()
		}
	})
	m.tells("watches ")
	return m
}

// tells waits until the monitor says something.
func (m *monitored) tells(want string) {
	m.Helper()
	for {
		select {
		case line, ok := <-m.said:
			if !ok {
				m.Fatalf("the monitor ended, and did not say %q", want)
			}
			m.Logf("monitor: %s", strings.TrimRight(line, "\n"))
			if strings.Contains(line, want) {
				return
			}
		case <-m.ctx.Done():
			m.Fatalf("the monitor does not say %q", want)
		}
	}
}

func (m *monitored) kill() {
	m.Helper()
	if err := m.cmd.Process.Kill(); err != nil {
		m.Error(err)
	}
	m.drain()
	m.cmd.Wait() // it was killed
}

// stop asks the monitor to end, which is how it ends.
func (m *monitored) stop() {
	m.Helper()
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		m.Error(err)
	}
	m.drain()
	if err := m.cmd.Wait(); err != nil {
		m.Errorf("the monitor, told to stop: %v", err)
	}
}

func (m *monitored) drain() {
	for line := range m.said {
		m.Logf("monitor: %s", strings.TrimRight(line, "\n"))
	}
}
