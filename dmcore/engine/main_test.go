package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// The test binary stands in for other processes when this is set.
const roleEnv = "COWHAND_ENGINE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "serve": // an engine: DIR
		err := roleServe(os.Args[1])
		NotifyReady(err)
		exit(err)
	case "fail": // an engine that does not get up
		NotifyReady(errors.New("pv0: no such disk"))
		os.Exit(1)
	case "mute":
		os.Exit(7)
	case "slow": // never gets up
		r, _, err := os.Pipe()
		if err == nil {
			_, err = r.Read(make([]byte, 1))
		}
		exit(err)
	case "ensure": // a client that needs an engine: DIR
		exit(roleEnsure(os.Args[1]))
	case "dial": // a client: SOCKET
		exit(roleDial(os.Args[1]))
	case "listen": // an engine of another user: SOCKET
		exit(roleListen(os.Args[1]))
	default:
		exit(fmt.Errorf("unknown role %s", os.Getenv(roleEnv)))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func roleServe(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return Serve(ctx, Config{
		RunDir: dir, Open: openFile, OpenGrace: time.Hour,
		Log:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Ready: func() { NotifyReady(nil) },
	})
}

func roleEnsure(dir string) error {
	c, err := EnsureRunning(context.Background(), dir, func() *exec.Cmd { return role("serve", dir) })
	if err != nil {
		return err
	}
	defer c.Close()
	i, err := c.Engine(context.Background())
	fmt.Println(i.PID)
	return err
}

// role is this binary as another process.
func role(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+name)
	return cmd
}

func openFile(ref dmcore.Dev) (blockdev.Device, error) {
	return blockdev.OpenFile(string(ref), false)
}

// shortDir is a temporary directory whose path a socket's fits in.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "eng")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// disk makes an image file.
func disk(t *testing.T, size int64) dmcore.Dev {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return dmcore.Dev(path)
}

// engine is one that runs in this process.
type engine struct {
	t    testing.TB
	dir  string
	stop func() error // and wait; once more is nothing
}

// run starts an engine and stops it at the end of the test. RunDir and Open
// are filled in where they are missing.
func run(t testing.TB, cfg Config) *engine {
	t.Helper()
	if cfg.RunDir == "" {
		cfg.RunDir = filepath.Join(shortDir(t), "run")
	}
	if cfg.Open == nil {
		cfg.Open = openFile
	}
	ready := make(chan struct{})
	cfg.Ready = func() { close(ready) }
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, cfg) }()
	stopped := false
	e := &engine{t: t, dir: cfg.RunDir, stop: func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-served
	}}
	t.Cleanup(func() {
		if err := e.stop(); err != nil {
			t.Errorf("engine: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-served:
		stopped = true
		t.Fatalf("engine did not start: %v", err)
	}
	return e
}

// dial connects a client until the end of the test.
func (e *engine) dial() *Client {
	e.t.Helper()
	return dial(e.t, e.dir)
}

func dial(t testing.TB, dir string) *Client {
	t.Helper()
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// uuid is that of a volume.
func uuid(name string) dmcore.UUID {
	id := (name + strings.Repeat("x", 32))[:32]
	return dmcore.BuildUUID(strings.Repeat("v", 32), id, "")
}

// create makes the volume vg/name with that table live.
func create(t testing.TB, ctl dmcore.Control, name string, table dmcore.Table) dmcore.Info {
	t.Helper()
	c := dmcore.NewClient(ctl)
	_, err := c.Create(t.Context(), dmcore.BuildName("vg", name, ""), uuid(name))
	if err == nil {
		err = c.Load(t.Context(), uuid(name), table, false)
	}
	var info dmcore.Info
	if err == nil {
		info, err = c.Resume(t.Context(), uuid(name))
	}
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func linear(on dmcore.Dev, start, length dmcore.Sectors) dmcore.Table {
	return dmcore.Table{{Start: 0, Length: length, Target: dmcore.Linear{Dev: on, Start: start}}}
}
