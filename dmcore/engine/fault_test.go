package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/userspace"
)

// stuck is a device whose writes wait to be let go.
type stuck struct {
	blockdev.Device
	begun, release chan struct{}
	once           sync.Once
}

func (s *stuck) WriteAt(p []byte, off int64) (int, error) {
	s.once.Do(func() { close(s.begun) })
	<-s.release
	return s.Device.WriteAt(p, off)
}

func runStuck(t *testing.T) (*engine, *stuck) {
	s := &stuck{Device: blockdev.NewMem(1 << 20), begun: make(chan struct{}), release: make(chan struct{})}
	e := run(t, Config{Open: func(dmcore.Dev) (blockdev.Device, error) { return s, nil }})
	create(t, e.dial(), "a", linear("/dev/stuck", 0, 2048))
	return e, s
}

// A suspend that waits for I/O can be called off, and then has not happened.
func TestSuspendCalledOff(t *testing.T) {
	e, s := runStuck(t)
	nc := dialNBD(t, e.dir, "vg/a")
	wrote := make(chan error)
	go func() { wrote <- nc.write(make([]byte, 4096), 0) }()
	<-s.begun

	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	conn := e.dial()
	c := dmcore.NewClient(conn)
	suspended := make(chan error)
	go func() { suspended <- c.Suspend(ctx, uuid("a"), dmcore.SuspendOptions{}) }()
	cancel(cause)
	if err := <-suspended; !errors.Is(err, cause) {
		t.Errorf("suspend: %v", err)
	}
	if info, err := c.Info(t.Context(), "vg-a"); err != nil || info.Suspended {
		t.Errorf("after a suspend called off: %+v, %v", info, err)
	}
	close(s.release)
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// A client that dies while its suspend waits leaves nothing suspended.
func TestClientDiesWithinASuspend(t *testing.T) {
	e, s := runStuck(t)
	nc := dialNBD(t, e.dir, "vg/a")
	wrote := make(chan error, 2)
	go func() { wrote <- nc.write(make([]byte, 4096), 0) }()
	<-s.begun
	conn := e.dial()
	suspended := make(chan error)
	go func() {
		suspended <- dmcore.NewClient(conn).Suspend(t.Context(), uuid("a"), dmcore.SuspendOptions{})
	}()
	conn.Close()
	if err := <-suspended; !errors.Is(err, dmcore.ErrUnavailable) {
		t.Errorf("suspend: %v", err)
	}
	close(s.release)
	other := dialNBD(t, e.dir, "vg/a")
	go func() { wrote <- other.write(make([]byte, 4096), 4096) }()
	for range 2 {
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	}
}

// What suspends for an owner that has ended is resumed at once.
func TestLateSuspend(t *testing.T) {
	m := userspaceMachine{userspace.New(openFile)}
	defer m.Close()
	h := newHost(m, Config{}.withDefaults(), nil)
	own := &owner{}
	ctl := &bound{h, own, t.Context()}
	create(t, ctl, "a", dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
	if err := h.end(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	c := dmcore.NewClient(ctl)
	if err := c.Suspend(t.Context(), uuid("a"), dmcore.SuspendOptions{}); err != nil {
		t.Fatal(err)
	}
	if info, err := c.Info(t.Context(), "vg-a"); err != nil || info.Suspended {
		t.Errorf("%+v, %v; want it resumed", info, err)
	}
}

// Without room for its memory the engine grants no open, and says of what it
// did that it is not noted; when there is room again all is noted.
func TestMemoryCannotBeWritten(t *testing.T) {
	e := run(t, Config{})
	conn := e.dial()
	create(t, conn, "a", dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
	inTheWay := filepath.Join(e.dir, stateName+".new")
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	if nc, err := tryNBD(e.dir, "vg/a"); err == nil {
		t.Error("an open that is not noted was granted")
		nc.Close()
	}
	c := dmcore.NewClient(conn)
	if err := c.Rename(t.Context(), uuid("a"), "vg-b"); err == nil || !strings.Contains(err.Error(), "not noted") {
		t.Errorf("rename: %v", err)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resume(t.Context(), uuid("a")); err != nil {
		t.Fatal(err)
	}
	if m := inMemory(t, e.dir); len(m) != 1 || m[0].Name != "vg-b" || m[0].Open {
		t.Errorf("remembered: %+v", m)
	}
}

// An engine does not start on a memory it cannot read, and says what to do.
func TestUnreadableMemory(t *testing.T) {
	dir := filepath.Join(shortDir(t), "run")
	if err := makeRunDir(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Serve(t.Context(), Config{RunDir: dir, Open: openFile})
	if !errors.Is(err, ErrState) || !strings.Contains(err.Error(), filepath.Join(dir, stateName)) || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("%v", err)
	}
}
