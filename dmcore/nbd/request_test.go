package nbd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"

	"github.com/google/go-cmp/cmp"
)

// A request that must not be carried out is answered with the right error, and
// the connection goes on.
func TestCheck(t *testing.T) {
	const size = 1 << 20
	rw := &export{size: size, minBlock: 512, structured: true, meta: true, discarder: newDevice(0)}
	ro := &export{size: size, minBlock: 512, structured: true, meta: true, Export: Export{ReadOnly: true}}
	old := &export{size: size, minBlock: 4096}
	huge := &export{size: 1 << 62, minBlock: 512, structured: true}
	hugeOld := &export{size: 1 << 62, minBlock: 512}
	for _, tt := range []struct {
		name string
		x    *export
		h    header
		want errno
	}{
		{"read all", rw, header{cmd: cmdRead, length: size}, 0},
		{"read nothing at the end", rw, header{cmd: cmdRead, offset: size}, 0},
		{"read past the end", rw, header{cmd: cmdRead, offset: size - 512, length: 1024}, errInval},
		{"read far outside", rw, header{cmd: cmdRead, offset: 1<<64 - 512, length: 1024}, errInval},
		{"write past the end", rw, header{cmd: cmdWrite, offset: size, length: 512}, errNoSpace},
		{"write far outside", rw, header{cmd: cmdWrite, offset: 1<<64 - 512, length: 512}, errNoSpace},
		{"zero past the end", rw, header{cmd: cmdWriteZeroes, offset: size, length: 512}, errNoSpace},
		{"trim past the end", rw, header{cmd: cmdTrim, offset: size, length: 512}, errInval},
		{"cache past the end", rw, header{cmd: cmdCache, offset: size, length: 512}, errInval},
		{"status past the end", rw, header{cmd: cmdBlockStatus, offset: size, length: 512}, errInval},
		{"odd offset", rw, header{cmd: cmdRead, offset: 1, length: 512}, errInval},
		{"odd length", rw, header{cmd: cmdWrite, length: 511}, errInval},
		{"smaller than the block", old, header{cmd: cmdWrite, length: 512}, errInval},
		{"largest read", huge, header{cmd: cmdRead, length: maxPayload}, 0},
		{"read too large", huge, header{cmd: cmdRead, length: maxPayload + 512}, errOverflow},
		{"read too large, simple", hugeOld, header{cmd: cmdRead, length: maxPayload + 512}, errInval},
		{"write too large", huge, header{cmd: cmdWrite, length: maxPayload + 512}, errInval},
		{"large zeroes", huge, header{cmd: cmdWriteZeroes, length: 1<<32 - 512}, 0},
		{"write on read-only", ro, header{cmd: cmdWrite, length: 512}, errPerm},
		{"zero on read-only", ro, header{cmd: cmdWriteZeroes, length: 512}, errPerm},
		{"trim on read-only", ro, header{cmd: cmdTrim, length: 512}, errPerm},
		{"flush on read-only", ro, header{cmd: cmdFlush}, 0},
		{"flush with a range", rw, header{cmd: cmdFlush, length: 512}, errInval},
		{"FUA anywhere", rw, header{cmd: cmdRead, flags: cmdFlagFUA, length: 512}, 0},
		{"DF", rw, header{cmd: cmdRead, flags: cmdFlagDF, length: 512}, 0},
		{"DF with simple replies", old, header{cmd: cmdRead, flags: cmdFlagDF, length: 4096}, errInval},
		{"REQ_ONE on read", rw, header{cmd: cmdRead, flags: cmdFlagReqOne, length: 512}, errInval},
		{"NO_HOLE on write", rw, header{cmd: cmdWrite, flags: cmdFlagNoHole, length: 512}, errInval},
		{"unknown flag on cache", rw, header{cmd: cmdCache, flags: 1 << 9, length: 512}, errInval},
		{"trim that cannot", old, header{cmd: cmdTrim, length: 4096}, errInval},
		{"status not negotiated", old, header{cmd: cmdBlockStatus, length: 4096}, errInval},
		{"status of nothing", rw, header{cmd: cmdBlockStatus}, errInval},
		{"unknown command", rw, header{cmd: 8, length: 512}, errInval},
	} {
		if got := tt.x.check(&tt.h); got != tt.want {
			t.Errorf("%s: %d (%v), want %d", tt.name, got, got, tt.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want errno
	}{
		{syscall.EIO, errIO},
		{errors.New("anything"), errIO},
		{fmt.Errorf("snap: %w", dmcore.ErrIO), errIO},
		{&fs.PathError{Err: syscall.ENOSPC}, errNoSpace},
		{syscall.EDQUOT, errNoSpace},
		{syscall.EFBIG, errNoSpace},
		{syscall.EROFS, errPerm},
		{fs.ErrPermission, errPerm},
		{dmcore.ErrReadOnly, errPerm},
		{syscall.EINVAL, errInval},
		{dmcore.ErrInvalid, errInval},
		{syscall.EOPNOTSUPP, errInval},
		{errors.ErrUnsupported, errInval},
		{errNotSup, errNotSup},
	} {
		if got := number(tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
}

// step is a request and what should come of it.
type step struct {
	cmd, flags uint16
	off        uint64
	n          int
	fill       byte // of a WRITE; what a READ should find
	want       errno
}

func (s step) run(c *client) error {
	p := bytes.Repeat([]byte{s.fill}, s.n)
	if s.cmd == cmdRead {
		p = bytes.Repeat([]byte{0xaa}, s.n)
	}
	r, err := c.do(s.cmd, s.flags, s.off, p)
	switch {
	case err != nil:
		return err
	case r.err != s.want:
		return fmt.Errorf("error %d %q, want %d", r.err, r.text, s.want)
	case s.cmd == cmdRead && r.err == 0 && !bytes.Equal(p, bytes.Repeat([]byte{s.fill}, s.n)):
		return fmt.Errorf("read something else than %#x: %#x…", s.fill, p[:min(8, s.n)])
	case r.err != 0 && c.structured && r.text == "":
		return errors.New("no message with the error")
	}
	return nil
}

func TestCommands(t *testing.T) {
	const size = 3 << 20
	steps := []step{
		{cmd: cmdRead, n: size},
		{cmd: cmdRead, n: 0},
		{cmd: cmdWrite, n: 0},
		{cmd: cmdWrite, off: 512, n: 512, fill: 1},
		{cmd: cmdRead, off: 512, n: 512, fill: 1},
		{cmd: cmdRead, off: 0, n: 512},
		{cmd: cmdWrite, off: 4096, n: 200 << 10, fill: 2},
		{cmd: cmdWrite, off: 1 << 20, n: 1 << 20, fill: 3, flags: cmdFlagFUA},
		{cmd: cmdRead, off: 4096, n: 200 << 10, fill: 2, flags: cmdFlagFUA},
		{cmd: cmdRead, off: 1 << 20, n: 1 << 20, fill: 3},
		{cmd: cmdWrite, off: size - 512, n: 1024, fill: 9, want: errNoSpace},
		{cmd: cmdWrite, off: 512, n: 100 << 10, fill: 9, flags: cmdFlagReqOne, want: errInval},
		{cmd: cmdRead, off: size - 512, n: 1024, want: errInval},
		{cmd: cmdRead, off: size - 512, n: 512},
		{cmd: cmdWriteZeroes, off: 1 << 20, n: 256<<10 + 512},
		{cmd: cmdRead, off: 1 << 20, n: 256<<10 + 512},
		{cmd: cmdRead, off: 1<<20 + 256<<10 + 512, n: 512, fill: 3},
		{cmd: cmdWriteZeroes, off: 0, n: 2<<20 + 512},
		{cmd: cmdWriteZeroes, off: 4096, n: 4096, flags: cmdFlagNoHole | cmdFlagFUA},
		{cmd: cmdRead, off: 4096, n: 4096},
		{cmd: cmdCache, off: 0, n: size},
		{cmd: cmdFlush},
		{cmd: 99, n: 512, want: errInval},
	}
	for _, dev := range []struct {
		name string
		hide bool
	}{{name: "with everything"}, {name: "plain", hide: true}} {
		for _, o := range []clientOptions{{simple: true}, {}} {
			t.Run(fmt.Sprintf("%s, simple replies %v", dev.name, o.simple), func(t *testing.T) {
				d := newDevice(size)
				e := entry{dev: d}
				steps := append(steps[:len(steps):len(steps)],
					step{cmd: cmdTrim, off: 1 << 20, n: 512, flags: cmdFlagFUA},
					step{cmd: cmdWriteZeroes, n: 4096, flags: cmdFlagFastZero})
				if dev.hide {
					e.dev = plain{d}
					steps[len(steps)-2].want = errInval
					steps[len(steps)-1].want = errNotSup
				}
				c := dial(t, start(t, &Server{Exports: exports{"x": e}}), "x", o)
				for i, s := range steps {
					if err := s.run(c); err != nil {
						t.Fatalf("step %d %+v: %v", i, s, err)
					}
				}
				want := 3 // a write, write zeroes and flush
				if !dev.hide {
					want++ // the trim
				}
				if got := int(d.syncs.Load()); got != want {
					t.Errorf("%d syncs, want %d", got, want)
				}
			})
		}
	}
}

// What goes wrong below is reported, and nothing breaks by it.
func TestDeviceErrors(t *testing.T) {
	d := newDevice(1 << 20)
	fail := func(broken uint16, err error) {
		d.setHook(func(cmd uint16, _ int64) error {
			if cmd == broken {
				return err
			}
			return nil
		})
	}
	full := &fs.PathError{Op: "write", Path: "cow", Err: syscall.ENOSPC}
	for _, o := range []clientOptions{{simple: true}, {}} {
		c := dial(t, start(t, &Server{Exports: exports{"x": {dev: d}}}), "x", o)
		for i, tt := range []struct {
			cmd  uint16
			err  error
			step step
		}{
			{cmdRead, syscall.EIO, step{cmd: cmdRead, n: 4096, want: errIO}},
			{cmdRead, syscall.EIO, step{cmd: cmdRead, n: 512 << 10, want: errIO}},
			{cmdRead, syscall.EIO, step{cmd: cmdCache, n: 4096, want: errIO}},
			{cmdWrite, full, step{cmd: cmdWrite, n: 4096, want: errNoSpace}},
			{cmdWrite, full, step{cmd: cmdWrite, n: 512 << 10, flags: cmdFlagFUA, want: errNoSpace}},
			{cmdFlush, syscall.EIO, step{cmd: cmdFlush, want: errIO}},
			{cmdFlush, syscall.EIO, step{cmd: cmdWrite, n: 4096, flags: cmdFlagFUA, want: errIO}},
			{cmdWriteZeroes, syscall.EROFS, step{cmd: cmdWriteZeroes, n: 4096, want: errPerm}},
			{cmdWriteZeroes, errors.ErrUnsupported, step{cmd: cmdWriteZeroes, n: 3 << 18}},
			{cmdWriteZeroes, errors.ErrUnsupported, step{cmd: cmdWriteZeroes, n: 4096, flags: cmdFlagFastZero, want: errNotSup}},
			{cmdTrim, errors.ErrUnsupported, step{cmd: cmdTrim, n: 4096}},
			{cmdTrim, syscall.EIO, step{cmd: cmdTrim, n: 4096, want: errIO}},
		} {
			fail(tt.cmd, tt.err)
			if err := tt.step.run(c); err != nil {
				t.Errorf("%d: %+v: %v", i, tt.step, err)
			}
		}
		fail(0, nil)
		if err := (step{cmd: cmdRead, n: 4096}).run(c); err != nil {
			t.Error("after the errors:", err)
		}
	}
}

func TestSparseReads(t *testing.T) {
	d := newDevice(1 << 20)
	c := dial(t, start(t, &Server{Exports: exports{"x": {dev: d}}}), "x", clientOptions{})
	want := make([]byte, 1<<20)
	write := func(off, n int) {
		copy(want[off:], bytes.Repeat([]byte{byte(off>>12) | 1}, n))
		if _, err := d.Mem.WriteAt(want[off:off+n], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(flags uint16, off, n, holes int) {
		t.Helper()
		got := bytes.Repeat([]byte{0xaa}, n)
		r, err := c.do(cmdRead, flags, uint64(off), got)
		if err != nil || r.err != 0 {
			t.Fatalf("%v %v", r.err, err)
		}
		if !bytes.Equal(got, want[off:off+n]) {
			t.Errorf("read of %d at %d differs", n, off)
		}
		if r.holes != holes {
			t.Errorf("read of %d at %d has %d holes, want %d", n, off, r.holes, holes)
		}
	}
	read(0, 0, 1<<20, 1) // nothing but a hole
	write(64<<10, 8192)
	write(256<<10, 4096)
	write(1<<20-4096, 4096)
	read(0, 0, 1<<20, 3)
	read(cmdFlagDF, 0, 1<<20, 0)
	read(0, 512, 100<<10, 2)
	read(0, 0, 32<<10, 0) // too small to ask about
	for off := 0; off < 1<<20; off += 16 << 10 {
		write(off, 4096)
	}
	read(0, 0, 1<<20, 0) // too fragmented
}

func TestBlockStatus(t *testing.T) {
	d := newDevice(8 << 30)
	for _, off := range []int64{0, 8192, 5 << 30} {
		if _, err := d.Mem.WriteAt(make([]byte, 4096), off); err != nil {
			t.Fatal(err)
		}
	}
	const hole = stateHole | stateZero
	socket := start(t, &Server{Exports: exports{"x": {dev: d}, "plain": {dev: plain{d}}}})
	status := func(c *client, flags uint16, off uint64, n uint32) ([]run, errno) {
		t.Helper()
		c.send(cmdBlockStatus, flags, off, n, nil)
		r, err := c.receive(nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		return r.runs, r.err
	}
	c := dial(t, socket, "x", clientOptions{})
	for _, tt := range []struct {
		flags uint16
		off   uint64
		n     uint32
		want  []run
	}{
		{0, 0, 4096, []run{{4096, 0}}},
		{0, 0, 16384, []run{{4096, 0}, {4096, hole}, {4096, 0}, {4096, hole}}},
		{cmdFlagReqOne, 0, 16384, []run{{4096, 0}}},
		{cmdFlagReqOne, 16384, 1<<32 - 16384, []run{{1<<32 - 16384, hole}}},
		{0, 2 << 30, 1<<32 - 4096, []run{{3 << 30, hole}, {4096, 0}, {1<<30 - 8192, hole}}},
		{0, 8192 + 512, 512, []run{{512, 0}}},
	} {
		got, e := status(c, tt.flags, tt.off, tt.n)
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(run{})); diff != "" || e != 0 {
			t.Errorf("%d at %d: error %d -want +got:\n%s", tt.n, tt.off, e, diff)
		}
	}
	d.setHook(func(uint16, int64) error { return syscall.EIO })
	if _, e := status(c, 0, 0, 4096); e != errIO {
		t.Errorf("error %d, want %d", e, errIO)
	}
	d.setHook(func(uint16, int64) error { return errors.ErrUnsupported })
	for _, c := range []*client{c, dial(t, socket, "plain", clientOptions{})} {
		got, e := status(c, 0, 4096, 1<<30)
		if diff := cmp.Diff([]run{{1 << 30, 0}}, got, cmp.AllowUnexported(run{})); diff != "" || e != 0 {
			t.Errorf("a device that knows nothing: error %d -want +got:\n%s", e, diff)
		}
	}
}

func TestStatusIsBounded(t *testing.T) {
	x := &export{mapper: zebra{}}
	runs, err := x.status(0, 1<<32-4096, false)
	if err != nil || len(runs) != maxDescriptors {
		t.Errorf("%d runs, %v, want %d", len(runs), err, maxDescriptors)
	}
}

func TestAppendRuns(t *testing.T) {
	e := func(n int64, zero bool) blockdev.Extent { return blockdev.Extent{Length: n, Zero: zero} }
	for _, tt := range []struct {
		name    string
		in      []blockdev.Extent
		n       uint64
		want    []run
		covered uint64
	}{
		{"none", nil, 100, nil, 0},
		{"joined", []blockdev.Extent{e(10, true), e(20, true), e(5, false)}, 100, []run{{30, stateZero}, {5, 0}}, 35},
		{"too long", []blockdev.Extent{e(10, true), e(1000, false), e(5, true)}, 100, []run{{10, stateZero}, {90, 0}}, 100},
		{"senseless", []blockdev.Extent{e(10, true), e(-5, false), e(5, true)}, 100, []run{{10, stateZero}}, 10},
	} {
		got, covered := appendRuns(nil, tt.in, tt.n)
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(run{})); diff != "" || covered != tt.covered {
			t.Errorf("%s: covered %d, want %d\n%s", tt.name, covered, tt.covered, diff)
		}
	}
}

// zebra is a Mapper whose pages are allocated and not, in turn.
type zebra struct{}

func (zebra) Extents(off, n int64) ([]blockdev.Extent, error) {
	var out []blockdev.Extent
	for done := int64(0); done < n; done += 4096 {
		out = append(out, blockdev.Extent{Length: 4096, Zero: (off+done)/4096%2 == 0})
	}
	return out, nil
}

// A message is cut so that it stays text.
func TestMessage(t *testing.T) {
	got := message(errors.New("a\x00\xff" + strings.Repeat("é", maxString)))
	if !validName(got) || len(got) < maxString-2 || !strings.HasPrefix(got, "a?é") {
		t.Errorf("%d bytes: %q…", len(got), got[:10])
	}
}
