package e2e

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cowhand/test/lab"
)

// The engine is killed while a guest writes to an origin that has a snapshot. It comes back from
// what is on disk: every write that the guest was told is durable is there, the snapshot still holds
// what was there before, and the guest can go on.
func TestEngineKilledWhileAGuestWrites(t *testing.T) {
	b := newBench(t)
	b.virsh("start", "web")
	c := b.console("web")
	b.cowhand("snapshot", "web", "--set", "before")
	b.ask(c, "write v2", "v2")
	if err := c.Send("fill 100000"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(b.ctx, "acked=60"); err != nil {
		t.Fatal(err)
	}
	pid := b.enginePID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	// A guest whose QEMU cannot reconnect is stopped by the error; one whose QEMU can goes on.
	acked := 60
	for quiet := false; !quiet; {
		wait, cancel := context.WithTimeout(b.ctx, 3*time.Second)
		n, err := c.Wait(wait, "acked=")
		cancel()
		if err != nil {
			quiet = true
		} else if acked, err = strconv.Atoi(n); err != nil {
			t.Fatal(err)
		}
		if acked > 400 {
			quiet = true
		}
	}
	t.Logf("engine %d killed; the guest was told of %d durable writes, and is %q", pid, acked, b.virsh("domstate", "--reason", "web"))
	b.virsh("destroy", "web")
	b.cowhand("engine", "start")
	if now := b.enginePID(); now == pid {
		t.Errorf("engine %d lives on", pid)
	}

	if err := lab.CheckFill(b.onVolume("web", "fill"), acked); err != nil {
		t.Error(err)
	}
	b.generation()
	b.virsh("start", "web")
	b.ask(b.console("web"), "version", "v2")
	b.cowhand("rollback", "web", "before", "-y")
	b.ask(b.console("web"), "version", firstVersion)
	if got := b.onVolume("web", "version"); got != firstVersion+"\n" {
		t.Errorf("after the rollback the volume says %q, want %q", got, firstVersion)
	}
}

// enginePID asks the engine for its process.
func (b *bench) enginePID() int {
	b.Helper()
	var status struct {
		Engine []struct {
			PID int `json:"pid"`
		} `json:"engine"`
	}
	out := b.cowhand("-o", "json", "engine", "status")
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&status); err != nil {
		b.Fatalf("engine status: %v in %s", err, out)
	}
	if len(status.Engine) != 1 || status.Engine[0].PID == 0 {
		b.Fatalf("engine status: %s", out)
	}
	return status.Engine[0].PID
}
