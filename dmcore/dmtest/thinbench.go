package dmtest

import (
	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

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

// close removes a device that the test may have open.
func (b *bench) close(short string) error {
	for _, f := range b.files {
		f.Close() // closed by the test already, or not
	}
	b.files = nil
	return b.c.Remove(b.ctx, b.uuid(short))
}
