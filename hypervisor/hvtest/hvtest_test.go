package hvtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cowhand/hypervisor"

	"github.com/google/go-cmp/cmp"
)

const (
	uuid1 = "11111111-2222-4333-8444-555555555551"
	uuid2 = "11111111-2222-4333-8444-555555555552"
)

func guestXML(name, uuid, disk string) string {
	if uuid != "" {
		uuid = "<uuid>" + uuid + "</uuid>"
	}
	return "<domain type='kvm'><name>" + name + "</name>" + uuid + "<devices>" + disk + "</devices></domain>"
}

func block(dev, more string) string {
	return "<disk type='block'><source dev='" + dev + "'/><target dev='vda'/>" + more + "</disk>"
}

func want(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: %v, want %v", what, err, target)
	}
}

func define(t *testing.T, h *Host, xml string) hypervisor.Guest {
	t.Helper()
	g, err := h.Define(t.Context(), xml)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Both kinds of host go through the same life; the one in a folder is opened
// anew for each step, as by a new process.
func TestLifeOfAGuest(t *testing.T) {
	memory := New()
	t.Run("memory", func(t *testing.T) { life(t, func() *Host { return memory }) })
	dir := t.TempDir()
	t.Run("folder", func(t *testing.T) {
		life(t, func() *Host {
			h, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			return h
		})
	})
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func life(t *testing.T, host func() *Host) {
	ctx := t.Context()
	const name = "we b&amp;1"
	define(t, host(), guestXML(name, uuid1, ""))
	guest := func() hypervisor.Guest {
		g, err := host().Guest(ctx, "we b&1")
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	state := func(s hypervisor.State) {
		t.Helper()
		if got, err := guest().State(ctx); err != nil || got != s {
			t.Errorf("state %v, %v, want %v", got, err, s)
		}
	}
	state(hypervisor.ShutOff)
	want(t, "shutdown of one that is off", guest().Shutdown(ctx), hypervisor.ErrNotRunning)
	want(t, "destroy of one that is off", guest().Destroy(ctx), hypervisor.ErrNotRunning)
	_, err := guest().Live(ctx)
	want(t, "look at one that is off", err, hypervisor.ErrNotRunning)
	want(t, "pause of one that is off", guest().Pause(ctx), hypervisor.ErrNotRunning)
	want(t, "start", guest().Start(ctx), nil)
	want(t, "second start", guest().Start(ctx), hypervisor.ErrRunning)
	want(t, "undefine of one that runs", guest().Undefine(ctx), hypervisor.ErrRunning)
	activity := func() string {
		t.Helper()
		live, err := guest().Live(ctx)
		want(t, "look at", err, nil)
		if live.XML == "" {
			t.Error("a guest that runs on nothing")
		}
		return live.Activity
	}
	ran := activity()
	want(t, "pause", guest().Pause(ctx), nil)
	state(hypervisor.Paused)
	if now := activity(); now != ran {
		t.Errorf("paused, and did something: %s, was %s", now, ran)
	}
	want(t, "resume", guest().Resume(ctx), nil)
	if now := activity(); now == ran {
		t.Errorf("went on, and did nothing: %s", now)
	}
	state(hypervisor.Running)
	want(t, "shutdown", guest().Shutdown(ctx), nil)
	state(hypervisor.ShutOff)
	want(t, "set state", host().SetState("we b&1", hypervisor.Saved), nil)
	state(hypervisor.Saved)
	want(t, "start", guest().Start(ctx), nil)
	want(t, "destroy", guest().Destroy(ctx), nil)
	for what, xml := range map[string]string{
		"the name with another UUID":  guestXML(name, uuid2, ""),
		"the name without a UUID":     guestXML(name, "", ""),
		"the UUID under another name": guestXML("x", uuid1, ""),
	} {
		_, err := host().Define(ctx, xml)
		want(t, what, err, hypervisor.ErrExists)
	}
	_, err = host().Define(ctx, "no XML")
	want(t, "no XML", err, hypervisor.ErrInvalid)
	define(t, host(), guestXML(name, uuid1, block("/dev/new", "")))
	if xml, err := guest().XML(ctx); err != nil || !strings.Contains(xml, "/dev/new") {
		t.Errorf("redefined as %q, %v", xml, err)
	}
	g := guest()
	want(t, "undefine", g.Undefine(ctx), nil)
	want(t, "start of one that is gone", g.Start(ctx), hypervisor.ErrNotFound)
	_, err = host().Guest(ctx, "we b&1")
	want(t, "look up", err, hypervisor.ErrNotFound)
	if all, err := host().Guests(ctx); err != nil || len(all) != 0 {
		t.Errorf("guests left: %v, %v", all, err)
	}
}

func TestOneWriterForADisk(t *testing.T) {
	h, ctx := New(), t.Context()
	a := define(t, h, guestXML("a", "", block("/dev/x", "")))
	b := define(t, h, guestXML("b", "", block("/dev/x", "")))
	reader := define(t, h, guestXML("r", "", block("/dev/x", "<readonly/>")))
	want(t, "start a", a.Start(ctx), nil)
	want(t, "start b", b.Start(ctx), hypervisor.ErrInUse)
	want(t, "start r", reader.Start(ctx), hypervisor.ErrInUse)
	// What counts is the definition that a guest runs on.
	define(t, h, guestXML("a", a.UUID(), block("/dev/y", "")))
	want(t, "start b while a runs on its old definition", b.Start(ctx), hypervisor.ErrInUse)
	want(t, "shutdown a", a.Shutdown(ctx), nil)
	want(t, "start b", b.Start(ctx), nil)
	want(t, "start a on another disk", a.Start(ctx), nil)
	s := block("/dev/s", "<shareable/>")
	want(t, "start c", define(t, h, guestXML("c", "", s)).Start(ctx), nil)
	want(t, "start d, which shares", define(t, h, guestXML("d", "", s)).Start(ctx), nil)
}

func TestInjectedBehaviour(t *testing.T) {
	h, ctx := New(), t.Context()
	broken, missing := errors.New("broken"), errors.New("no such device")
	var failing string
	h.Fail = func(op, guest string) error {
		if op+" "+guest == failing {
			return broken
		}
		return nil
	}
	h.CheckDisk = func(d hypervisor.Disk) error {
		if d.Source == "/dev/missing" {
			return missing
		}
		return nil
	}
	h.OnShutdown = Hang
	g := define(t, h, guestXML("a", uuid1, block("/dev/x", "")))
	m := define(t, h, guestXML("m", uuid2, block("/dev/missing", "")))
	want(t, "a missing disk", m.Start(ctx), missing)
	failing = "start a"
	want(t, "a failing start", g.Start(ctx), broken)
	failing = ""
	want(t, "start", g.Start(ctx), nil)

	short, cancel := context.WithCancelCause(ctx)
	late := errors.New("too late")
	cancel(late)
	want(t, "shutdown after the end", g.Shutdown(short), context.Canceled)
	short, cancel = context.WithCancelCause(ctx)
	asked := make(chan struct{})
	h.OnShutdown = func(ctx context.Context, guest string) error { close(asked); return Hang(ctx, guest) }
	go func() { <-asked; cancel(late) }()
	err := g.Shutdown(short)
	want(t, "shutdown of a guest that hangs", err, hypervisor.ErrTimeout)
	want(t, "its cause", err, late)
	if s, err := g.State(ctx); err != nil || s != hypervisor.Running {
		t.Errorf("state %v, %v", s, err)
	}
	want(t, "destroy", g.Destroy(ctx), nil)

	wantTrace := []string{"define a", "define m", "start a", "shutdown a", "destroy a"}
	if diff := cmp.Diff(wantTrace, h.Trace()); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.xml", guestXML("a", uuid1, ""))
	write("a.hang", "")
	h, err := Open(dir)
	want(t, "open", err, nil)
	g, err := h.Guest(t.Context(), "a")
	want(t, "look up", err, nil)
	want(t, "start", g.Start(t.Context()), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	<-ctx.Done()
	want(t, "shutdown when it is too late", g.Shutdown(ctx), context.DeadlineExceeded)
	if err := os.Remove(filepath.Join(dir, "a.hang")); err != nil {
		t.Fatal(err)
	}
	want(t, "shutdown", g.Shutdown(t.Context()), nil)
	write("a.state", "happy\n")
	_, err = g.State(t.Context())
	if err == nil || !strings.Contains(err.Error(), "happy") {
		t.Errorf("a state that is none: %v", err)
	}
	if h.URI() != "cowhand-test://"+dir {
		t.Errorf("URI %s", h.URI())
	}
}
