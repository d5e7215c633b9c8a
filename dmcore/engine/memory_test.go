package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
)

func thisBoot(t *testing.T) string {
	t.Helper()
	b, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inMemory is what the file of a run directory tells now.
func inMemory(t *testing.T, dir string) []remembered {
	t.Helper()
	was, err := (&memory{path: filepath.Join(dir, stateName), boot: thisBoot(t)}).read()
	if err != nil {
		t.Fatal(err)
	}
	return was
}

func TestMemoryTellsBeforeTheAnswer(t *testing.T) {
	e := run(t, Config{})
	conn := e.dial()
	c := dmcore.NewClient(conn)
	zero := dmcore.Table{{Length: 64, Target: dmcore.Zero{}}}
	a := remembered{Name: "vg-a", UUID: uuid("a"), Table: zero}
	onA := remembered{Name: "vg-b", UUID: uuid("b"), Table: linear(uuid("a").Dev(), 8, 8)}
	check := func(what string, want ...remembered) {
		t.Helper()
		if d := cmp.Diff(want, inMemory(t, e.dir)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", what, d)
		}
	}
	info := create(t, conn, "a", zero)
	check("a is live", a)
	create(t, conn, "b", linear(info.Dev.Dev(), 8, 8))
	check("b stands on a, by UUID", a, onA)
	if err := c.Rename(t.Context(), a.UUID, "vg-z"); err != nil {
		t.Fatal(err)
	}
	a.Name = "vg-z"
	check("a is renamed", a, onA)
	one := dialNBD(t, e.dir, "vg/z")
	a.Open = true
	check("a is open", a, onA)
	two := dialNBD(t, e.dir, "vg/z")
	if err := c.Load(t.Context(), a.UUID, linear("0:99", 0, 8), false); err == nil {
		t.Error("a table on a device that is not there was loaded")
	}
	check("nothing new", a, onA)
	if err := c.Load(t.Context(), a.UUID, zero[:1], true); err != nil {
		t.Fatal(err)
	}
	check("a table is loaded", a, onA)
	if _, err := c.Resume(t.Context(), a.UUID); err != nil {
		t.Fatal(err)
	}
	a.ReadOnly = true
	check("and live", a, onA)
	if err := c.Remove(t.Context(), onA.UUID); err != nil {
		t.Fatal(err)
	}
	check("b is removed", a)
	for _, nc := range []*nbdClient{one, two} {
		if err := nc.hangUp(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.stop(); err != nil { // closes are written soon, and before the end
		t.Fatal(err)
	}
	a.Open = false
	check("all is closed", a)
}

// Devices stand on one another again after a restart, and hold what was
// written; what was open stays so until its client is back and gone.
func TestRestart(t *testing.T) {
	pv := disk(t, 1<<20)
	e := run(t, Config{})
	under := create(t, e.dial(), "under", linear(pv, 0, 1024))
	create(t, e.dial(), "over", linear(under.Dev.Dev(), 512, 512))
	create(t, e.dial(), "idle", dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
	nc := dialNBD(t, e.dir, "vg/over")
	data := make([]byte, 4096)
	for i := range data {
		data[i] = byte(i % 251)
	}
	if err := errors.Join(nc.write(data, 8192), nc.flush()); err != nil {
		t.Fatal(err)
	}
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}

	again := run(t, Config{RunDir: e.dir})
	conn := again.dial()
	i, err := conn.Engine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]OpenDevice{{Name: "vg-over", Waiting: true}}, i.Open); d != "" || i.Devices != 3 {
		t.Errorf("engine: %+v (-want +got)\n%s", i, d)
	}
	c := dmcore.NewClient(conn)
	if err := c.Remove(t.Context(), uuid("over")); !errors.Is(err, dmcore.ErrBusy) {
		t.Errorf("removing a device whose client may reconnect: %v", err)
	}
	if err := conn.Shutdown(t.Context(), false); !errors.Is(err, dmcore.ErrBusy) {
		t.Errorf("stopping while a client may reconnect: %v", err)
	}
	nc = dialNBD(t, again.dir, "vg/over")
	got := make([]byte, len(data))
	if err := nc.read(got, 8192); err != nil || string(got) != string(data) {
		t.Errorf("not what was written: %v", err)
	}
	i, err = conn.Engine(t.Context())
	if d := cmp.Diff([]OpenDevice{{Name: "vg-over", Clients: 1}}, i.Open); d != "" || err != nil {
		t.Errorf("engine: %v (-want +got)\n%s", err, d)
	}
}

// A second death before the client is back forgets it no more than the first.
func TestOpenIsRememberedUntilTheGraceEnds(t *testing.T) {
	e := run(t, Config{})
	create(t, e.dial(), "a", dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
	dialNBD(t, e.dir, "vg/a")
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	var was []Was
	restore := func(ctx context.Context, ctl dmcore.Control, w []Was) error {
		was = w
		return Rebuild(ctx, ctl, w)
	}
	for range 2 {
		e = run(t, Config{RunDir: e.dir, Restore: restore})
		if len(was) != 1 || !was[0].Open {
			t.Fatalf("restore of %+v; want it open", was)
		}
		if err := e.stop(); err != nil {
			t.Fatal(err)
		}
	}
	e = run(t, Config{RunDir: e.dir, OpenGrace: time.Millisecond})
	conn := e.dial()
	for { // until the grace has ended
		i, err := conn.Engine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i.Open == nil {
			break
		}
	}
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	if m := inMemory(t, e.dir); len(m) != 1 || m[0].Open {
		t.Errorf("remembered: %+v; want it closed", m)
	}
}

func TestRestoreThatFailsChangesNothing(t *testing.T) {
	e := run(t, Config{})
	create(t, e.dial(), "a", dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(e.dir, stateName))
	if err != nil {
		t.Fatal(err)
	}
	reason := errors.New("no such disk")
	err = Serve(t.Context(), Config{RunDir: e.dir, Open: openFile,
		Restore: func(ctx context.Context, ctl dmcore.Control, was []Was) error {
			create(t, ctl, "other", dmcore.Table{{Length: 8, Target: dmcore.Zero{}}})
			return reason
		}})
	if !errors.Is(err, reason) {
		t.Fatalf("serve: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(e.dir, stateName))
	if err != nil || string(after) != string(before) {
		t.Fatalf("%s\nbecame %s (%v)", before, after, err)
	}
	if _, err := os.Stat(filepath.Join(e.dir, controlName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("control socket: %v", err)
	}
}

// A Restore that cannot make everything forgets no device that was open, until
// it is there again.
func TestMissingButOpen(t *testing.T) {
	e := run(t, Config{})
	zero := dmcore.Table{{Length: 8, Target: dmcore.Zero{}}}
	create(t, e.dial(), "a", zero)
	create(t, e.dial(), "b", zero)
	dialNBD(t, e.dir, "vg/a")
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	want := []remembered{{Name: "vg-a", UUID: uuid("a"), Table: zero, Open: true}}
	nothing := func(context.Context, dmcore.Control, []Was) error { return nil }
	for range 2 {
		e = run(t, Config{RunDir: e.dir, Restore: nothing})
		if d := cmp.Diff(want, inMemory(t, e.dir)); d != "" {
			t.Fatalf("(-want +got)\n%s", d)
		}
		if err := e.stop(); err != nil {
			t.Fatal(err)
		}
	}
	e = run(t, Config{RunDir: e.dir, Restore: nothing})
	create(t, e.dial(), "a", zero)
	want[0].Open = false
	if d := cmp.Diff(want, inMemory(t, e.dir)); d != "" {
		t.Errorf("once it is there: (-want +got)\n%s", d)
	}
}

// The first engine of a boot is told so; one after an engine without devices is
// told that.
func TestFirstOfABoot(t *testing.T) {
	var was []Was
	cfg := Config{Restore: func(_ context.Context, _ dmcore.Control, w []Was) error { was = w; return nil }}
	e := run(t, cfg)
	if was != nil {
		t.Errorf("first: %v, want nil", was)
	}
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	cfg.RunDir = e.dir
	run(t, cfg)
	if was == nil || len(was) != 0 {
		t.Errorf("after an engine without devices: %#v, want none, but not nil", was)
	}
}

func TestRebuildRefusesWhatIsMissing(t *testing.T) {
	for name, was := range map[string][]Was{
		"stands on nothing": {{Info: dmcore.Info{Name: "a", UUID: "A"}, Table: linear(dmcore.UUID("B").Dev(), 0, 8)}},
		"stands on itself": {
			{Info: dmcore.Info{Name: "a", UUID: "A"}, Table: linear(dmcore.UUID("B").Dev(), 0, 8)},
			{Info: dmcore.Info{Name: "b", UUID: "B"}, Table: linear(dmcore.UUID("A").Dev(), 0, 8)},
		},
	} {
		e := run(t, Config{})
		if err := Rebuild(t.Context(), e.dial(), was); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDecodeMemory(t *testing.T) {
	const boot = "b"
	for _, c := range []struct {
		text string
		n    int
		err  error
	}{
		{`{"format":1,"boot":"b","devices":[{"name":"a","table":"0 8 zero"}]}`, 1, nil},
		{`{"format":1,"boot":"b","devices":[]}`, 0, nil},
		{`{"format":1,"boot":"other","devices":[{"name":"a","table":"0 8 zero"}]}`, 0, nil},
		{`{"format":2,"boot":"b","devices":[]}`, 0, ErrState},
		{`{"format":1,"boot":"b","devices":[{"name":"a","table":""}]}`, 0, ErrState},
		{`{"format":1,"boot":"b","devices":[{"name":"a","table":"8 8 zero"}]}`, 0, ErrState},
		{`{"format":1,"boot":"b","devi`, 0, ErrState},
		{``, 0, ErrState},
	} {
		got, err := decodeMemory([]byte(c.text), boot)
		if len(got) != c.n || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %+v, %v", c.text, got, err)
		}
	}
}

// What is read is written again as it was.
func FuzzDecodeMemory(f *testing.F) {
	f.Add([]byte(`{"format":1,"boot":"b","devices":[{"name":"a","uuid":"u","table":"0 8 linear /dev/x 0\n8 8 zero","open":true,"torn":true}]}`))
	f.Add([]byte(`{"format":1,"boot":"b","devices":[{"name":"a","readOnly":true,"table":"0 8 snapshot @LVM-a @LVM-b P 8"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		was, err := decodeMemory(b, "b")
		if err != nil || was == nil {
			return
		}
		h := newHost(nil, Config{}.withDefaults(), nil)
		h.missing = was
		lines, err := h.lines()
		if err != nil {
			t.Fatal(err)
		}
		m := &memory{path: filepath.Join(t.TempDir(), stateName), boot: "b"}
		if err := m.write(lines); err != nil {
			t.Fatal(err)
		}
		again, err := m.read()
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if d := cmp.Diff(was, again); d != "" {
			t.Errorf("%q: (-once +twice)\n%s", b, d)
		}
	})
}
