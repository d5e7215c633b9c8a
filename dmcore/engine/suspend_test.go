package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
)

// window makes two volumes on pv and leaves both suspended with new tables
// loaded, b last, as a client within a suspend window.
func window(t *testing.T, ctl dmcore.Control, pv dmcore.Dev) (old dmcore.Table) {
	t.Helper()
	old = linear(pv, 0, 8)
	c := dmcore.NewClient(ctl)
	for _, lv := range []string{"a", "b"} {
		create(t, ctl, lv, old)
		if err := c.Load(t.Context(), uuid(lv), linear(pv, 8, 8), false); err != nil {
			t.Fatal(err)
		}
	}
	for _, lv := range []string{"a", "b"} {
		if err := c.Suspend(t.Context(), uuid(lv), dmcore.SuspendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return old
}

// settled waits until the volumes flow again and checks their live tables.
func settled(t *testing.T, e *engine, want map[string]dmcore.Table, torn []dmcore.Name) {
	t.Helper()
	conn := e.dial()
	c := dmcore.NewClient(conn)
	for lv, table := range want {
		// A suspend by us waits for the one who settles: it is under way with the
		// device or done, or has not begun, and then resumes it once more.
		info, err := c.Info(t.Context(), dmcore.BuildName("vg", lv, ""))
		for err == nil && info.Suspended {
			info, err = c.Info(t.Context(), info.Name)
		}
		if err != nil {
			t.Fatal(err)
		}
		live, err := c.Table(t.Context(), uuid(lv))
		if err != nil || !live.Equal(table) || info.Inactive {
			t.Errorf("%s: %v, %+v, %v; want %v and nothing inactive", lv, live, info, err, table)
		}
	}
	i, err := conn.Engine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []dmcore.Name
	for _, d := range i.Torn {
		names = append(names, d.Name)
	}
	if d := cmp.Diff(torn, names); d != "" {
		t.Errorf("torn: (-want +got)\n%s", d)
	}
}

func TestClientDiesWithDevicesSuspended(t *testing.T) {
	pv := disk(t, 1<<20)
	ended := make(chan []dmcore.Info, 1)
	newTable := linear(pv, 8, 8)
	for _, c := range []struct {
		name   string
		repair func(context.Context, dmcore.Control, []dmcore.Info) error
		isNew  bool // the new table is the right one
		torn   []dmcore.Name
	}{
		{name: "no repair", torn: []dmcore.Name{"vg-a", "vg-b"}},
		{
			name:   "repair fails",
			repair: func(context.Context, dmcore.Control, []dmcore.Info) error { return errors.New("no metadata") },
			torn:   []dmcore.Name{"vg-a", "vg-b"},
		},
		{
			name: "repair hangs",
			repair: func(ctx context.Context, _ dmcore.Control, _ []dmcore.Info) error {
				select {} // not even ctx moves it
			},
			torn: []dmcore.Name{"vg-a", "vg-b"},
		},
		{
			name: "repair settles all",
			repair: func(ctx context.Context, ctl dmcore.Control, infos []dmcore.Info) error {
				for _, i := range infos {
					if _, err := dmcore.NewClient(ctl).Resume(ctx, i.UUID); err != nil {
						return err
					}
				}
				return nil
			},
			isNew: true,
		},
		{
			name: "repair clears and suspends again",
			repair: func(ctx context.Context, ctl dmcore.Control, infos []dmcore.Info) error {
				c := dmcore.NewClient(ctl)
				for _, i := range infos {
					if err := errors.Join(c.Clear(ctx, i.UUID), c.Suspend(ctx, i.UUID, dmcore.SuspendOptions{})); err != nil {
						return err
					}
				}
				return nil
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{RepairLimit: 20 * time.Second}
			if c.name == "repair hangs" {
				cfg.RepairLimit = 500 * time.Millisecond
			}
			if c.repair != nil {
				cfg.Repair = func(ctx context.Context, ctl dmcore.Control, infos []dmcore.Info) error {
					ended <- infos
					return c.repair(ctx, ctl, infos)
				}
			}
			e := run(t, cfg)
			conn := e.dial()
			want := window(t, conn, pv)
			if c.isNew {
				want = newTable
			}
			conn.Close()
			if c.repair != nil {
				infos := <-ended
				if len(infos) != 2 || infos[0].Name != "vg-b" || infos[1].Name != "vg-a" || !infos[0].Suspended {
					t.Errorf("repair of %+v; want vg-b, then vg-a", infos)
				}
			}
			settled(t, e, map[string]dmcore.Table{"a": want, "b": want}, c.torn)
		})
	}
}

// A slow client is cut off before its devices are resumed, and learns of it.
func TestSuspendLimit(t *testing.T) {
	pv := disk(t, 1<<20)
	var e *engine
	clientGone := make(chan struct{})
	e = run(t, Config{
		SuspendLimit: time.Second,
		Repair: func(context.Context, dmcore.Control, []dmcore.Info) error {
			<-clientGone
			return errors.New("no metadata")
		},
	})
	conn := e.dial()
	old := window(t, conn, pv)
	info, err := dmcore.NewClient(conn).Info(t.Context(), "vg-a")
	if err == nil {
		_, err = dmcore.NewClient(conn).Wait(t.Context(), info.UUID, info.EventNr)
	}
	if !errors.Is(err, dmcore.ErrUnavailable) {
		t.Errorf("a command of the slow client: %v", err)
	}
	if _, err := dmcore.NewClient(conn).Resume(t.Context(), uuid("a")); !errors.Is(err, dmcore.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("resume by the slow client: %v", err)
	}
	close(clientGone)
	settled(t, e, map[string]dmcore.Table{"a": old, "b": old}, []dmcore.Name{"vg-a", "vg-b"})
}

// A window that ends in time starts the limit anew, and a connection without
// suspended devices has none.
func TestLimitIsOfOneWindow(t *testing.T) {
	fired := make(chan struct{}, 1)
	l := limitTimer{d: time.Hour, f: func() { fired <- struct{}{} }}
	h := newHost(nil, Config{}.withDefaults(), nil)
	own := &owner{first: l.first, none: l.none}
	a, b := &device{}, &device{}
	h.own(a, own)
	since := l.since
	h.own(b, own)
	h.disown(a)
	if !l.since.Equal(since) || l.over(own) {
		t.Error("the limit of a window began again within it")
	}
	l.since = since.Add(-2 * time.Hour)
	if !l.over(own) {
		t.Error("the limit is never over")
	}
	h.disown(b)
	if l.over(own) || l.timer.Stop() {
		t.Error("the limit goes on after the window")
	}
}

// Who suspended last owns a suspend; whoever resumes ends it.
func TestSuspendBelongsToTheLastWhoAsked(t *testing.T) {
	pv := disk(t, 1<<20)
	repaired := make(chan []dmcore.Info, 2)
	e := run(t, Config{Repair: func(ctx context.Context, ctl dmcore.Control, infos []dmcore.Info) error {
		for _, i := range infos {
			if _, err := dmcore.NewClient(ctl).Resume(ctx, i.UUID); err != nil {
				return err
			}
		}
		repaired <- infos
		return nil
	}})
	one, two, three := e.dial(), e.dial(), e.dial()
	window(t, one, pv)
	for _, x := range []struct {
		c  *Client
		lv string
	}{{two, "a"}, {three, "b"}} {
		if err := dmcore.NewClient(x.c).Suspend(t.Context(), uuid(x.lv), dmcore.SuspendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dmcore.NewClient(one).Resume(t.Context(), uuid("b")); err != nil {
		t.Fatal(err)
	}
	three.Close()
	one.Close()
	two.Close()
	if infos := <-repaired; len(infos) != 1 || infos[0].Name != "vg-a" {
		t.Errorf("repair of %+v; want vg-a alone", infos)
	}
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	if len(repaired) != 0 {
		t.Errorf("repair once more: %+v", <-repaired)
	}
}

// I/O that waited for a resume is done after the settling.
func TestQueuedWriteGoesOn(t *testing.T) {
	pv := disk(t, 1<<20)
	e := run(t, Config{})
	conn := e.dial()
	create(t, conn, "a", linear(pv, 0, 2048))
	nc := dialNBD(t, e.dir, "vg/a")
	if err := dmcore.NewClient(conn).Suspend(t.Context(), uuid("a"), dmcore.SuspendOptions{}); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error)
	go func() { wrote <- nc.write(make([]byte, 4096), 0) }()
	conn.Close()
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
}

// An engine that stops with devices suspended settles them first.
func TestStopWithinAWindow(t *testing.T) {
	pv := disk(t, 1<<20)
	e := run(t, Config{})
	conn := e.dial()
	old := window(t, conn, pv)
	nc := dialNBD(t, e.dir, "vg/a")
	wrote := make(chan error)
	go func() { wrote <- nc.write(make([]byte, 4096), 0) }()
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	<-wrote // answered or not, but it does not hang
	again := run(t, Config{RunDir: e.dir})
	settled(t, again, map[string]dmcore.Table{"a": old, "b": old}, []dmcore.Name{"vg-a", "vg-b"})
}

// A device that refuses to go on with its new table stays suspended; the engine
// stops all the same.
func TestStopWithADeviceThatCannotResume(t *testing.T) {
	pv := disk(t, 1<<20)
	e := run(t, Config{})
	conn := e.dial()
	c := dmcore.NewClient(conn)
	real := create(t, conn, "real", linear(pv, 0, 256)).Dev.Dev()
	cow := create(t, conn, "cow", linear(pv, 256, 256)).Dev.Dev()
	create(t, conn, "snap", dmcore.Table{{Length: 256, Target: dmcore.Snapshot{Origin: real, COW: cow, Chunk: 8}}})
	create(t, conn, "a", linear(pv, 512, 256))
	merge := dmcore.Table{{Length: 256, Target: dmcore.SnapshotMerge{Origin: real, COW: cow, Chunk: 8}}}
	if err := c.Load(t.Context(), uuid("a"), merge, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resume(t.Context(), uuid("a")); !errors.Is(err, dmcore.ErrInvalid) {
		t.Fatalf("resume while the snapshot is in use: %v", err)
	}
	if info, err := c.Info(t.Context(), "vg-a"); err != nil || !info.Suspended {
		t.Fatalf("%+v, %v; want it suspended", info, err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- e.stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the engine does not stop")
	}
}
