package e2e

import (
	"context"
	"encoding/json"
	"fmt"
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
	acked := b.killEngineUnder(c, "web")

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

// The same under a trial, whose disk is the snapshot. Its definition is cowhand's, so where libvirt
// knows how to have QEMU reconnect, the guest does not notice.
func TestEngineKilledUnderATrial(t *testing.T) {
	b := newBench(t)
	b.cowhand("try", "web", "--set", "try")
	c := b.console("web-try")
	b.ask(c, "write v2", "v2")
	acked := b.killEngineUnder(c, "web-try")
	if reconnects := strings.Contains(b.virsh("dumpxml", "web-try"), "<reconnect "); reconnects {
		if acked < goOn {
			t.Errorf("the guest was to reconnect, and came no further than write %d", acked)
		}
	}

	b.cowhand("keep", "web", "-y")
	c = b.console("web")
	b.ask(c, "version", "v2")
	b.virsh("shutdown", "web")
	if err := c.Ended(b.ctx); err != nil {
		t.Fatal(err)
	}
	if err := lab.CheckFill(b.onVolume("web", "fill"), acked); err != nil {
		t.Error(err)
	}
	b.generation()
}

const (
	killedAt = 60  // durable writes before the kill
	goOn     = 200 // and as many as prove that a guest goes on after it
	ring     = 1000
)

// killEngineUnder kills the engine while a guest writes, and pulls the guest's plug when the loss of
// its disk has stopped it, or when it has gone on for a while. It returns how many writes the guest
// was told are durable.
func (b *bench) killEngineUnder(c *lab.Console, guest string) (acked int) {
	b.Helper()
	if err := c.Send(fmt.Sprintf("fill %d", ring)); err != nil {
		b.Fatal(err)
	}
	next := func(patience time.Duration) bool {
		wait, cancel := context.WithTimeout(b.ctx, patience)
		defer cancel()
		n, err := c.Wait(wait, "acked=")
		if err != nil {
			return false
		}
		if acked, err = strconv.Atoi(n); err != nil {
			b.Fatal(err)
		}
		return true
	}
	for acked < killedAt {
		if !next(deadline) {
			b.Fatalf("the guest stands still at write %d:\n%s", acked, c.Tail())
		}
	}
	pid := b.enginePID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		b.Fatal(err)
	}
	for acked < goOn && next(5*time.Second) {
	}
	b.Logf("engine %d killed; %s was told of %d durable writes, and is %q", pid, guest, acked, b.virsh("domstate", "--reason", guest))
	b.virsh("destroy", guest)
	for next(deadline) { // what it said before its end
	}
	b.eventually("another engine runs", func() bool { now := b.enginePID(); return now != 0 && now != pid })
	return acked
}

// enginePID asks the engine for its process; 0: there is none.
func (b *bench) enginePID() int {
	b.Helper()
	var status struct {
		Engine []struct {
			PID int `json:"pid"`
		} `json:"engine"`
	}
	out := b.cowhand("-o", "json", "engine", "status")
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&status); err != nil || len(status.Engine) != 1 {
		b.Fatalf("engine status: %v in %s", err, out)
	}
	return status.Engine[0].PID
}
