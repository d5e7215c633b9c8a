package thinbytes

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/thinmeta"
	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) { inside.Main(m) }

const (
	block     = 64 << 10
	chunk     = dmcore.Sectors(block / dmcore.SectorSize)
	dataTotal = 3000 // blocks of the pool
	span      = 256  // blocks of a thin device
	ids       = 6
)

// pool is a pool on two disks, and what its devices are to hold: a stamp for
// each block that is mapped.
type pool struct {
	t          *testing.T
	rng        *rand.Rand
	meta, data string
	devices    map[uint32]map[uint64]uint64
	tid        uint64
}

func newPool(t *testing.T) *pool {
	disks := inside.Disks(t, 2)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		must(t, err)
	}
	t.Logf("COWHAND_SEED=%d", seed)
	return &pool{t: t, rng: rand.New(rand.NewPCG(seed, 0)), meta: disks[0], data: disks[1], devices: map[uint32]map[uint64]uint64{}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contents is a block with a stamp; 0 is for one that is not mapped.
func contents(stamp uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, stamp), block/8)
}

// open opens a disk of which nothing old is cached.
func (p *pool) open(path string) *blockdev.File {
	p.t.Helper()
	inside.Run(p.t, "blockdev", "--flushbufs", path)
	f, err := blockdev.OpenFile(path, false)
	must(p.t, err)
	return f
}

// start makes the kernel's pool.
func (p *pool) start() {
	p.t.Helper()
	inside.Run(p.t, "dmsetup", "create", "tp", "--table",
		fmt.Sprintf("0 %d thin-pool %s %s %d 0", dataTotal*int(chunk), p.meta, p.data, chunk))
}

func (p *pool) stop() {
	p.t.Helper()
	inside.Run(p.t, "dmsetup", "remove", "--retry", "tp")
}

func (p *pool) message(format string, args ...any) {
	p.t.Helper()
	inside.Run(p.t, "dmsetup", "message", "tp", "0", fmt.Sprintf(format, args...))
}

// thin calls f with a thin device of the kernel's.
func (p *pool) thin(id uint32, f func(dev *os.File)) {
	p.t.Helper()
	name := fmt.Sprint("tp-", id)
	inside.Run(p.t, "dmsetup", "create", name, "--table", fmt.Sprintf("0 %d thin /dev/mapper/tp %d", span*int(chunk), id))
	dev, err := os.OpenFile("/dev/mapper/"+name, os.O_RDWR, 0)
	must(p.t, err)
	f(dev)
	must(p.t, dev.Sync())
	must(p.t, dev.Close())
	inside.Run(p.t, "dmsetup", "remove", "--retry", name)
}

// kernel lets the kernel compare all devices, and change some.
func (p *pool) kernel() {
	p.t.Helper()
	p.start()
	if status := inside.Run(p.t, "dmsetup", "status", "tp"); len(p.devices) > 0 {
		st, err := dmcore.ParseThinPoolStatus(params(status))
		must(p.t, err)
		if st.TransactionID != p.tid || st.Mode != dmcore.ThinPoolWritable || st.NeedsCheck {
			p.t.Errorf("status %v, want transaction id %d", st, p.tid)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.devices)) {
		p.thin(id, func(dev *os.File) { p.compare(id, dev) })
	}
	for range 6 {
		id := p.rng.Uint32N(ids)
		switch d := p.devices[id]; {
		case d != nil && p.rng.IntN(5) == 0:
			p.message("delete %d", id)
			delete(p.devices, id)
		case d == nil && len(p.devices) > 0 && p.rng.IntN(4) > 0:
			origin := p.any()
			p.message("create_snap %d %d", id, origin)
			p.devices[id] = maps.Clone(p.devices[origin])
		case d == nil:
			p.message("create_thin %d", id)
			p.devices[id] = map[uint64]uint64{}
		default:
			p.thin(id, func(dev *os.File) { p.writeKernel(id, dev) })
		}
	}
	p.message("set_transaction_id %d %d", p.tid, p.tid+1)
	p.tid++
	p.stop()
}

// params is what follows start, length and type in a status line.
func params(status string) string {
	f := bytes.SplitN([]byte(status), []byte(" "), 4)
	return string(bytes.TrimSpace(f[len(f)-1]))
}

func (p *pool) any() uint32 {
	all := slices.Sorted(maps.Keys(p.devices))
	return all[p.rng.IntN(len(all))]
}

func (p *pool) compare(id uint32, dev *os.File) {
	p.t.Helper()
	b := make([]byte, block)
	for v := range uint64(span) {
		_, err := dev.ReadAt(b, int64(v)*block)
		must(p.t, err)
		if want := p.devices[id][v]; !bytes.Equal(b, contents(want)) {
			p.t.Fatalf("device %d, block %d: begins with %x, want %x", id, v, b[:8], want)
		}
	}
}

func (p *pool) writeKernel(id uint32, dev *os.File) {
	for range 4 {
		v := p.rng.Uint64N(span)
		for n := p.rng.IntN(12); n > 0 && v < span; n-- {
			stamp := p.rng.Uint64()
			_, err := dev.WriteAt(contents(stamp), int64(v)*block)
			must(p.t, err)
			p.devices[id][v] = stamp
			v++
		}
	}
	must(p.t, dev.Sync())
	from := p.rng.Uint64N(span)
	n := min(1+p.rng.Uint64N(20), span-from)
	inside.Run(p.t, "blkdiscard", "-f", "-o", fmt.Sprint(from*block), "-l", fmt.Sprint(n*block), dev.Name())
	for v := from; v < from+n; v++ {
		delete(p.devices[id], v)
	}
}

// userspace compares all devices and changes some without the kernel.
func (p *pool) userspace() {
	p.t.Helper()
	meta, data := p.open(p.meta), p.open(p.data)
	defer meta.Close()
	defer data.Close()
	p.sound(meta)
	tp, err := thinmeta.Open(meta, data)
	must(p.t, err)
	if err := tp.Read(func(r *thinmeta.Reader) error { return p.same(r, data) }); err != nil {
		p.t.Fatal(err)
	}
	for range 8 {
		id := p.rng.Uint32N(ids)
		switch d := p.devices[id]; {
		case d != nil && p.rng.IntN(6) == 0:
			must(p.t, tp.Delete(id))
			delete(p.devices, id)
		case d == nil && len(p.devices) > 0 && p.rng.IntN(4) > 0:
			origin := p.any()
			must(p.t, tp.CreateSnapshot(id, origin))
			p.devices[id] = maps.Clone(p.devices[origin])
		case d == nil:
			must(p.t, tp.CreateThin(id))
			p.devices[id] = map[uint64]uint64{}
		default:
			p.writeUser(tp, data, id)
		}
		if p.rng.IntN(3) == 0 {
			must(p.t, tp.Commit())
		}
	}
	must(p.t, tp.SetTransactionID(p.tid, p.tid+1))
	p.tid++
	must(p.t, tp.Commit())
	p.sound(meta)
}

func (p *pool) writeUser(tp *thinmeta.Pool, data *blockdev.File, id uint32) {
	for range 4 {
		v := p.rng.Uint64N(span)
		for n := p.rng.IntN(12); n > 0 && v < span; n-- {
			stamp := p.rng.Uint64()
			f, ok, err := tp.Lookup(id, thinmeta.VBlock(v))
			must(p.t, err)
			to := f.Data
			if !ok || f.Shared {
				to, err = tp.Allocate()
				must(p.t, err)
			}
			_, err = data.WriteAt(contents(stamp), int64(to)*block)
			must(p.t, err)
			if !ok || f.Shared {
				must(p.t, tp.Map(id, thinmeta.VBlock(v), to))
			}
			p.devices[id][v] = stamp
			v++
		}
	}
	from := p.rng.Uint64N(span)
	end := min(from+p.rng.Uint64N(20), span)
	_, err := tp.Unmap(id, thinmeta.VBlock(from), thinmeta.VBlock(end))
	must(p.t, err)
	for v := from; v < end; v++ {
		delete(p.devices[id], v)
	}
}

// same compares what is mapped, and what is there, with what is to be.
func (p *pool) same(r *thinmeta.Reader, data *blockdev.File) error {
	devices, err := r.Devices()
	if err != nil {
		return err
	}
	if len(devices) != len(p.devices) || r.Superblock().TransactionID != p.tid {
		return fmt.Errorf("%d devices, transaction id %d; want %d, %d", len(devices), r.Superblock().TransactionID, len(p.devices), p.tid)
	}
	b := make([]byte, block)
	for _, d := range devices {
		mapped := uint64(0)
		for run, err := range r.Mappings(d.ID, 0, span) {
			if err != nil {
				return err
			}
			for i := range run.Length {
				if _, err := data.ReadAt(b, int64(uint64(run.Data)+i)*block); err != nil {
					return err
				}
				v := uint64(run.Begin) + i
				if want, ok := p.devices[d.ID][v]; !ok || !bytes.Equal(b, contents(want)) {
					return fmt.Errorf("device %d, block %d: begins with %x, want %x", d.ID, v, b[:8], want)
				}
			}
			mapped += run.Length
		}
		if want := uint64(len(p.devices[d.ID])); mapped != want || d.MappedBlocks != want {
			return fmt.Errorf("device %d: %d blocks are mapped, details say %d, want %d", d.ID, mapped, d.MappedBlocks, want)
		}
	}
	return nil
}

// sound checks the metadata, and lets thin_check do it too.
func (p *pool) sound(meta *blockdev.File) {
	p.t.Helper()
	rep, err := thinmeta.Check(meta)
	must(p.t, err)
	if !rep.Clean() || rep.Miscounted > 0 {
		p.t.Fatalf("%+v", rep)
	}
	inside.Run(p.t, "thin_check", p.meta)
}

// The kernel makes a pool of zeroes; userspace and the kernel fill it in turns.
func TestThinBytesKernelFirst(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	p := newPool(t)
	for range 4 {
		p.kernel()
		p.userspace()
	}
	p.kernel()
}

// Userspace makes a pool, and the kernel goes on with it.
func TestThinBytesUserspaceFirst(t *testing.T) {
	p := newPool(t)
	meta := p.open(p.meta)
	must(t, thinmeta.Format(meta, chunk, dataTotal))
	must(t, meta.Close())
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		p.userspace()
		p.kernel()
	}
	p.userspace()
}

// An empty pool is formatted to the same bytes. Of the transaction that adds the
// data blocks all is the same but the places of the copies: the kernel copies what
// counts metadata blocks when the first is taken, userspace when it commits.
func TestThinBytesFormat(t *testing.T) {
	p := newPool(t)
	p.start()
	p.stop()
	kernel := p.open(p.meta)
	defer kernel.Close()
	ours := blockdev.NewMem(kernel.Size())
	must(t, thinmeta.Format(ours, chunk, 0))
	tp, err := thinmeta.Open(ours, nil)
	must(t, err)
	must(t, tp.ResizeData(dataTotal))
	must(t, tp.Commit())

	const perBitmap = 16320
	bitmaps := (kernel.Size()/thinmeta.BlockSize + perBitmap - 1) / perBitmap
	// Index, count tree, bitmaps, and the four trees of an empty pool.
	for nr := int64(1); nr <= 2+bitmaps+4; nr++ {
		var b [2][thinmeta.BlockSize]byte
		for i, dev := range []blockdev.Device{ours, kernel} {
			_, err := dev.ReadAt(b[i][:], nr*thinmeta.BlockSize)
			must(t, err)
		}
		if b[0] != b[1] {
			t.Errorf("block %d is not the kernel's", nr)
		}
	}
	p.sound(kernel)
	var told [2]string
	for i, dev := range []blockdev.Device{ours, kernel} {
		r, err := thinmeta.Read(dev)
		must(t, err)
		sb := r.Superblock()
		told[i] = fmt.Sprint(r.Usage(), sb.UUID, sb.Version, sb.NeedsCheck, sb.Time, sb.TransactionID, sb.HeldRoot, sb.BlockSize, sb.MetadataBlocks)
	}
	if told[0] != told[1] {
		t.Errorf("superblock says %s, the kernel's %s", told[0], told[1])
	}
}

// Userspace reads a metadata snapshot of a pool while the kernel changes it, and
// the kernel has one that userspace took.
func TestThinBytesMetadataSnapshot(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	p := newPool(t)
	p.kernel()
	p.start()
	t.Cleanup(func() { inside.Run(t, "dmsetup", "remove", "--retry", "tp") })
	if len(p.devices) == 0 {
		p.message("create_thin 0")
		p.devices[0] = map[uint64]uint64{}
	}
	id := p.any()
	p.thin(id, func(dev *os.File) { p.writeKernel(id, dev) })
	p.message("reserve_metadata_snap")
	was := map[uint32]map[uint64]uint64{}
	for id, d := range p.devices {
		was[id] = maps.Clone(d)
	}
	p.thin(id, func(dev *os.File) { p.writeKernel(id, dev) })
	meta, data := p.open(p.meta), p.open(p.data)
	r, err := thinmeta.Read(meta)
	must(t, err)
	held, err := r.Held()
	must(t, err)
	devices, err := held.Devices()
	must(t, err)
	for _, d := range devices {
		if want := uint64(len(was[d.ID])); d.MappedBlocks != want {
			t.Errorf("device %d: %d blocks in the metadata snapshot, want %d", d.ID, d.MappedBlocks, want)
		}
	}
	must(t, errors.Join(meta.Close(), data.Close()))
	p.message("release_metadata_snap")
	p.stop()

	meta = p.open(p.meta)
	tp, err := thinmeta.Open(meta, nil)
	must(t, err)
	must(t, tp.ReserveMetadataSnapshot())
	must(t, tp.Commit())
	p.sound(meta)
	must(t, meta.Close())
	p.start()
	st, err := dmcore.ParseThinPoolStatus(params(inside.Run(t, "dmsetup", "status", "tp")))
	must(t, err)
	if st.HeldRoot == 0 {
		t.Error("the kernel sees no metadata snapshot")
	}
	p.message("release_metadata_snap")
}
