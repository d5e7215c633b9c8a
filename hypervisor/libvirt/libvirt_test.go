//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cowhand/hypervisor"

	"libvirt.org/go/libvirt"
)

// open connects to libvirt's test driver, which lives in this process: one
// host for all connections, with a guest "test" that runs.
func open(t *testing.T) *Conn { t.Helper(); return run(t, "test:///default") }

// run opens a connection and runs the event loop until the test ends.
func run(t *testing.T, uri string) *Conn {
	t.Helper()
	h, err := Open(t.Context(), uri)
	if errors.Is(err, hypervisor.ErrUnavailable) && strings.Contains(err.Error(), "libvirt.so.0") {
		t.Skipf("libvirt.so.0 is not installed: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var loop sync.WaitGroup
	loop.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		loop.Wait()
		if err := errors.Join(h.Close(), h.Close()); err != nil {
			t.Error(err)
		}
	})
	runs := make(chan struct{})
	once := sync.OnceFunc(func() { close(runs) })
	timer, err := libvirt.EventAddTimeout(0, func(timer int) { once(); libvirt.EventUpdateTimeout(timer, -1) })
	if err != nil {
		t.Fatal(err)
	}
	<-runs
	if err := libvirt.EventRemoveTimeout(timer); err != nil {
		t.Fatal(err)
	}
	return h
}

func xml(name, uuid string) string {
	if uuid != "" {
		uuid = "<uuid>" + uuid + "</uuid>"
	}
	return "<domain type='test'><name>" + escape.Replace(name) + "</name>" + uuid + "<memory>4096</memory><os><type>hvm</type></os>" +
		"<devices><graphics type='vnc' port='-1' passwd='secret'/></devices></domain>"
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;")

const (
	uuid1 = "11111111-2222-4333-8444-555555555551"
	uuid2 = "11111111-2222-4333-8444-555555555552"
)

func want(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: %v, want %v", what, err, target)
	}
	if err != nil && strings.Contains(err.Error(), "virError") {
		t.Errorf("%s: the error has codes in it: %v", what, err)
	}
}

func TestLifeOfAGuest(t *testing.T) {
	h, ctx := open(t), t.Context()
	g, err := h.Define(ctx, xml("a<&>'b", uuid1))
	want(t, "define", err, nil)
	if g == nil {
		return
	}
	if g.Name() != "a<&>'b" || g.UUID() != uuid1 {
		t.Errorf("defined %q %s", g.Name(), g.UUID())
	}
	state := func(want hypervisor.State) {
		t.Helper()
		if s, err := g.State(ctx); err != nil || s != want {
			t.Errorf("state %v (%v), want %v", s, err, want)
		}
	}
	state(hypervisor.ShutOff)
	text, err := g.XML(ctx)
	want(t, "xml", err, nil)
	if !strings.Contains(text, "passwd='secret'") {
		t.Errorf("no secrets in the definition:\n%s", text)
	}
	want(t, "shutdown of one that is off", g.Shutdown(ctx), hypervisor.ErrNotRunning)
	want(t, "destroy of one that is off", g.Destroy(ctx), hypervisor.ErrNotRunning)
	want(t, "pause of one that is off", g.Pause(ctx), hypervisor.ErrNotRunning)
	want(t, "start", g.Start(ctx), nil)
	state(hypervisor.Running)
	want(t, "second start", g.Start(ctx), hypervisor.ErrRunning)
	want(t, "undefine of one that runs", g.Undefine(ctx), hypervisor.ErrRunning)
	want(t, "pause", g.Pause(ctx), nil)
	state(hypervisor.Paused)
	want(t, "resume", g.Resume(ctx), nil)
	want(t, "redefine", second(h.Define(ctx, xml("a<&>'b", uuid1))), nil)
	want(t, "shutdown", g.Shutdown(ctx), nil)
	state(hypervisor.ShutOff)
	want(t, "start again", g.Start(ctx), nil)
	want(t, "destroy", g.Destroy(ctx), nil)
	if p, err := g.Persistent(ctx); err != nil || !p {
		t.Errorf("persistent: %v, %v", p, err)
	}
	want(t, "the name with another UUID", second(h.Define(ctx, xml("a<&>'b", uuid2))), hypervisor.ErrExists)
	want(t, "the name without a UUID", second(h.Define(ctx, xml("a<&>'b", ""))), hypervisor.ErrExists)
	want(t, "the UUID under another name", second(h.Define(ctx, xml("c", uuid1))), hypervisor.ErrExists)
	want(t, "no XML", second(h.Define(ctx, "<domain")), hypervisor.ErrInvalid)
	want(t, "not libvirt's XML", second(h.Define(ctx, "<domain type='test'><name>d</name></domain>")), hypervisor.ErrInvalid)
	want(t, "undefine", g.Undefine(ctx), nil)
	want(t, "start of one that is gone", g.Start(ctx), hypervisor.ErrNotFound)
	_, err = h.Guest(ctx, "a<&>'b")
	want(t, "look up one that is gone", err, hypervisor.ErrNotFound)
}

func second[T any](_ T, err error) error { return err }

func TestList(t *testing.T) {
	h, ctx := open(t), t.Context()
	g, err := h.Define(ctx, xml("a", ""))
	want(t, "define", err, nil)
	t.Cleanup(func() { want(t, "undefine", g.Undefine(context.Background()), nil) })
	guests, err := h.Guests(ctx)
	want(t, "list", err, nil)
	var names []string
	for _, g := range guests {
		names = append(names, g.Name())
	}
	if got := strings.Join(names, " "); got != "a test" {
		t.Errorf("guests %q", got)
	}
	if h.URI() != "test:///default" {
		t.Errorf("URI %q", h.URI())
	}
	if v, err := h.Version(ctx); err != nil || v < 1_000_000 {
		t.Errorf("version %v, %v", v, err)
	}
}

// A guest that pays no heed is waited for until the context ends, and an event
// ends the wait: here that of another connection's Destroy.
func TestShutdownWaitsForTheEvent(t *testing.T) {
	h, ctx := open(t), t.Context()
	g, err := h.Define(ctx, xml("slow", uuid2))
	want(t, "define", err, nil)
	t.Cleanup(func() { want(t, "undefine", g.Undefine(context.Background()), nil) })
	want(t, "start", g.Start(ctx), nil)

	changed, unsubscribe := h.subscribe(uuid2)
	defer unsubscribe()
	want(t, "destroy", g.Destroy(ctx), nil)
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
	}
	if off, err := g.(*guest).off(ctx); !off || err != nil {
		t.Errorf("off: %v, %v", off, err)
	}
}

func TestEndedContext(t *testing.T) {
	h := open(t)
	g, err := h.Guest(t.Context(), "test")
	want(t, "look up", err, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, "destroy", g.Destroy(ctx), context.Canceled)
	want(t, "define", second(h.Define(ctx, xml("x", ""))), context.Canceled)
	want(t, "open", second(Open(ctx, "test:///default")), hypervisor.ErrUnavailable)
}

func TestShutdownNeedsTheLoop(t *testing.T) {
	open(t)
	h, err := Open(t.Context(), "test:///default")
	want(t, "open", err, nil)
	defer h.Close()
	g, err := h.Guest(t.Context(), "test")
	want(t, "look up", err, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, "shutdown", g.Shutdown(ctx), errNoLoop)
	if s, err := g.State(t.Context()); s != hypervisor.Running || err != nil {
		t.Errorf("it was asked to power off: %v, %v", s, err)
	}
}

func TestClosed(t *testing.T) {
	open(t)
	h, err := Open(t.Context(), "test:///default")
	want(t, "open", err, nil)
	g, err := h.Guest(t.Context(), "test")
	want(t, "look up", err, nil)
	want(t, "close", h.Close(), nil)
	want(t, "list", second(h.Guests(t.Context())), hypervisor.ErrUnavailable)
	want(t, "state", second(g.State(t.Context())), hypervisor.ErrUnavailable)
}

func TestNoDaemon(t *testing.T) {
	open(t)
	socket := filepath.Join(t.TempDir(), "no-such-socket")
	_, err := Open(t.Context(), "qemu:///system?socket="+socket)
	want(t, "no socket", err, hypervisor.ErrUnavailable)
	_, err = Open(t.Context(), "nonsense:///")
	want(t, "no such hypervisor", err, hypervisor.ErrUnavailable)
	if os.Geteuid() == 0 {
		t.Log("a socket that may not be opened cannot be had as root")
	}
}

func TestSentinels(t *testing.T) {
	for _, tt := range []struct {
		op   string
		code libvirt.ErrorNumber
		want error
	}{
		{"start", libvirt.ERR_RESOURCE_BUSY, hypervisor.ErrInUse},
		{"start", libvirt.ERR_OPERATION_INVALID, hypervisor.ErrRunning},
		{"pause", libvirt.ERR_OPERATION_INVALID, hypervisor.ErrNotRunning},
		{"undefine", libvirt.ERR_OPERATION_INVALID, nil},
		{"define", libvirt.ERR_ACCESS_DENIED, hypervisor.ErrNotAllowed},
		{"define", libvirt.ERR_XML_DETAIL, hypervisor.ErrInvalid},
		{"define", libvirt.ERR_CONFIG_UNSUPPORTED, hypervisor.ErrUnsupported},
		{"start", libvirt.ERR_INTERNAL_ERROR, nil},
	} {
		if got := sentinel(tt.op, tt.code); got != tt.want {
			t.Errorf("%s, code %d: %v, want %v", tt.op, tt.code, got, tt.want)
		}
	}
}
