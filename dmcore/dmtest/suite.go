package dmtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// Lab is an implementation under test.
type Lab struct {
	Control dmcore.Control
	// Backing makes a device of so many sectors, all zero, that tables can
	// name. It lasts as long as the test.
	Backing func(t *testing.T, size dmcore.Sectors) dmcore.Dev
	// Open opens a mapped device for I/O.
	Open func(name dmcore.Name, readOnly bool) (blockdev.Device, error)
	// Queued counts the requests that wait for a device to be resumed. It may
	// be nil; then the tests of queueing see less.
	Queued func(name dmcore.Name) int
}

// Run runs the suite. lab is called for each test; the devices a test makes are
// removed when it ends.
func Run(t *testing.T, lab func(t *testing.T) Lab) {
	for _, group := range []func(*testing.T, func(*testing.T) Lab){Commands, InOut, Suspension, Snapshots, Merges, Thin} {
		group(t, lab)
	}
}

// The parts of the suite, for machines on which each takes its time.

// Commands are about names, tables and what is told of devices.
func Commands(t *testing.T, lab func(t *testing.T) Lab) { run(t, lab, commands) }

// InOut is about reading and writing.
func InOut(t *testing.T, lab func(t *testing.T) Lab) { run(t, lab, inOut) }

// Suspension is about I/O that waits.
func Suspension(t *testing.T, lab func(t *testing.T) Lab) { run(t, lab, suspension) }

// Snapshots are about snapshots and their origins.
func Snapshots(t *testing.T, lab func(t *testing.T) Lab) { run(t, lab, snapshots) }

// Merges are about snapshots on their way back into their origins.
func Merges(t *testing.T, lab func(t *testing.T) Lab) { run(t, lab, merges) }

// Thin is about thin pools and the devices in them. Its labs open devices that
// discard.
func Thin(t *testing.T, lab func(t *testing.T) Lab) { run(t, lab, thin) }

func run(t *testing.T, lab func(t *testing.T) Lab, group map[string]func(*bench)) {
	for name, test := range group {
		t.Run(name, func(t *testing.T) {
			l := lab(t)
			newBench(t, l, test)
		})
	}
}

func newBench(t *testing.T, l Lab, test func(*bench)) {
	b := &bench{T: t, Lab: l, c: dmcore.NewClient(l.Control), ctx: t.Context()}
	t.Cleanup(b.scrap)
	test(b)
}

// prefix keeps the suite's devices apart from others on a real machine.
const prefix = "dmtest-"

// bench is one test's view of a lab. The methods without an error fail the
// test.
type bench struct {
	*testing.T
	Lab
	c     *dmcore.Client
	ctx   context.Context
	made  []string
	files []blockdev.Device
}

func (b *bench) name(short string) dmcore.Name { return dmcore.Name(prefix + short) }
func (b *bench) uuid(short string) dmcore.UUID { return dmcore.UUID("DMTEST-" + short) }

// is fails the test unless err matches want; a nil want means no error.
func (b *bench) is(what string, err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// ok fails the test on an error.
func (b *bench) ok(what string, err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

// create makes a device without a table, which is removed when the test ends.
func (b *bench) create(short string) dmcore.Dev {
	b.Helper()
	info, err := b.c.Create(b.ctx, b.name(short), b.uuid(short))
	b.ok("create "+short, err)
	b.made = append(b.made, short)
	return info.Dev.Dev()
}

// scrap removes the devices the test made, whatever state they are in: those
// that nothing uses first, until none is left or none can be removed.
func (b *bench) scrap() {
	ctx := context.WithoutCancel(b.ctx)
	for _, f := range b.files {
		f.Close() // closed by the test already, or not
	}
	for left := b.made; len(left) > 0; {
		var busy []string
		var last error
		for _, short := range left {
			if err := b.scrapOne(ctx, short); err != nil {
				busy, last = append(busy, short), err
			}
		}
		if len(busy) == len(left) {
			b.Errorf("clean up: %v are left: %v", busy, last)
			return
		}
		left = busy
	}
}

func (b *bench) scrapOne(ctx context.Context, short string) error {
	info, ok, err := b.c.Find(ctx, b.uuid(short))
	if err != nil || !ok {
		return err
	}
	if info.Suspended && info.Live && info.OpenCount == 0 {
		b.c.Clear(ctx, b.uuid(short))
		b.c.Resume(ctx, b.uuid(short))
	}
	return b.c.Remove(ctx, b.uuid(short))
}

func (b *bench) table(format string, args ...any) dmcore.Table {
	b.Helper()
	t, err := dmcore.ParseTable(fmt.Sprintf(format, args...))
	b.ok("parse table", err)
	return t
}

func (b *bench) load(short, format string, args ...any) {
	b.Helper()
	b.ok("load "+short, b.tryLoad(short, format, args...))
}

func (b *bench) tryLoad(short, format string, args ...any) error {
	b.Helper()
	return b.c.Load(b.ctx, b.uuid(short), b.table(format, args...), false)
}

func (b *bench) suspend(shorts ...string) {
	b.Helper()
	for _, s := range shorts {
		b.ok("suspend "+s, b.c.Suspend(b.ctx, b.uuid(s), dmcore.SuspendOptions{}))
	}
}

func (b *bench) resume(shorts ...string) {
	b.Helper()
	for _, s := range shorts {
		b.ok("resume "+s, b.tryResume(s))
	}
}

func (b *bench) tryResume(short string) error {
	_, err := b.c.Resume(b.ctx, b.uuid(short))
	return err
}

// device makes a device with a live table.
func (b *bench) device(short, format string, args ...any) dmcore.Dev {
	b.Helper()
	dev := b.create(short)
	b.load(short, format, args...)
	b.resume(short)
	return dev
}

func (b *bench) info(short string) dmcore.Info {
	b.Helper()
	info, ok, err := b.c.Find(b.ctx, b.uuid(short))
	b.ok("info "+short, err)
	if !ok {
		b.Fatalf("info %s: no such device", short)
	}
	return info
}

func (b *bench) open(short string) blockdev.Device {
	b.Helper()
	d, err := b.Open(b.name(short), false)
	b.ok("open "+short, err)
	b.files = append(b.files, d)
	return d
}

// put and get do one transfer through a handle of their own.
func (b *bench) put(short string, sector dmcore.Sectors, p []byte) {
	b.Helper()
	b.ok("write "+short, b.tryPut(short, sector, p))
}

func (b *bench) tryPut(short string, sector dmcore.Sectors, p []byte) error {
	d, err := b.Open(b.name(short), false)
	if err != nil {
		return err
	}
	_, err = d.WriteAt(p, sector.Bytes())
	return errors.Join(err, d.Close())
}

func (b *bench) get(short string, sector, n dmcore.Sectors) []byte {
	b.Helper()
	p, err := b.tryGet(short, sector, n)
	b.ok("read "+short, err)
	return p
}

func (b *bench) tryGet(short string, sector, n dmcore.Sectors) ([]byte, error) {
	d, err := b.Open(b.name(short), true)
	if err != nil {
		return nil, err
	}
	p := make([]byte, n.Bytes())
	_, err = d.ReadAt(p, sector.Bytes())
	return p, errors.Join(err, d.Close())
}

// holds fails the test unless the device has these bytes from sector on.
func (b *bench) holds(short string, sector dmcore.Sectors, want []byte) {
	b.Helper()
	got := b.get(short, sector, dmcore.Sectors(len(want)/dmcore.SectorSize))
	if !bytes.Equal(got, want) {
		i := 0
		for got[i] == want[i] {
			i++
		}
		b.Fatalf("%s: sector %d differs from what is expected", short, int(sector)+i/dmcore.SectorSize)
	}
}

func (b *bench) snapshotStatus(short string) dmcore.SnapshotStatus {
	b.Helper()
	s, err := b.c.SnapshotStatus(b.ctx, b.uuid(short))
	b.ok("status "+short, err)
	return s
}

// pattern is n sectors of bytes that tell where they come from.
func pattern(seed uint64, n dmcore.Sectors) []byte {
	p := make([]byte, n.Bytes())
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], r.Uint64())
	}
	return p
}

// patience bounds how long the suite waits for something that must happen.
const patience = time.Minute

// until waits for something that happens soon and that nothing announces.
func (b *bench) until(what string, cond func() bool) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for !cond() {
		if ctx.Err() != nil {
			b.Fatalf("%s: not after %v", what, patience)
		}
		runtime.Gosched()
	}
}
