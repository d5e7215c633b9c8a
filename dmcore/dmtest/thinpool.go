package dmtest

import (
	"context"
	"errors"
	"syscall"
	"time"

	"cowhand/dmcore"
)

// thinStaysOnDisk: a pool that is taken apart and put together is the same.
func thinStaysOnDisk(b *bench) {
	p := newPool(b, 16, "0")
	p.thin("a", 1, 16)
	p.put("a", 77, pattern(1, 300))
	p.snap("s", 5, "a", 1, 16)
	p.put("a", 77, pattern(2, 1))
	p.send(dmcore.SetTransactionID(0, 3))
	for _, short := range []string{"a", "s", "pool"} {
		p.ok("remove "+short, p.close(short))
	}
	p.pool = p.create("pool")
	p.loadPool(16, "0")
	p.is("map it before the pool is there", second(p.bench.tryDevice("a", "0 128 thin %s 1", p.pool)), dmcore.ErrInvalid)
	p.resume("pool")
	p.load("a", "0 %d thin %s 1", 16*128, p.pool)
	p.resume("a")
	p.mapThin("s", 5, 16)
	p.holds("a", 77, pattern(2, 1))
	p.holds("a", 78, pattern(1, 300)[512:])
	p.holds("s", 77, pattern(1, 300))
	if s := p.status(); s.TransactionID != 3 || s.UsedData != 4 {
		p.Errorf("status %s, want transaction 3 and 4 blocks", s)
	}
}

// tryDevice makes a device and loads a table that may be refused.
func (b *bench) tryDevice(short, format string, args ...any) (dmcore.Dev, error) {
	b.Helper()
	dev := b.create(short)
	return dev, b.tryLoad(short, format, args...)
}

func thinPoolRefuses(b *bench) {
	p := newPool(b, 16, "0")
	try := func(what, format string, args ...any) {
		p.Helper()
		p.is(what, p.tryLoad("pool", format, args...), dmcore.ErrInvalid)
	}
	try("metadata that is data", "0 128 thin-pool %s %s 128 0", p.data, p.data)
	try("small blocks", "0 2048 thin-pool %s %s 64 0", p.meta, p.data)
	try("odd blocks", "0 2048 thin-pool %s %s 200 0", p.meta, p.data)
	try("beside another", "0 2048 thin-pool %s %s 128 0\n2048 8 linear %s 0", p.meta, p.data, p.data)
	try("beyond the data device", "0 4096 thin-pool %s %s 128 0", p.meta, p.data)
	try("no pool at all", "0 2048 linear %s 0", p.data)
	other := p.Backing(p.T, 2048)
	p.is("other data", p.tryLoad("pool", "0 2048 thin-pool %s %s 128 0", p.meta, other), dmcore.ErrBusy)
	try("other metadata", "0 2048 thin-pool %s %s 128 0", other, p.data)
	err := p.c.Load(p.ctx, p.uuid("pool"), p.table("0 2048 thin-pool %s %s 128 0", p.meta, p.data), true)
	p.is("read-only", err, dmcore.ErrInvalid)
	p.create("b")
	p.is("the metadata of another", p.tryLoad("b", "0 128 thin-pool %s %s 128 0", p.meta, other), dmcore.ErrBusy)
	p.load("pool", "0 1024 thin-pool %s %s 128 0", p.meta, p.data)
	p.is("smaller", p.tryResume("pool"), dmcore.ErrInvalid)
	p.loadPool(16, "0")
	p.resume("pool")
	p.uses(0)
}

func thinMessages(b *bench) {
	p := newPool(b, 16, "0")
	p.send(dmcore.CreateThin(1), "CREATE_snap 2 1", dmcore.SetTransactionID(0, 5))
	for _, c := range []struct {
		text dmcore.ThinMessage
		want error
	}{
		{dmcore.CreateThin(1), dmcore.ErrExists},
		{dmcore.CreateThinSnapshot(2, 1), dmcore.ErrExists},
		{dmcore.CreateThinSnapshot(3, 9), dmcore.ErrNotFound},
		{dmcore.DeleteThin(9), dmcore.ErrNotFound},
		{dmcore.SetTransactionID(0, 6), dmcore.ErrInvalid},
		{"create_thin", dmcore.ErrInvalid},
		{"create_thin 3 4", dmcore.ErrInvalid},
		{"create_thin x", dmcore.ErrInvalid},
		{"create_thin 16777216", dmcore.ErrInvalid},
		{"no_such_thing", dmcore.ErrInvalid},
		{"release_metadata_snap", dmcore.ErrInvalid},
	} {
		p.is(string(c.text), p.trySend(c.text), c.want)
	}
	p.send("reserve_metadata_snap")
	if p.status().HeldRoot == 0 {
		p.Error("no metadata snapshot")
	}
	p.is("a second one", p.trySend("reserve_metadata_snap"), dmcore.ErrBusy)
	p.send("release_metadata_snap")
	s := p.status()
	if s.HeldRoot != 0 || s.TransactionID != 5 {
		p.Errorf("status %s", s)
	}
	p.mapThin("s", 2, 4)
	p.maps("s", "0 -")
}

func thinPoolGrows(b *bench) {
	p := newPool(b, 8, "0")
	p.thin("a", 1, 32)
	p.put("a", 0, pattern(1, 8*128))
	p.load("data", "0 %d linear %s 0", 16*128, p.on[1])
	p.load("meta", "0 %d linear %s 0", 2*thinMeta, p.on[0])
	p.resume("data", "meta")
	p.loadPool(16, "0")
	p.resume("pool")
	if s := p.status(); s.TotalData != 16 || s.TotalMetadata != 2*thinMeta/8 || s.UsedData != 8 {
		p.Errorf("status %s, want twice as much", s)
	}
	p.put("a", 8*128, pattern(2, 8*128))
	p.holds("a", 0, pattern(1, 8*128))
	p.holds("a", 8*128, pattern(2, 8*128))
}

func thinPoolFullFails(b *bench) {
	p := newPool(b, 8, "0 1 error_if_no_space")
	p.thin("a", 1, 32)
	p.put("a", 0, pattern(1, 7*128))
	if err := p.tryPut("a", 7*128, pattern(2, 2*128)); !errors.Is(err, syscall.ENOSPC) {
		p.Fatalf("a write beyond the pool: %v, want ENOSPC", err)
	}
	s := p.status()
	if s.Mode != dmcore.ThinPoolOutOfDataSpace || !s.ErrorIfNoSpace || s.NeedsCheck {
		p.Errorf("status %s", s)
	}
	p.put("a", 0, pattern(3, 7*128)) // what is there can be written
	p.holds("a", 0, pattern(3, 7*128))
	p.holds("a", 9*128, zeroes(128))
	p.grow(16, "0 1 error_if_no_space")
	p.put("a", 7*128, pattern(2, 2*128))
	p.holds("a", 7*128, pattern(2, 2*128))
	p.put("a", 9*128, pattern(4, 7*128))
	if err := p.tryPut("a", 20*128, pattern(2, 1)); !errors.Is(err, syscall.ENOSPC) {
		p.Fatalf("a write beyond the pool: %v, want ENOSPC", err)
	}
	// The kernel takes a flush of a full pool for a write of block 0, which has to be
	// there.
	p.ok("discard", p.discard("a", 2*128, 2*128))
	p.commit("a")
	p.put("a", 20*128, pattern(5, 1))
	if s := p.status(); s.Mode != dmcore.ThinPoolWritable {
		p.Errorf("status %s after a discard", s)
	}
}

// grow gives the pool more data blocks.
func (p *poolBench) grow(blocks dmcore.Sectors, rest string) {
	p.Helper()
	p.load("data", "0 %d linear %s 0", blocks*thinBlock, p.on[1])
	p.resume("data")
	p.loadPool(blocks, rest)
	p.ok("suspend", p.c.Suspend(p.ctx, p.uuid("pool"), dmcore.SuspendOptions{NoFlush: true, SkipLockFS: true}))
	p.resume("pool")
}

// thinPoolFullQueues: a write to a full pool waits until it has grown, and keeps
// neither the pool nor a device that is not flushed from being suspended.
func thinPoolFullQueues(b *bench) {
	p := newPool(b, 4, "0")
	p.thin("a", 1, 32)
	p.put("a", 0, pattern(1, 4*128))
	h := p.open("a")
	done := make(chan error, 1)
	go func() { done <- second(h.WriteAt(pattern(2, 128), 10*65536)) }()
	p.until("the pool is full", func() bool { return p.status().Mode == dmcore.ThinPoolOutOfDataSpace })
	p.holds("a", 0, pattern(1, 4*128)) // others go on
	p.put("a", 3, pattern(3, 1))
	noflush := dmcore.SuspendOptions{NoFlush: true, SkipLockFS: true}
	p.ok("suspend the device", p.c.Suspend(p.ctx, p.uuid("a"), noflush))
	p.resume("a")
	p.ok("suspend the pool", p.c.Suspend(p.ctx, p.uuid("pool"), noflush))
	p.resume("pool")
	select {
	case err := <-done:
		p.Fatalf("a write to a full pool ended: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	p.grow(8, "0")
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	select {
	case err := <-done:
		p.ok("the write", err)
	case <-ctx.Done():
		p.Fatal("the write still waits, the pool has grown")
	}
	p.holds("a", 10*128, pattern(2, 128))
	if s := p.status(); s.Mode != dmcore.ThinPoolWritable || s.UsedData != 5 {
		p.Errorf("status %s", s)
	}
}

// thinPoolLow: an event tells once that there is little room.
func thinPoolLow(b *bench) {
	p := newPool(b, 16, "4")
	p.thin("a", 1, 32)
	nr := func() uint32 { return p.info("pool").EventNr }
	before := nr()
	p.put("a", 0, pattern(1, 12*128))
	if nr() != before {
		p.Fatalf("%d events before there is little room", nr()-before)
	}
	p.put("a", 12*128, pattern(1, 128)) // finds that 4 are left
	if nr() != before+1 {
		p.Fatalf("%d events when there is little room, want 1", nr()-before)
	}
	p.put("a", 13*128, pattern(1, 128))
	if nr() != before+1 {
		p.Errorf("%d events, want 1", nr()-before)
	}
	p.suspend("pool")
	p.resume("pool")
	p.put("a", 14*128, pattern(1, 128))
	if nr() != before+2 {
		p.Errorf("%d events after a resume, want 2", nr()-before)
	}
}

func thinPoolReadOnly(b *bench) {
	p := newPool(b, 16, "0")
	p.thin("a", 1, 16)
	p.put("a", 0, pattern(1, 2*128))
	p.snap("s", 2, "a", 1, 16)
	p.put("a", 0, pattern(2, 128))
	p.commit("a")
	p.loadPool(16, "0 1 read_only")
	p.resume("pool")
	if s := p.status(); s.Mode != dmcore.ThinPoolReadOnly {
		p.Errorf("status %s", s)
	}
	p.put("a", 0, pattern(3, 128)) // its own
	p.holds("a", 0, pattern(3, 128))
	p.holds("a", 128, pattern(1, 2*128)[65536:])
	p.holds("a", 512, zeroes(8))
	p.is("write what is shared", p.tryPut("a", 128, pattern(4, 1)), dmcore.ErrIO)
	p.is("write what is not there", p.tryPut("a", 512, pattern(4, 1)), dmcore.ErrIO)
	if err := p.trySend(dmcore.CreateThin(3)); err == nil {
		p.Error("a message to a pool that is read-only was taken")
	}
	p.loadPool(16, "0")
	p.resume("pool")
	p.put("a", 128, pattern(4, 1))
	p.holds("s", 128, pattern(1, 2*128)[65536:])
	p.send(dmcore.CreateThin(3))
}

// thinPoolSuspends: I/O of thin devices waits while the pool is suspended.
func thinPoolSuspends(b *bench) {
	p := newPool(b, 16, "0")
	p.thin("a", 1, 16)
	h := p.open("a")
	p.suspend("pool")
	const writers = 4
	done := make(chan error, writers)
	for i := range writers {
		go func() { done <- second(h.WriteAt(pattern(uint64(i), 1), int64(i)*65536)) }()
	}
	select {
	case err := <-done:
		p.Fatalf("a write ended while the pool is suspended: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	p.uses(0)
	p.send(dmcore.CreateThin(2)) // messages are taken all the same
	p.resume("pool")
	for range writers {
		p.ok("write", <-done)
	}
	for i := range writers {
		p.holds("a", dmcore.Sectors(i)*128, pattern(uint64(i), 1))
	}
}
