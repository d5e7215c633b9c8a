package thinmeta

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// newPool is a formatted pool, open.
func newPool(t testing.TB, meta int64, data uint64) (*Pool, *blockdev.Mem) {
	t.Helper()
	dev := blockdev.NewMem(meta * BlockSize)
	must(t, Format(dev, 128, data))
	p, err := Open(dev, nil)
	must(t, err)
	return p, dev
}

// provision maps a block to one that is allocated.
func provision(t testing.TB, p *Pool, id uint32, v VBlock) DBlock {
	t.Helper()
	b, err := p.Allocate()
	must(t, err)
	must(t, p.Map(id, v, b))
	return b
}

// The blocks of an empty pool are where the kernel puts them.
func TestFormatAsTheKernel(t *testing.T) {
	_, dev := newPool(t, 1024, 0)
	r, err := Read(dev)
	must(t, err)
	want := Superblock{
		Version: 2, BlockSize: 128, MetadataBlocks: 1024,
		data: smRoot{0, 0, 4, 5}, meta: smRoot{1024, 8, 1, 2}, mappings: 6, details: 7, metaBlockSectors: 8,
	}
	if diff := cmp.Diff(want, r.Superblock(), cmp.AllowUnexported(Superblock{}, smRoot{})); diff != "" {
		t.Errorf("superblock (-want +got)\n%s", diff)
	}
	accepted(t, dev)
}

func TestFormatRefuses(t *testing.T) {
	for _, c := range []struct {
		blocks int64
		size   dmcore.Sectors
		data   uint64
		want   error
	}{
		{1024, 0, 1, dmcore.ErrInvalid},
		{1024, 64, 1, dmcore.ErrInvalid},
		{1024, 129, 1, dmcore.ErrInvalid},
		{1024, 2097152 + 128, 1, dmcore.ErrInvalid},
		{1024, 128, 1 << 40, dmcore.ErrInvalid},
		{3, 128, 1, ErrMetadataFull},
		{100, 128, 200 * perBitmap, ErrMetadataFull},
	} {
		if err := Format(blockdev.NewMem(c.blocks*BlockSize), c.size, c.data); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := Open(blockdev.NewMem(1<<20), nil); !errors.Is(err, ErrUnformatted) {
		t.Errorf("open of zeroes: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	p, dev := newPool(t, 1024, 10)
	must(t, p.CreateThin(1))
	b := provision(t, p, 1, 5)
	must(t, p.Commit())
	_, mapFree := p.Allocate()
	must(t, mapFree)
	_, err := p.Unmap(9, 0, 1)
	_, _, lookup := p.Lookup(9, 1)
	_, device := p.Device(9)
	_, uses := p.Uses(10)
	for name, c := range map[string]struct{ got, want error }{
		"create twice":       {p.CreateThin(1), dmcore.ErrExists},
		"create too high":    {p.CreateThin(1 << 24), dmcore.ErrInvalid},
		"snapshot twice":     {p.CreateSnapshot(1, 1), dmcore.ErrExists},
		"snapshot of none":   {p.CreateSnapshot(2, 9), dmcore.ErrNotFound},
		"delete none":        {p.Delete(9), dmcore.ErrNotFound},
		"unmap none":         {err, dmcore.ErrNotFound},
		"lookup none":        {lookup, dmcore.ErrNotFound},
		"device none":        {device, dmcore.ErrNotFound},
		"map none":           {p.Map(9, 0, 1), dmcore.ErrNotFound},
		"map a block in use": {p.Map(1, 6, b), dmcore.ErrInvalid},
		"map not allocated":  {p.Map(1, 6, 9), dmcore.ErrInvalid},
		"map outside":        {p.Map(1, 6, 10), dmcore.ErrInvalid},
		"uses outside":       {uses, dmcore.ErrInvalid},
		"smaller data":       {p.ResizeData(9), dmcore.ErrInvalid},
		"wrong transaction":  {p.SetTransactionID(1, 2), dmcore.ErrInvalid},
		"release none":       {p.ReleaseMetadataSnapshot(), dmcore.ErrInvalid},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	before := contents(t, dev)
	must(t, p.Commit())
	if !bytes.Equal(before, contents(t, dev)) {
		t.Error("what was refused changed something")
	}
	must(t, p.ReserveMetadataSnapshot())
	if err := p.ReserveMetadataSnapshot(); !errors.Is(err, dmcore.ErrBusy) {
		t.Errorf("a second metadata snapshot: %v", err)
	}
	must(t, p.SetNeedsCheck(true))
	if err := p.CreateThin(3); !errors.Is(err, ErrNeedsCheck) {
		t.Errorf("create in a pool that needs a check: %v", err)
	}
}

// A metadata snapshot stays as it was.
func TestMetadataSnapshot(t *testing.T) {
	p, dev := newPool(t, 1024, 5000)
	must(t, p.CreateThin(1))
	for v := range VBlock(1000) {
		provision(t, p, 1, v)
	}
	must(t, p.ReserveMetadataSnapshot())
	must(t, p.Commit())
	r, err := Read(dev)
	must(t, err)
	held, err := r.Held()
	must(t, err)
	want := read(t, held)
	for round := range 5 {
		must(t, p.CreateSnapshot(uint32(2+round), 1))
		for v := range VBlock(300) {
			provision(t, p, 1, 3*v)
		}
		_, err := p.Unmap(1, 500, 600)
		must(t, err)
		must(t, p.Commit())
		rep, err := Check(dev)
		must(t, err)
		if !rep.Clean() {
			t.Fatalf("%+v", rep)
		}
		r, err := Read(dev)
		must(t, err)
		if held, err = r.Held(); err != nil {
			t.Fatal(err)
		}
		if diff := want.diff(read(t, held)); diff != "" {
			t.Fatalf("the metadata snapshot changes (-was +is)\n%s", diff)
		}
	}
	must(t, p.ReleaseMetadataSnapshot())
	for round := range 5 {
		must(t, p.Delete(uint32(2+round)))
	}
	must(t, p.Delete(1))
	must(t, p.Commit())
	// Nothing is left but what an empty pool has.
	if got := p.Usage(); got.UsedData != 0 || got.UsedMetadata != 9 {
		t.Errorf("an empty pool uses %+v", got)
	}
	accepted(t, dev)
}

// Blocks of a pool that grows, on a metadata device that grows.
func TestResize(t *testing.T) {
	p, dev := newPool(t, 64, 100)
	must(t, p.CreateThin(1))
	for v := range VBlock(100) {
		provision(t, p, 1, v)
	}
	if _, err := p.Allocate(); !errors.Is(err, ErrDataFull) {
		t.Errorf("allocate in a full pool: %v", err)
	}
	must(t, p.ResizeData(3*perBitmap+5))
	if b := provision(t, p, 1, 100); b != 100 {
		t.Errorf("block %d follows 99", b)
	}
	must(t, p.Commit())
	dev.Resize(40000 * BlockSize)
	must(t, p.ResizeMetadata())
	must(t, p.Commit())
	accepted(t, dev)
	for v := VBlock(101); v < 3*perBitmap+5; v++ {
		provision(t, p, 1, v*7)
	}
	must(t, p.Commit())
	if _, err := p.Allocate(); !errors.Is(err, ErrDataFull) {
		t.Errorf("allocate in a full pool: %v", err)
	}
	if got, want := p.Usage().Metadata, uint64(40000); got != want {
		t.Errorf("%d metadata blocks, want %d", got, want)
	}
	accepted(t, dev)
}

// Blocks that are held are not given away, and what is free again is used first.
func TestHold(t *testing.T) {
	p, _ := newPool(t, 1024, 10)
	must(t, p.CreateThin(1))
	for v := range VBlock(10) {
		provision(t, p, 1, v)
	}
	must(t, p.Commit())
	p.Hold(3, 2)
	if n, err := p.Unmap(1, 2, 6); n != 4 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if b, err := p.Allocate(); err == nil {
		t.Errorf("block %d is given away before its release is committed", b)
	}
	must(t, p.Commit())
	for _, want := range []DBlock{2, 5} {
		if b, err := p.Allocate(); b != want || err != nil {
			t.Errorf("allocated %d, %v; want %d", b, err, want)
		}
	}
	if b, err := p.Allocate(); err == nil {
		t.Errorf("block %d is given away, but held", b)
	}
	p.Free(3, 2)
	p.Free(2, 1)
	for _, want := range []DBlock{2, 3, 4} {
		if b, err := p.Allocate(); b != want || err != nil {
			t.Errorf("allocated %d, %v; want %d", b, err, want)
		}
	}
}

// Counts above 2 are in a tree, and leave it again.
func TestManySnapshots(t *testing.T) {
	p, dev := newPool(t, 4096, 5000)
	must(t, p.CreateThin(0))
	for v := range VBlock(600) {
		provision(t, p, 0, v)
	}
	const many = 400
	for id := uint32(1); id < many; id++ {
		must(t, p.CreateSnapshot(id, 0))
		provision(t, p, id, 7) // so that its nodes are its own
	}
	must(t, p.Commit())
	if n, err := p.Uses(1); n != many || err != nil {
		t.Errorf("block 1 is used %d times, %v; want %d", n, err, many)
	}
	accepted(t, dev)
	for id := uint32(1); id < many; id += 2 {
		must(t, p.Delete(id))
	}
	must(t, p.Commit())
	accepted(t, dev)
	for id := uint32(2); id < many; id += 2 {
		must(t, p.Delete(id))
	}
	must(t, p.Commit())
	if n, err := p.Uses(1); n != 1 || err != nil {
		t.Errorf("block 1 is used %d times, %v; want once", n, err)
	}
	accepted(t, dev)
	rep, err := Check(dev)
	must(t, err)
	if !rep.Clean() {
		t.Errorf("%+v", rep)
	}
}

// When metadata runs out, what was committed stays, and room can be made.
func TestMetadataRunsOut(t *testing.T) {
	p, dev := newPool(t, 64, 100000)
	must(t, p.CreateThin(1))
	n := VBlock(0)
	for ; ; n++ {
		b, err := p.Allocate()
		must(t, err)
		if err = p.Map(1, n*300, b); errors.Is(err, ErrMetadataFull) {
			break
		}
		must(t, err)
		if n%100 == 0 {
			must(t, p.Commit())
		}
	}
	must(t, p.Commit())
	accepted(t, dev)
	if got, err := p.Unmap(1, 0, maxVBlock); got != uint64(n) || err != nil {
		t.Errorf("%d blocks unmapped, %v; want %d", got, err, n)
	}
	must(t, p.Commit())
	provision(t, p, 1, 0)
	must(t, p.Commit())
	accepted(t, dev)
}
