package dmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

var thin = map[string]func(*bench){
	"ThinProvisions":     thinProvisions,
	"ThinSnapshots":      thinSnapshots,
	"ThinExternalOrigin": thinExternalOrigin,
	"ThinDiscards":       thinDiscards,
	"ThinDiscardIgnored": thinDiscardIgnored,
	"ThinStaysOnDisk":    thinStaysOnDisk,
	"ThinPoolRefuses":    thinPoolRefuses,
	"ThinRefuses":        thinRefuses,
	"ThinMessages":       thinMessages,
	"ThinPoolGrows":      thinPoolGrows,
	"ThinPoolFullFails":  thinPoolFullFails,
	"ThinPoolFullQueues": thinPoolFullQueues,
	"ThinPoolLow":        thinPoolLow,
	"ThinPoolReadOnly":   thinPoolReadOnly,
	"ThinPoolSuspends":   thinPoolSuspends,
	"ThinSkipsZeroing":   thinSkipsZeroing,
}

const (
	thinBlock = dmcore.MinThinBlock // sectors
	thinMeta  = 4096                // sectors of metadata
)

// poolBench is a bench with a pool.
type poolBench struct {
	*bench
	meta, data dmcore.Dev // linear devices, which can grow
	on         [2]dmcore.Dev
	pool       dmcore.Dev
}

// newPool makes a pool of so many blocks, with room to become twice as large.
func newPool(b *bench, blocks dmcore.Sectors, rest string) *poolBench {
	b.Helper()
	p := &poolBench{bench: b}
	p.on[0], p.on[1] = b.Backing(b.T, 2*thinMeta), b.Backing(b.T, 2*blocks*thinBlock)
	p.meta = b.device("meta", "0 %d linear %s 0", thinMeta, p.on[0])
	p.data = b.device("data", "0 %d linear %s 0", blocks*thinBlock, p.on[1])
	p.pool = b.create("pool")
	p.loadPool(blocks, rest)
	b.resume("pool")
	return p
}

func (p *poolBench) loadPool(blocks dmcore.Sectors, rest string) {
	p.Helper()
	p.load("pool", "0 %d thin-pool %s %s %d %s", blocks*thinBlock, p.meta, p.data, thinBlock, rest)
}

func (p *poolBench) send(messages ...dmcore.ThinMessage) {
	p.Helper()
	p.ok("messages", p.trySend(messages...))
}

func (p *poolBench) trySend(messages ...dmcore.ThinMessage) error {
	return p.c.SendThin(p.ctx, p.uuid("pool"), messages...)
}

// thin makes a thin device of so many blocks and maps it.
func (p *poolBench) thin(short string, id uint32, blocks dmcore.Sectors) {
	p.Helper()
	p.send(dmcore.CreateThin(id))
	p.mapThin(short, id, blocks)
}

func (p *poolBench) mapThin(short string, id uint32, blocks dmcore.Sectors) {
	p.Helper()
	p.device(short, "0 %d thin %s %d", blocks*thinBlock, p.pool, id)
}

// snap makes a snapshot of an active thin device and maps it.
func (p *poolBench) snap(short string, id uint32, of string, origin uint32, blocks dmcore.Sectors) {
	p.Helper()
	p.suspend(of)
	p.send(dmcore.CreateThinSnapshot(id, origin))
	p.resume(of)
	p.mapThin(short, id, blocks)
}

func (p *poolBench) status() dmcore.ThinPoolStatus {
	p.Helper()
	s, err := p.c.ThinPoolStatus(p.ctx, p.uuid("pool"))
	p.ok("status of the pool", err)
	return s
}

// uses fails the test unless the pool has so many data blocks in use.
func (p *poolBench) uses(blocks uint64) {
	p.Helper()
	if s := p.status(); s.UsedData != blocks {
		p.Errorf("the pool is %s, want %d blocks in use", s, blocks)
	}
}

// maps fails the test unless the status line of a thin device is so.
func (p *poolBench) maps(short, want string) {
	p.Helper()
	s, err := p.c.ThinStatus(p.ctx, p.uuid(short))
	p.ok("status of "+short, err)
	if s.String() != want {
		p.Errorf("%s is %q, want %q", short, s, want)
	}
}

func (p *poolBench) discard(short string, sector, n dmcore.Sectors) error {
	p.Helper()
	h, ok := p.open(short).(blockdev.Discarder)
	if !ok {
		p.Fatalf("%s: a lab for thin devices discards", short)
	}
	return h.Discard(sector.Bytes(), n.Bytes())
}

// commit has a device synced, and what was not commited is then.
func (p *poolBench) commit(short string) {
	p.Helper()
	p.ok("sync "+short, p.open(short).Sync())
}

func zeroes(n dmcore.Sectors) []byte { return make([]byte, n.Bytes()) }

func thinProvisions(b *bench) {
	p := newPool(b, 16, "0")
	want := "0 thin-pool " + string(p.meta) // begins the table
	if t, err := p.c.Table(p.ctx, p.uuid("pool")); err != nil || fmt.Sprint(t)[:2] != want[:2] || t[0].Target.Type() != "thin-pool" {
		p.Errorf("table %v, %v", t, err)
	}
	p.thin("a", 7, 100) // more than there is
	p.holds("a", 0, zeroes(256))
	p.maps("a", "0 -")
	p.put("a", 200, pattern(1, 1))
	p.holds("a", 199, zeroes(1))
	p.holds("a", 200, pattern(1, 1))
	p.holds("a", 201, zeroes(55))
	p.maps("a", "128 255")
	p.put("a", 120, pattern(2, 200)) // half a block, one there already, and a piece
	p.holds("a", 120, pattern(2, 200))
	p.holds("a", 320, zeroes(64))
	p.maps("a", "384 383")
	p.put("a", 99*128, pattern(3, 128))
	p.maps("a", "512 12799")
	p.commit("a")
	s := p.status()
	if s.UsedData != 4 || s.TotalData != 16 || s.TotalMetadata != thinMeta/8 || s.Mode != dmcore.ThinPoolWritable ||
		s.Discard != dmcore.DiscardPassdown || s.ErrorIfNoSpace || s.NeedsCheck || s.HeldRoot != 0 || s.LowWater != thinMeta/8/4 {
		p.Errorf("status %+v", s)
	}
	p.suspend("a")
	p.resume("a")
	p.suspend("pool")
	p.resume("pool")
	p.holds("a", 120, pattern(2, 200))
	p.load("a", "0 %d thin %s 7", 2*128, p.pool) // smaller; what is behind stays
	p.resume("a")
	p.maps("a", "512 12799")
	p.load("a", "0 %d thin %s 7", 100*128, p.pool)
	p.resume("a")
	p.holds("a", 99*128, pattern(3, 128))
}

func thinSnapshots(b *bench) {
	p := newPool(b, 32, "0")
	p.thin("a", 0, 8)
	p.put("a", 0, pattern(1, 4*128))
	p.snap("s", 1, "a", 0, 8)
	p.snap("t", 2, "s", 1, 8)
	p.uses(4)
	p.put("a", 130, pattern(2, 2))   // a part of a block
	p.put("s", 256, pattern(3, 128)) // all of one
	p.put("t", 300, pattern(4, 400)) // and what nobody has
	old := pattern(1, 4*128)
	at := func(n int) []byte { return old[n*512:] }
	p.holds("a", 0, old[:130*512])
	p.holds("a", 130, pattern(2, 2))
	p.holds("a", 132, at(132))
	p.holds("s", 0, old[:256*512])
	p.holds("s", 256, pattern(3, 128))
	p.holds("s", 384, at(384))
	p.holds("t", 0, old[:300*512])
	p.holds("t", 300, pattern(4, 400))
	p.holds("t", 700, zeroes(100))
	p.commit("a")
	p.commit("t")
	p.uses(4 + 1 + 1 + 4)
	p.maps("a", "512 511")
	p.maps("t", "768 767")
	p.is("delete what is mapped", p.trySend(dmcore.DeleteThin(1)), dmcore.ErrBusy)
	p.ok("remove", p.c.Remove(p.ctx, p.uuid("s")))
	p.send(dmcore.DeleteThin(1))
	p.uses(4 + 1 + 4)
	p.holds("t", 0, old[:300*512])
	p.is("map what is deleted", p.tryLoad("a", "0 128 thin %s 1", p.pool), dmcore.ErrNotFound)
}

func thinExternalOrigin(b *bench) {
	p := newPool(b, 16, "0")
	base := b.Backing(b.T, 300)
	x := p.device("x", "0 300 linear %s 0", base)
	p.put("x", 0, pattern(9, 300))
	p.send(dmcore.CreateThin(1))
	p.device("a", "0 640 thin %s 1 %s", p.pool, x)
	p.holds("a", 0, pattern(9, 300)[:256*512])
	p.put("a", 5, pattern(1, 1))
	p.put("a", 290, pattern(2, 1)) // in the block where the origin ends
	p.put("a", 600, pattern(3, 1)) // behind it
	old := pattern(9, 300)
	p.holds("a", 0, old[:5*512])
	p.holds("a", 5, pattern(1, 1))
	p.holds("a", 6, old[6*512:290*512])
	p.holds("a", 290, pattern(2, 1))
	p.holds("a", 291, old[291*512:])
	p.holds("a", 300, zeroes(84))
	p.holds("a", 512, zeroes(88))
	p.holds("a", 600, pattern(3, 1))
	p.holds("x", 0, old)
	p.maps("a", "384 639")
	p.is("the pool as origin", p.tryLoad("a", "0 128 thin %s 1 %s", p.pool, p.pool), dmcore.ErrInvalid)
}

func thinDiscards(b *bench) {
	for _, rest := range []string{"0", "0 1 no_discard_passdown"} {
		p := newPool(b, 16, rest)
		p.thin("a", 1, 16)
		p.put("a", 0, pattern(1, 6*128))
		p.snap("s", 2, "a", 1, 16)
		p.put("a", 0, pattern(2, 128))
		p.uses(7)
		p.ok("discard", p.discard("a", 100, 428)) // all of blocks 1 to 3, a part of 0 and 4
		p.commit("a")
		p.maps("a", "384 767")
		p.uses(7)
		p.holds("a", 128, zeroes(384))
		p.holds("s", 0, pattern(1, 6*128))
		p.holds("a", 528, pattern(1, 6*128)[528*512:])
		p.ok("discard", p.discard("s", 0, 6*128))
		p.commit("s")
		p.holds("s", 0, zeroes(6*128))
		p.holds("a", 528, pattern(1, 6*128)[528*512:])
		p.uses(3)
		p.put("s", 256, pattern(3, 1))
		p.holds("s", 257, zeroes(127))
		p.ok("discard less than a block", p.discard("s", 257, 100))
		p.holds("s", 256, pattern(3, 1))
		for _, short := range []string{"a", "s", "pool", "meta", "data"} {
			p.ok("remove "+short, p.close(short))
		}
	}
}

// close removes a device that the test may have open.
func (b *bench) close(short string) error {
	for _, f := range b.files {
		f.Close() // closed by the test already, or not
	}
	b.files = nil
	return b.c.Remove(b.ctx, b.uuid(short))
}

func thinDiscardIgnored(b *bench) {
	p := newPool(b, 16, "0 1 ignore_discard")
	p.thin("a", 1, 16)
	p.put("a", 0, pattern(1, 128))
	if err := p.discard("a", 0, 128); !errors.Is(err, errors.ErrUnsupported) {
		p.Errorf("discard: %v, want unsupported", err)
	}
	p.holds("a", 0, pattern(1, 128))
	if s := p.status(); s.Discard != dmcore.DiscardIgnored {
		p.Errorf("status %s", s)
	}
	p.is("discards all at once", p.tryLoad("pool", "0 %d thin-pool %s %s %d 0", 16*128, p.meta, p.data, thinBlock), dmcore.ErrInvalid)
}

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

func thinRefuses(b *bench) {
	p := newPool(b, 16, "0")
	p.create("a")
	p.is("an id that is not there", p.tryLoad("a", "0 128 thin %s 4", p.pool), dmcore.ErrNotFound)
	p.is("no pool", p.tryLoad("a", "0 128 thin %s 4", p.data), dmcore.ErrInvalid)
	p.send(dmcore.CreateThin(4))
	p.suspend("pool")
	p.is("while the pool is suspended", p.tryLoad("a", "0 128 thin %s 4", p.pool), dmcore.ErrInvalid)
	p.resume("pool")
	p.load("a", "0 128 thin %s 4", p.pool)
	p.resume("a")
	p.is("remove a pool in use", p.c.Remove(p.ctx, p.uuid("pool")), dmcore.ErrBusy)
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

// thinSkipsZeroing: what lay in a new block is to be seen, if that was asked for.
func thinSkipsZeroing(b *bench) {
	p := newPool(b, 4, "0 1 skip_block_zeroing")
	p.thin("a", 1, 4)
	p.put("a", 0, pattern(1, 4*128))
	p.ok("remove", p.close("a"))
	p.send(dmcore.DeleteThin(1), dmcore.CreateThin(2))
	p.mapThin("b", 2, 4)
	p.put("b", 0, pattern(2, 8))
	got := p.get("b", 8, 120)
	old := pattern(1, 4*128)
	if !bytes.Contains(old, got) {
		p.Error("a block was zeroed")
	}
}
