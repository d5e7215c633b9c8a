package dmtest

import (
	"context"
	"errors"
	"slices"
	"strings"

	"cowhand/dmcore"
)

var commands = map[string]func(*bench){
	"CreateRules":        createRules,
	"CreateFindRemove":   createFindRemove,
	"Rename":             rename,
	"SetUUID":            setUUID,
	"Settle":             settle,
	"UnknownDevice":      unknownDevice,
	"TableRoundTrip":     tableRoundTrip,
	"LoadReplacesClear":  loadReplacesClear,
	"LoadRefuses":        loadRefuses,
	"LoadBeforeGrown":    loadBeforeGrown,
	"NestedCountsAsOpen": nestedCountsAsOpen,
	"NoLoops":            noLoops,
	"DeferredRemove":     deferredRemove,
	"Messages":           messages,
	"WaitForEvents":      waitForEvents,
	"WaitEndsWithCtx":    waitEndsWithCtx,
}

func createRules(b *bench) {
	b.create("a")
	for _, c := range []struct {
		name dmcore.Name
		uuid dmcore.UUID
		want error
	}{
		{b.name("a"), "DMTEST-other", dmcore.ErrExists},
		{b.name("other"), b.uuid("a"), dmcore.ErrExists},
		{"", "DMTEST-other", dmcore.ErrInvalid},
		{"dmtest/slash", "DMTEST-other", dmcore.ErrInvalid},
		{dmcore.Name(strings.Repeat("x", dmcore.MaxName+1)), "DMTEST-other", dmcore.ErrInvalid},
	} {
		_, err := b.c.Create(b.ctx, c.name, c.uuid)
		b.is("create "+string(c.name), err, c.want)
	}
	var e *dmcore.Error
	if _, err := b.c.Create(b.ctx, b.name("a"), ""); !errors.As(err, &e) || e.Cmd != dmcore.Create {
		b.Errorf("error is %#v, want a *dmcore.Error of create", err)
	}
}

func createFindRemove(b *bench) {
	dev := b.create("a")
	info := b.info("a")
	if info.Live || info.Inactive || info.OpenCount != 0 || info.Name != b.name("a") || info.Dev.Dev() != dev {
		b.Errorf("info of a new device: %+v", info)
	}
	list, err := b.c.List(b.ctx)
	b.ok("list", err)
	if !slices.ContainsFunc(list, func(i dmcore.Info) bool { return i.Name == b.name("a") && i.Dev.Dev() == dev }) {
		b.Errorf("list %+v has no %s", list, b.name("a"))
	}
	b.ok("remove", b.c.Remove(b.ctx, b.uuid("a")))
	if _, ok, err := b.c.Find(b.ctx, b.uuid("a")); ok || err != nil {
		b.Errorf("find after remove: %v, %v", ok, err)
	}
	if v, err := b.c.Version(b.ctx); v == "" || err != nil {
		b.Errorf("version %q, %v", v, err)
	}
}

func rename(b *bench) {
	b.create("a")
	b.create("b")
	b.is("to a name in use", b.c.Rename(b.ctx, b.uuid("a"), b.name("b")), dmcore.ErrExists)
	b.is("to a bad name", b.c.Rename(b.ctx, b.uuid("a"), "dmtest/x"), dmcore.ErrInvalid)
	b.ok("rename", b.c.Rename(b.ctx, b.uuid("a"), b.name("c")))
	if got := b.info("a").Name; got != b.name("c") {
		b.Errorf("name %s, want %s", got, b.name("c"))
	}
	if _, err := b.c.Info(b.ctx, b.name("a")); !errors.Is(err, dmcore.ErrNotFound) {
		b.Errorf("the old name: %v, want %v", err, dmcore.ErrNotFound)
	}
}

func setUUID(b *bench) {
	b.create("a")
	info, err := b.c.Create(b.ctx, b.name("b"), "")
	b.ok("create", err)
	if info.UUID != "" {
		b.Errorf("uuid %s of a device that was given none", info.UUID)
	}
	b.is("a uuid in use", b.c.SetUUID(b.ctx, b.name("b"), b.uuid("a")), dmcore.ErrExists)
	b.is("too long a uuid", b.c.SetUUID(b.ctx, b.name("b"), dmcore.UUID(strings.Repeat("x", dmcore.MaxUUID+1))), dmcore.ErrInvalid)
	b.is("of no device", b.c.SetUUID(b.ctx, b.name("c"), "DMTEST-c"), dmcore.ErrNotFound)
	b.ok("set", b.c.SetUUID(b.ctx, b.name("b"), b.uuid("b")))
	b.made = append(b.made, "b")
	if got := b.info("b"); got.Name != b.name("b") || got.UUID != b.uuid("b") {
		b.Errorf("info %+v", got)
	}
	b.is("set again", b.c.SetUUID(b.ctx, b.name("b"), "DMTEST-other"), dmcore.ErrInvalid)
}

// settle: it is for any moment at which no device is suspended, and for devices
// that are there no more.
func settle(b *bench) {
	b.ok("settle", b.c.Settle(b.ctx))
	b.device("a", "0 8 zero")
	b.ok("settle", b.c.Settle(b.ctx))
	b.ok("rename", b.c.Rename(b.ctx, b.uuid("a"), b.name("b")))
	b.device("c", "0 8 zero")
	b.ok("remove", b.c.Remove(b.ctx, b.uuid("a")))
	b.ok("settle", b.c.Settle(b.ctx))
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	if err := b.c.Settle(ctx); err != nil {
		b.is("settle", err, context.Canceled)
	}
}

func unknownDevice(b *bench) {
	const uuid = "DMTEST-nobody"
	table := b.table("0 8 zero")
	for what, err := range map[string]error{
		"load":    b.c.Load(b.ctx, uuid, table, false),
		"clear":   b.c.Clear(b.ctx, uuid),
		"suspend": b.c.Suspend(b.ctx, uuid, dmcore.SuspendOptions{}),
		"remove":  b.c.Remove(b.ctx, uuid),
		"rename":  b.c.Rename(b.ctx, uuid, b.name("x")),
		"table":   second(b.c.Table(b.ctx, uuid)),
		"status":  second(b.c.Status(b.ctx, uuid)),
		"deps":    second(b.c.Deps(b.ctx, uuid)),
		"resume":  second(b.c.Resume(b.ctx, uuid)),
		"wait":    second(b.c.Wait(b.ctx, uuid, 0)),
	} {
		b.is(what, err, dmcore.ErrNotFound)
	}
}

func second[T any](_ T, err error) error { return err }

func tableRoundTrip(b *bench) {
	x, y := b.Backing(b.T, 1024), b.Backing(b.T, 1024)
	b.create("a")
	want := b.table("0 64 linear %s 32\n64 128 striped 2 16 %s 128 %s 0\n192 8 zero\n200 8 error", x, x, y)
	b.ok("load", b.c.Load(b.ctx, b.uuid("a"), want, false))
	got, err := b.c.InactiveTable(b.ctx, b.uuid("a"))
	b.ok("inactive table", err)
	if !got.Equal(want) {
		b.Errorf("inactive table\n%v\nwant\n%v", got, want)
	}
	if live, err := b.c.Table(b.ctx, b.uuid("a")); err != nil || len(live) != 0 {
		b.Errorf("live table before resume: %v, %v", live, err)
	}
	b.resume("a")
	got, err = b.c.Table(b.ctx, b.uuid("a"))
	b.ok("table", err)
	if !got.Equal(want) {
		b.Errorf("table\n%v\nwant\n%v", got, want)
	}
	devs, err := b.c.Deps(b.ctx, b.uuid("a"))
	b.ok("deps", err)
	slices.Sort(devs)
	wantDevs := []dmcore.Dev{x, y}
	slices.Sort(wantDevs)
	if !slices.Equal(devs, wantDevs) {
		b.Errorf("deps %v, want %v", devs, wantDevs)
	}
	status, err := b.c.Status(b.ctx, b.uuid("a"))
	b.ok("status", err)
	if len(status) != 4 || status[0].String() != "0 64 linear" || status[2].String() != "192 8 zero" {
		b.Errorf("status %v", status)
	}
}

func loadReplacesClear(b *bench) {
	b.device("a", "0 8 zero")
	b.load("a", "0 16 zero")
	b.load("a", "0 24 zero")
	if t, _ := b.c.InactiveTable(b.ctx, b.uuid("a")); t.Len() != 24 {
		b.Errorf("inactive table %v, want the second", t)
	}
	if i := b.info("a"); !i.Live || !i.Inactive {
		b.Errorf("info %+v, want both tables", i)
	}
	b.ok("clear", b.c.Clear(b.ctx, b.uuid("a")))
	b.ok("clear again", b.c.Clear(b.ctx, b.uuid("a")))
	if i := b.info("a"); !i.Live || i.Inactive {
		b.Errorf("info %+v, want the live table alone", i)
	}
	b.resume("a")
	if t, _ := b.c.Table(b.ctx, b.uuid("a")); t.Len() != 8 {
		b.Errorf("table %v, want the first", t)
	}
}

func loadRefuses(b *bench) {
	x := b.Backing(b.T, 64)
	b.create("a")
	for table, want := range map[string]error{
		"0 65 linear " + string(x) + " 0":                           dmcore.ErrInvalid, // longer than the device
		"0 8 linear " + string(x) + " 60":                           dmcore.ErrInvalid,
		"0 30 striped 2 8 " + string(x) + " 0 " + string(x) + " 32": dmcore.ErrInvalid, // no whole chunks
		"0 8 linear /no/such/device 0":                              dmcore.ErrNotFound,
		"0 64 snapshot " + string(x) + " " + string(x) + " P 8":     dmcore.ErrInvalid, // origin is COW
	} {
		b.is(table, b.tryLoad("a", "%s", table), want)
	}
	if err := b.tryLoad("a", "0 8 linear /no/such/device 0"); err == nil {
		b.Error("a table on a device that is not there was loaded")
	}
	b.is("an empty table", b.c.Load(b.ctx, b.uuid("a"), nil, false), dmcore.ErrInvalid)
	gap := dmcore.Table{{Start: 0, Length: 8, Target: dmcore.Zero{}}, {Start: 16, Length: 8, Target: dmcore.Zero{}}}
	b.is("a gap", b.c.Load(b.ctx, b.uuid("a"), gap, false), dmcore.ErrInvalid)
	if b.info("a").Inactive {
		b.Error("a refused table is in the slot")
	}
	b.load("a", "0 8 zero") // not the first table any more
	b.resume("a")
	b.is("too long a second table", b.tryLoad("a", "0 65 linear %s 0", x), dmcore.ErrInvalid)
}

// loadBeforeGrown: a device below that is loaded longer counts as what it will be.
func loadBeforeGrown(b *bench) {
	x := b.Backing(b.T, 64)
	low := b.device("low", "0 32 linear %s 0", x)
	b.device("high", "0 32 linear %s 0", low)
	b.is("longer than the device", b.tryLoad("high", "0 64 linear %s 0", low), dmcore.ErrInvalid)
	b.load("low", "0 64 linear %s 0", x)
	b.is("longer than it will be", b.tryLoad("high", "0 65 linear %s 0", low), dmcore.ErrInvalid)
	b.load("high", "0 64 linear %s 0", low)
	b.suspend("high")
	b.resume("low", "high")
	b.put("high", 60, pattern(1, 4))
	b.holds("low", 60, pattern(1, 4))
}

func nestedCountsAsOpen(b *bench) {
	low := b.device("low", "0 64 zero")
	b.device("high", "0 64 linear %s 0", low)
	if n := b.info("low").OpenCount; n != 1 {
		b.Errorf("open count under a live table %d, want 1", n)
	}
	b.is("remove", b.c.Remove(b.ctx, b.uuid("low")), dmcore.ErrBusy)
	b.load("high", "0 64 linear %s 0", low)
	if n := b.info("low").OpenCount; n != 1 {
		b.Errorf("open count under both tables of one device %d, want 1", n)
	}
	b.load("high", "0 64 zero")
	b.resume("high")
	if n := b.info("low").OpenCount; n != 0 {
		b.Errorf("open count after the table is gone %d, want 0", n)
	}
	h := b.open("high")
	if n := b.info("high").OpenCount; n != 1 {
		b.Errorf("open count of an open device %d, want 1", n)
	}
	b.is("remove an open device", b.c.Remove(b.ctx, b.uuid("high")), dmcore.ErrBusy)
	b.ok("close", h.Close())
	b.ok("remove", b.c.Remove(b.ctx, b.uuid("high")))
	b.ok("remove", b.c.Remove(b.ctx, b.uuid("low")))
}

func noLoops(b *bench) {
	low := b.device("low", "0 64 zero")
	err := b.tryLoad("low", "0 64 linear %s 0", low)
	if err == nil { // kernels before 6.4 take it; it holds the device open
		b.ok("clear", b.c.Clear(b.ctx, b.uuid("low")))
		return
	}
	b.is("on itself", err, dmcore.ErrInvalid)
}

func deferredRemove(b *bench) {
	b.device("a", "0 64 zero")
	h := b.open("a")
	_, err := b.Control.Do(b.ctx, dmcore.Remove, &dmcore.Request{UUID: b.uuid("a"), Deferred: true})
	b.ok("deferred remove", err)
	if !b.info("a").DeferredRemove {
		b.Error("the removal is not noted")
	}
	b.ok("read", second(h.ReadAt(make([]byte, 512), 0)))
	b.ok("close", h.Close())
	b.until("it goes with the last close", func() bool { // a kernel has a worker do it
		_, ok, err := b.c.Find(b.ctx, b.uuid("a"))
		b.ok("find", err)
		return !ok
	})
}

func messages(b *bench) {
	b.device("a", "0 64 zero")
	say := func(text string, sector dmcore.Sectors) error {
		return second(b.Control.Do(b.ctx, dmcore.Message, &dmcore.Request{UUID: b.uuid("a"), Text: text, Sector: sector}))
	}
	b.is("a target without messages", say("hello", 0), dmcore.ErrInvalid)
	b.is("outside the device", say("hello", 64), dmcore.ErrInvalid)
	b.is("an empty message", say("", 0), dmcore.ErrInvalid)
	h := b.open("a")
	b.ok("deferred remove", second(b.Control.Do(b.ctx, dmcore.Remove, &dmcore.Request{UUID: b.uuid("a"), Deferred: true})))
	b.ok("cancel it", say("@cancel_deferred_remove", 0))
	b.ok("close", h.Close())
	if b.info("a").DeferredRemove {
		b.Error("the removal is still noted")
	}
}

func waitForEvents(b *bench) {
	b.device("a", "0 64 zero")
	nr := b.info("a").EventNr
	type result struct {
		info dmcore.Info
		err  error
	}
	done := make(chan result, 1)
	go func() {
		info, err := b.c.Wait(b.ctx, b.uuid("a"), nr)
		done <- result{info, err}
	}()
	b.ok("rename", b.c.Rename(b.ctx, b.uuid("a"), b.name("b"))) // an event of a device with a table
	r := <-done
	b.ok("wait", r.err)
	if r.info.EventNr == nr || r.info.Name != b.name("b") {
		b.Errorf("wait gave %+v, want a new event number", r.info)
	}
	if info, err := b.c.Wait(b.ctx, b.uuid("a"), nr); err != nil || info.EventNr == nr {
		b.Errorf("waiting for an old event: %+v, %v", info, err)
	}
}

func waitEndsWithCtx(b *bench) {
	b.device("a", "0 64 zero")
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- second(b.c.Wait(ctx, b.uuid("a"), b.info("a").EventNr)) }()
	cancel()
	b.is("wait", <-done, context.Canceled)
}
