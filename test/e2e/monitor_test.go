package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

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
