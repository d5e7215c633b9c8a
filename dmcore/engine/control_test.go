package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
)

func decodeResponse(t *testing.T, line []byte) response {
	t.Helper()
	var r response
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return r
}

func TestEveryCommand(t *testing.T) {
	e := run(t, Config{})
	c := dmcore.NewClient(e.dial())
	ctx := t.Context()
	check := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s: (-want +got)\n%s", what, d)
		}
	}
	if v, err := c.Version(ctx); err != nil || v == "" {
		t.Fatalf("version: %q, %v", v, err)
	}
	pv := disk(t, 1<<20)
	id := uuid("a")
	none, err := c.List(ctx)
	check("list", none, []dmcore.Info(nil), err)
	created, err := c.Create(ctx, "vg-a", id)
	check("create", created, dmcore.Info{Name: "vg-a", UUID: id}, err)
	table := linear(pv, 8, 1024)
	check("load", nil, nil, c.Load(ctx, id, table, false))
	inactive, err := c.InactiveTable(ctx, id)
	check("inactive table", inactive.String(), table.String(), err)
	check("clear", nil, nil, c.Clear(ctx, id))
	check("load", nil, nil, c.Load(ctx, id, table, false))
	resumed, err := c.Resume(ctx, id)
	check("resume", resumed.Live, true, err)
	live, err := c.Table(ctx, id)
	check("table", live.String(), table.String(), err)
	devs, err := c.Deps(ctx, id)
	check("deps", devs, []dmcore.Dev{pv}, err)
	status, err := c.Status(ctx, id)
	check("status", status, []dmcore.TargetStatus{{Length: 1024, Type: "linear"}}, err)
	check("suspend", nil, nil, c.Suspend(ctx, id, dmcore.SuspendOptions{}))
	info, err := c.Info(ctx, "vg-a")
	check("info", info.Suspended, true, err)
	resumed, err = c.Resume(ctx, id)
	check("resume", resumed.Suspended, false, err)
	check("rename", nil, nil, c.Rename(ctx, id, "vg-b"))
	waited, err := c.Wait(ctx, id, resumed.EventNr)
	check("wait", waited.Name, dmcore.Name("vg-b"), err)
	_, ok, err := c.Find(ctx, id)
	check("find", ok, true, err)
	check("remove", nil, nil, c.Remove(ctx, id))
	_, ok, err = c.Find(ctx, id)
	check("find", ok, false, err)
}

func TestErrorsOfCommands(t *testing.T) {
	e := run(t, Config{})
	c := dmcore.NewClient(e.dial())
	ctx := t.Context()
	create(t, c.Control(), "a", dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
	create(t, c.Control(), "on-a", linear("0:0", 0, 8))
	message := func() error {
		_, err := c.Control().Do(ctx, dmcore.Message, &dmcore.Request{UUID: uuid("a"), Text: "hello"})
		return err
	}
	_, createErr := c.Create(ctx, "vg-a", "")
	_, infoErr := c.Info(ctx, "nobody")
	load := func(t dmcore.Table) error { return c.Load(ctx, uuid("a"), t, false) }
	_, badName := c.Create(ctx, "\xff", "")
	for _, x := range []struct {
		what string
		err  error
		want error
	}{
		{"create", createErr, dmcore.ErrExists},
		{"info", infoErr, dmcore.ErrNotFound},
		{"remove", c.Remove(ctx, uuid("a")), dmcore.ErrBusy},
		{"message", message(), dmcore.ErrInvalid},
		{"load of no table", load(nil), dmcore.ErrInvalid},
		{"load of a table with a gap", load(dmcore.Table{{Start: 8, Length: 8, Target: dmcore.Zero{}}}), dmcore.ErrInvalid},
		{"name that is not UTF-8", badName, dmcore.ErrInvalid},
	} {
		var de *dmcore.Error
		if !errors.Is(x.err, x.want) || !errors.As(x.err, &de) {
			t.Errorf("%s: %v; want %v", x.what, x.err, x.want)
		}
	}
}

func TestManyClients(t *testing.T) {
	e := run(t, Config{})
	var wg sync.WaitGroup
	for i := range 8 {
		c := e.dial()
		for j := range 4 {
			wg.Go(func() {
				name := fmt.Sprintf("lv%d.%d", i, j)
				create(t, c, name, dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
			})
		}
	}
	wg.Wait()
	list, err := dmcore.NewClient(e.dial()).List(t.Context())
	if err != nil || len(list) != 32 {
		t.Fatalf("%d devices, %v; want 32", len(list), err)
	}
	was, err := (&memory{path: filepath.Join(e.dir, stateName), boot: thisBoot(t)}).read()
	if err != nil || len(was) != 32 {
		t.Fatalf("%d devices remembered, %v; want 32", len(was), err)
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	e := run(t, Config{})
	conn := e.dial()
	c := dmcore.NewClient(conn)
	info := create(t, conn, "a", dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() {
		_, err := c.Wait(ctx, info.UUID, info.EventNr)
		done <- err
	}()
	// Others are served meanwhile on the same connection.
	if _, err := c.Info(t.Context(), info.Name); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Fatalf("wait: %v", err)
	}
	// And so is the connection afterwards.
	if err := c.Rename(t.Context(), info.UUID, "vg-b"); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Wait(t.Context(), info.UUID, info.EventNr); err != nil || got.EventNr == info.EventNr {
		t.Fatalf("wait: %+v, %v", got, err)
	}
}

func TestCancelReachesTheEngine(t *testing.T) {
	e := run(t, Config{})
	info := create(t, e.dial(), "a", dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
	nc, err := net.Dial("unix", filepath.Join(e.dir, controlName))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, `{"id":5,"cmd":"wait","req":{"uuid":%q,"eventNr":%d}}`+"\n", info.UUID, info.EventNr)
	fmt.Fprintln(nc, `{"id":5,"cmd":"cancel"}`)
	d := json.NewDecoder(nc)
	var r response
	if err := d.Decode(&r); err != nil || r.ID != 5 || r.Error == nil || !errors.Is(r.Error.err("wait"), context.Canceled) {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestBadLinesEndTheConnection(t *testing.T) {
	e := run(t, Config{})
	for _, line := range []string{"hello", `{"id":1,"cmd":"version"}}`, `{"id":0,"cmd":"version"}`} {
		nc, err := net.Dial("unix", filepath.Join(e.dir, controlName))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(nc, line)
		d := json.NewDecoder(nc)
		var r response
		if err := d.Decode(&r); err != nil || r.ID != 0 || r.Error == nil {
			t.Errorf("%s: %+v, %v", line, r, err)
		}
		if err := d.Decode(&r); err == nil {
			t.Errorf("%s: more: %+v", line, r)
		}
		nc.Close()
	}
}

func TestClientOfADeadEngine(t *testing.T) {
	e := run(t, Config{})
	conn := e.dial()
	info := create(t, conn, "a", dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
	c := dmcore.NewClient(conn)
	done := make(chan error)
	go func() {
		_, err := c.Wait(t.Context(), info.UUID, info.EventNr)
		done <- err
	}()
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, dmcore.ErrUnavailable) {
		t.Errorf("wait: %v", err)
	}
	if _, err := c.Version(t.Context()); !errors.Is(err, dmcore.ErrUnavailable) {
		t.Errorf("version: %v", err)
	}
	if _, err := Dial(e.dir); !errors.Is(err, dmcore.ErrUnavailable) {
		t.Errorf("dial: %v", err)
	}
}

func TestShutdown(t *testing.T) {
	e := run(t, Config{Version: "v1"})
	c := e.dial()
	create(t, c, "a", dmcore.Table{{Length: 1 << 11, Target: dmcore.Zero{}}})
	i, err := c.Engine(t.Context())
	if err != nil || i.Version != "v1" || i.Devices != 1 || i.PID == 0 || i.Uptime <= 0 || i.Open != nil {
		t.Fatalf("engine: %+v, %v", i, err)
	}
	nc := dialNBD(t, e.dir, "vg/a")
	if err := c.Shutdown(t.Context(), false); !errors.Is(err, dmcore.ErrBusy) {
		t.Fatalf("shutdown with an open device: %v", err)
	}
	nc.Close()
	if err := Stop(t.Context(), e.dir, true); err != nil {
		t.Fatal(err)
	}
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
}
