package kernel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// bytesOf builds a buffer from the C layout: values at offsets.
func bytesOf(size int, at map[int]any) []byte {
	b := make([]byte, size)
	for off, v := range at {
		switch v := v.(type) {
		case uint32:
			binary.NativeEndian.PutUint32(b[off:], v)
		case uint64:
			binary.NativeEndian.PutUint64(b[off:], v)
		case string:
			copy(b[off:], v)
		}
	}
	return b
}

func TestEncodeHeader(t *testing.T) {
	q := &call{num: unix.DM_DEV_SUSPEND, uuid: "LVM-x", dev: 0x12345, flags: flagSuspend | flagSkipLockFS, event: 0x006e1234, targets: 3}
	got, err := q.encode(8)
	if err != nil {
		t.Fatal(err)
	}
	want := bytesOf(312+8, map[int]any{
		0: uint32(4), 12: uint32(320), 16: uint32(312), 20: uint32(3), 28: uint32(0x402), 32: uint32(0x006e1234),
		40: uint64(0x12345), 176: "LVM-x",
	})
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%swant\n%s", hex.Dump(got), hex.Dump(want))
	}
	if unix.DM_DEV_SUSPEND != 0xc138fd06 || unix.DM_DEV_ARM_POLL != 0xc138fd10 {
		t.Error("ioctl numbers differ from those of include/uapi/linux/dm-ioctl.h")
	}
}

func TestEncodeBounds(t *testing.T) {
	for what, q := range map[string]*call{
		"name": {name: strings.Repeat("x", 128)},
		"uuid": {uuid: strings.Repeat("x", 129)},
		"data": {data: make([]byte, maxRoom+1)},
	} {
		if _, err := q.encode(0); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	long := &call{name: strings.Repeat("n", 127), uuid: strings.Repeat("u", 128)}
	b, err := long.encode(0)
	if err != nil || b[48+127] != 0 || b[176+128] != 0 {
		t.Errorf("the longest names: %v", err)
	}
}

func TestEncodeTable(t *testing.T) {
	got, err := appendTable(nil, dmcore.Table{
		{Start: 0, Length: 8, Target: dmcore.Linear{Dev: "7:3", Start: 2048}},
		{Start: 8, Length: 16, Target: dmcore.Zero{}},
		{Start: 24, Length: 1, Target: dmcore.Linear{Dev: `/dev/a b`, Start: 0}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := bytesOf(56+48+56, map[int]any{
		0: uint64(0), 8: uint64(8), 20: uint32(56), 24: "linear", 40: "7:3 2048",
		56: uint64(8), 64: uint64(16), 76: uint32(48), 80: "zero",
		104: uint64(24), 112: uint64(1), 124: uint32(56), 128: "linear", 144: `/dev/a\ b 0`,
	})
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%swant\n%s", hex.Dump(got), hex.Dump(want))
	}
	for _, bad := range []dmcore.Target{dmcore.Other{Kind: ""}, dmcore.Other{Kind: "sixteen-letters-"}, dmcore.Other{Kind: "x", Args: "a\x00b"}} {
		if _, err := appendTable(nil, dmcore.Table{{Length: 1, Target: bad}}); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("%#v: %v", bad, err)
		}
	}
}

func answerOf(t *testing.T, size int, at map[int]any) *answer {
	t.Helper()
	a, err := decode(bytesOf(size, at))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestDecodeInfo(t *testing.T) {
	a := answerOf(t, 312, map[int]any{
		0: uint32(4), 4: uint32(47), 12: uint32(305), 16: uint32(312), 24: uint32(2), 28: uint32(0x20063), 32: uint32(7),
		40: uint64(0x12fd34), 48: `a\x20b`, 176: "LVM-y",
	})
	want := dmcore.Info{Name: "a b", UUID: "LVM-y", Dev: dmcore.DevNo{Major: 0x2fd, Minor: 0x134}, OpenCount: 2, EventNr: 7,
		Suspended: true, Live: true, Inactive: true, ReadOnly: true, DeferredRemove: true}
	if diff := cmp.Diff(want, a.info()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if a.data != nil {
		t.Errorf("%d bytes of data in a short answer", len(a.data))
	}
}

// The answer's next counts from the first record.
func TestDecodeTargets(t *testing.T) {
	at := map[int]any{
		12: uint32(312 + 104 + 44), 16: uint32(312), 20: uint32(3),
		312: uint64(0), 320: uint64(8), 332: uint32(56), 336: "linear", 352: "7:3 2048",
		368: uint64(8), 376: uint64(16), 388: uint32(104), 392: "zero",
		416: uint64(24), 424: uint64(64), 436: uint32(148), 440: "raid", 456: "x y",
	}
	lines, err := answerOf(t, 512, at).segments()
	if err != nil {
		t.Fatal(err)
	}
	want := "0 8 linear 7:3 2048\n8 16 zero\n24 64 raid x y"
	got := table(lines)
	if got.String() != want {
		t.Errorf("got\n%v\nwant\n%s", got, want)
	}
	if _, ok := got[2].Target.(dmcore.Other); !ok {
		t.Errorf("%#v, want what is not known to stay as it is", got[2].Target)
	}
	for off, v := range map[int]any{
		332: uint32(8),       // into itself: for ever
		388: uint32(0),       // back to the first
		12:  uint32(312),     // no data
		20:  uint32(1 << 30), // more than there are
		336: "sixteen-letters-",
	} {
		bad := map[int]any{}
		for k, v := range at {
			bad[k] = v
		}
		bad[off] = v
		if lines, err := answerOf(t, 512, bad).segments(); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("%v at %d: %v, %v", v, off, lines, err)
		}
	}
}

func TestDecodeLists(t *testing.T) {
	a := answerOf(t, 512, map[int]any{
		12: uint32(312 + 80), 16: uint32(312),
		312: uint64(0xfd00), 320: uint32(32), 324: "vg-root",
		344: uint64(0xfd01), 352: uint32(0), 356: "b",
	})
	devs, err := a.devices()
	if diff := cmp.Diff([]uint64{0xfd00, 0xfd01}, devs); diff != "" || err != nil {
		t.Errorf("devices %v (-want +got)\n%s", err, diff)
	}
	if devs, err := answerOf(t, 320, map[int]any{12: uint32(320), 16: uint32(312)}).devices(); devs != nil || err != nil {
		t.Errorf("no device: %v, %v", devs, err)
	}
	a = answerOf(t, 512, map[int]any{
		12: uint32(312 + 50), 16: uint32(312),
		312: uint32(24), 328: "linear", 336: uint32(0), 352: "zero",
	})
	names, err := a.targetNames()
	if diff := cmp.Diff([]string{"linear", "zero"}, names); diff != "" || err != nil {
		t.Errorf("targets %v (-want +got)\n%s", err, diff)
	}
	a = answerOf(t, 512, map[int]any{12: uint32(312 + 24), 16: uint32(312), 312: uint32(2), 320: uint64(0x700), 328: uint64(0xfd05)})
	deps, err := a.deps()
	if diff := cmp.Diff([]dmcore.Dev{"7:0", "253:5"}, deps); diff != "" || err != nil {
		t.Errorf("deps %v (-want +got)\n%s", err, diff)
	}
	if _, err := answerOf(t, 512, map[int]any{12: uint32(312 + 24), 16: uint32(312), 312: uint32(3)}).deps(); !errors.Is(err, dmcore.ErrInvalid) {
		t.Errorf("more devices than there are: %v", err)
	}
}

// FuzzDecode: whatever comes is read without a panic, and what is kept of it is
// no bigger than it.
func FuzzDecode(f *testing.F) {
	f.Add(bytesOf(312, map[int]any{12: uint32(305)}))
	f.Add(bytesOf(512, map[int]any{12: uint32(452), 16: uint32(312), 20: uint32(2),
		320: uint64(8), 332: uint32(56), 336: "linear", 352: "7:3 2048", 392: "zero"}))
	f.Add(bytesOf(512, map[int]any{12: uint32(500), 16: uint32(312), 312: uint64(0xfd00), 320: uint32(32), 324: "vg-root", 344: uint64(1)}))
	f.Add(bytesOf(400, map[int]any{12: uint32(400), 16: uint32(312), 312: uint32(2)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decode(b)
		if err != nil {
			return
		}
		a.info()
		if lines, err := a.segments(); err == nil {
			if len(lines)*specSize > len(b) {
				t.Errorf("%d segments in %d bytes", len(lines), len(b))
			}
			_ = table(lines).String()
		}
		if devs, err := a.devices(); err == nil && len(devs)*12 > len(b) {
			t.Errorf("%d devices in %d bytes", len(devs), len(b))
		}
		if names, err := a.targetNames(); err == nil && len(names)*16 > len(b) {
			t.Errorf("%d targets in %d bytes", len(names), len(b))
		}
		if deps, err := a.deps(); err == nil && len(deps)*8 > len(b) {
			t.Errorf("%d devices in %d bytes", len(deps), len(b))
		}
	})
}
