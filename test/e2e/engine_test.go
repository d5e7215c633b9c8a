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
// what was there before, and the guest goes on.
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

// The same under a trial, whose disk is the snapshot and whose definition is cowhand's.
func TestEngineKilledUnderATrial(t *testing.T) {
	b := newBench(t)
	b.cowhand("try", "web", "--set", "try")
	c := b.console("web-try")
	b.ask(c, "write v2", "v2")
	acked := b.killEngineUnder(c, "web-try")

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

// killEngineUnder kills the engine while a guest writes, checks what becomes of the guest, and pulls
// its plug. It returns how many writes the guest was told are durable.
//
//	libvirt has QEMU reconnect   the guest goes on by itself; nobody is told anything
//	libvirt does not             it pauses; cowhand guests says how to go on, and so it does
func (b *bench) killEngineUnder(c *lab.Console, guest string) (acked int) {
	b.Helper()
	reconnects, err := lab.Reconnects(b.ctx, b.URI)
	if err != nil {
		b.Fatal(err)
	}
	if has := strings.Contains(b.virsh("dumpxml", guest), "<reconnect "); has != reconnects {
		b.Fatalf("a reconnect delay is in the definition of %s: %v; this libvirt knows it: %v", guest, has, reconnects)
	}
	if err := c.Send(fmt.Sprintf("fill %d", ring)); err != nil {
		b.Fatal(err)
	}
	next := func(ctx context.Context) error {
		n, err := c.Wait(ctx, "acked=")
		if err != nil {
			return err
		}
		acked, err = strconv.Atoi(n)
		return err
	}
	// reaches waits for a write, and resumes a guest that pauses on the way.
	reaches := func(write, resumes int) {
		for acked < write {
			patience, cancel := context.WithTimeout(b.ctx, time.Second)
			err := next(patience)
			cancel()
			if err == nil || patience.Err() != nil && b.ctx.Err() == nil && b.virsh("domstate", guest) == "running" {
				continue
			}
			if resumes--; resumes < 0 || b.ctx.Err() != nil {
				b.Fatalf("the guest stands still at write %d, and is %q: %v", acked, b.virsh("domstate", "--reason", guest), err)
			}
			b.virsh("resume", guest)
		}
	}
	reaches(killedAt, 0)
	pid := b.enginePID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		b.Fatal(err)
	}
	if !reconnects {
		b.eventually("the guest pauses", func() bool { return b.virsh("domstate", guest) == "paused" })
	}
	b.eventually("another engine runs", func() bool { now := b.enginePID(); return now != 0 && now != pid })
	advice := "virsh resume " + guest
	said := b.says("guests")
	if advised := strings.Contains(said, advice); advised == reconnects {
		b.Fatalf("cowhand guests advises %q: %v; the guest goes on by itself: %v\n%s", advice, advised, reconnects, said)
	}
	if reconnects {
		reaches(goOn, 0)
	} else {
		reaches(goOn, 2)
	}
	b.Logf("engine %d killed; %s was told of %d durable writes, and is %q", pid, guest, acked, b.virsh("domstate", "--reason", guest))
	b.virsh("destroy", guest)
	for next(b.ctx) == nil { // what it said before its end
	}
	return acked
}

// says runs cowhand and returns all it prints, complaints included.
func (b *bench) says(args ...string) string {
	b.Helper()
	out, err := b.Command(b.ctx, "cowhand", args...).CombinedOutput()
	if err != nil {
		b.Fatalf("cowhand %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
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
