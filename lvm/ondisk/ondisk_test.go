package ondisk_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/lvm/ondisk"
)

const kib, mib = 1 << 10, 1 << 20

func golden(t testing.TB) (pv []byte, label ondisk.Label, header ondisk.Header) {
	t.Helper()
	pv, err := os.ReadFile("testdata/pv-first-64k.bin")
	if err != nil {
		t.Fatal(err)
	}
	if label, err = ondisk.FindLabel(pv); err != nil {
		t.Fatal(err)
	}
	if header, err = ondisk.DecodeHeader(pv[4096:4608], label.Metadata[0]); err != nil {
		t.Fatal(err)
	}
	return pv, label, header
}

func TestGolden(t *testing.T) {
	pv, label, header := golden(t)
	want := ondisk.Label{
		Sector: 1, ID: "5xFaQvPu91vtFgs0iIvQCKKLozOPJ9l9", DeviceSize: 512 * mib,
		Data:      []ondisk.Area{{Offset: mib}},
		Metadata:  []ondisk.Area{{Offset: 4096, Size: mib - 4096}},
		Extension: 2, Flags: ondisk.FlagUsed,
	}
	if diff := cmp.Diff(want, label, cmp.AllowUnexported(ondisk.Label{})); diff != "" {
		t.Errorf("label (-want +got):\n%s", diff)
	}
	if b, err := label.Encode(); err != nil || !bytes.Equal(b, pv[512:1024]) {
		t.Errorf("label does not encode as it was read (%v)", err)
	}
	if diff := cmp.Diff(ondisk.Slot{Offset: 28672, Size: 3409, Checksum: 0x09af95fa}, header.Committed); diff != "" {
		t.Errorf("committed slot (-want +got):\n%s", diff)
	}
	if !header.Precommit.Empty() || header.Ignored() || !label.Used() {
		t.Errorf("precommit %v, ignored %v, used %v", header.Precommit, header.Ignored(), label.Used())
	}
	if !bytes.Equal(header.Encode(), pv[4096:4608]) {
		t.Error("header does not encode as it was read")
	}
	text, err := os.ReadFile("testdata/vg-text-seqno12.bin")
	if err != nil {
		t.Fatal(err)
	}
	span := header.Spans(header.Committed)[0]
	if got := pv[span.Offset:span.End()]; !bytes.Equal(got, text) || ondisk.CRC(got) != header.Committed.Checksum {
		t.Errorf("committed text differs, CRC 0x%08x", ondisk.CRC(got))
	}
}

// The ring of the golden PV has the twelve texts lvm2 wrote one after the other;
// Place would have put each where lvm2 did.
func TestPlaceFollowsLVM2(t *testing.T) {
	pv, label, committed := golden(t)
	h := ondisk.NewHeader(label.Metadata[0])
	for seqno := 1; seqno <= 12; seqno++ {
		// Where a text ends is known by its NUL, and where it begins by Place.
		probe, err := h.Place([]byte{0})
		if err != nil {
			t.Fatal(err)
		}
		ring := pv[h.Start+probe.Offset:]
		text := ring[:bytes.IndexByte(ring, 0)+1]
		if !bytes.Contains(text, fmtSeqno(seqno)) {
			t.Fatalf("no text with seqno %d at %d: %.40q", seqno, probe.Offset, text)
		}
		s, err := h.Place(text)
		if err != nil {
			t.Fatal(err)
		}
		if pad := h.Padding(s); !bytes.Equal(ring[len(text):len(text)+int(pad)], make([]byte, pad)) {
			t.Errorf("seqno %d: the %d bytes behind it are not zero", seqno, pad)
		}
		h = h.Commit(s)
	}
	if h != committed {
		t.Errorf("header after 12 commits is\n%+v\nlvm2's is\n%+v", h, committed)
	}
}

func fmtSeqno(n int) []byte {
	if n >= 10 {
		return []byte{'s', 'e', 'q', 'n', 'o', ' ', '=', ' ', '1', byte('0' + n - 10), '\n'}
	}
	return []byte{'s', 'e', 'q', 'n', 'o', ' ', '=', ' ', byte('0' + n), '\n'}
}

func TestPlace(t *testing.T) {
	area := ondisk.Area{Offset: 4096, Size: 61440}
	for _, test := range []struct {
		name      string
		committed ondisk.Slot
		size      int
		want      uint64
		spans     []ondisk.Area
	}{
		{"empty", ondisk.Slot{}, 100, 512, []ondisk.Area{{Offset: 4608, Size: 100}}},
		{"behind", ondisk.Slot{Offset: 512, Size: 1025}, 10, 2048, []ondisk.Area{{Offset: 6144, Size: 10}}},
		{"behind a full sector", ondisk.Slot{Offset: 512, Size: 1024}, 10, 1536, []ondisk.Area{{Offset: 5632, Size: 10}}},
		{"wraps", ondisk.Slot{Offset: 57856, Size: 1900}, 1957, 59904, []ondisk.Area{{Offset: 64000, Size: 1536}, {Offset: 4608, Size: 421}}},
		{"behind a wrapped one", ondisk.Slot{Offset: 59904, Size: 1957}, 10, 1024, []ondisk.Area{{Offset: 5120, Size: 10}}},
		{"last sector taken", ondisk.Slot{Offset: 60928, Size: 1}, 10, 512, []ondisk.Area{{Offset: 4608, Size: 10}}},
		{"last sector free", ondisk.Slot{Offset: 60416, Size: 512}, 10, 60928, []ondisk.Area{{Offset: 65024, Size: 10}}},
		{"old one ends with the area", ondisk.Slot{Offset: 60416, Size: 1024}, 10, 512, []ondisk.Area{{Offset: 4608, Size: 10}}},
		{"ignored", ondisk.Slot{Offset: 2048, Size: 99, Flags: ondisk.FlagIgnored}, 10, 512, []ondisk.Area{{Offset: 4608, Size: 10}}},
		{"largest", ondisk.Slot{Offset: 512, Size: 29952}, 29952, 30720, []ondisk.Area{{Offset: 34816, Size: 29952}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := ondisk.NewHeader(area)
			h.Committed = test.committed
			s, err := h.Place(make([]byte, test.size))
			if err != nil {
				t.Fatal(err)
			}
			if s.Offset != test.want {
				t.Errorf("placed at %d, want %d", s.Offset, test.want)
			}
			if diff := cmp.Diff(test.spans, h.Spans(s)); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
		})
	}
	h := ondisk.NewHeader(ondisk.Area{Offset: 4096, Size: mib - 4096})
	if h.Max() != 521472 {
		t.Errorf("the default area holds %d bytes, lvm2's limit is 521472", h.Max())
	}
	for _, n := range []int{0, 521473} {
		if _, err := h.Place(make([]byte, n)); !errors.Is(err, ondisk.ErrFull) {
			t.Errorf("%d bytes: %v, want ErrFull", n, err)
		}
	}
}

// The offsets and sizes are those pvcreate of lvm2 2.03.16 made.
func TestLayout(t *testing.T) {
	for _, test := range []struct {
		layout ondisk.Layout
		areas  []ondisk.Area
		start  uint64
	}{
		{ondisk.Layout{DeviceSize: 512 * mib, Copies: 1}, []ondisk.Area{{Offset: 4096, Size: 1044480}}, mib},
		{ondisk.Layout{DeviceSize: 512 * mib, Copies: 1, MetadataSize: 128 * kib}, []ondisk.Area{{Offset: 4096, Size: 1044480}}, mib},
		{ondisk.Layout{DeviceSize: 512 * mib, Copies: 1, MetadataSize: 32 * kib, Alignment: 64 * kib}, []ondisk.Area{{Offset: 4096, Size: 61440}}, 64 * kib},
		{ondisk.Layout{DeviceSize: 512 * mib}, nil, mib},
		{ondisk.Layout{DeviceSize: 64 * mib, Alignment: 64 * kib}, nil, 64 * kib},
		{ondisk.Layout{DeviceSize: 64 * mib, Copies: 2}, []ondisk.Area{{Offset: 4096, Size: 1044480}, {Offset: 63 * mib, Size: mib}}, mib},
		{ondisk.Layout{DeviceSize: 64 * mib, Copies: 2, MetadataSize: 30 * mib}, []ondisk.Area{{Offset: 4096, Size: 32501760}, {Offset: 34 * mib, Size: 30 * mib}}, 31 * mib},
		{ondisk.Layout{DeviceSize: 64 * mib, Copies: 1, MetadataSize: 3 * mib}, []ondisk.Area{{Offset: 4096, Size: 4190208}}, 4 * mib},
		{ondisk.Layout{DeviceSize: 64 * mib, Copies: 1, MetadataSize: 128 * kib, Alignment: 192 * kib}, []ondisk.Area{{Offset: 4096, Size: 192512}}, 192 * kib},
		{ondisk.Layout{DeviceSize: 64 * mib, Copies: 1, MetadataSize: 33 * kib, Alignment: kib}, []ondisk.Area{{Offset: 4096, Size: 33792}}, 37 * kib},
		{ondisk.Layout{DeviceSize: 512 * mib, Copies: 2, MetadataSize: 64 * kib, Alignment: 64 * kib},
			[]ondisk.Area{{Offset: 4096, Size: 126976}, {Offset: 536805376, Size: 65536}}, 128 * kib},
	} {
		areas, start, err := test.layout.Areas()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.areas, areas); diff != "" || start != test.start {
			t.Errorf("%+v: data at %d, want %d (-want +got):\n%s", test.layout, start, test.start, diff)
		}
	}
	for _, l := range []ondisk.Layout{
		{DeviceSize: mib, Copies: 1},
		{DeviceSize: 4 * mib, Copies: 1, MetadataSize: 4 * mib},
		{DeviceSize: 4 * mib, Copies: 3},
		{DeviceSize: 4 * mib, Copies: 1, MetadataSize: 4096},
		{DeviceSize: 4 * mib, Copies: 1, Alignment: 8 * mib},
	} {
		if areas, start, err := l.Areas(); !errors.Is(err, ondisk.ErrLayout) {
			t.Errorf("%+v: %v, %d, %v, want ErrLayout", l, areas, start, err)
		}
	}
}

func TestDamagedLabel(t *testing.T) {
	pv, label, _ := golden(t)
	for _, at := range []int{8, 16, 20, 24, 40, 72, 511} {
		b := bytes.Clone(pv)
		b[512+at] ^= 1
		if _, err := ondisk.FindLabel(b); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("byte %d flipped: %v, want ErrCorrupt", at, err)
		}
	}
	if _, err := ondisk.FindLabel(make([]byte, 4096)); !errors.Is(err, ondisk.ErrNoLabel) {
		t.Errorf("zeroes: %v, want ErrNoLabel", err)
	}
	if _, err := ondisk.FindLabel(pv[:600]); !errors.Is(err, ondisk.ErrNoLabel) {
		t.Errorf("600 bytes: %v, want ErrNoLabel", err)
	}
	two := bytes.Clone(pv) // damaged in sector 1, good in sector 3
	two[512+40] ^= 1
	label.Sector = 3
	b, err := label.Encode()
	if err != nil {
		t.Fatal(err)
	}
	copy(two[3*512:], b)
	if got, err := ondisk.FindLabel(two); err != nil || got.Sector != 3 {
		t.Errorf("found in sector %d, %v, want 3", got.Sector, err)
	}
	label.Metadata = []ondisk.Area{{Offset: 4096, Size: 4096}, {Offset: 4608, Size: 4096}}
	if _, err := label.Encode(); !errors.Is(err, ondisk.ErrCorrupt) {
		t.Errorf("overlapping areas: %v, want ErrCorrupt", err)
	}
	label.Metadata = nil
	label.Data = make([]ondisk.Area, 40)
	for i := range label.Data {
		label.Data[i].Offset = 1
	}
	if _, err := label.Encode(); !errors.Is(err, ondisk.ErrLayout) {
		t.Errorf("40 data areas: %v, want ErrLayout", err)
	}
}

func TestDamagedHeader(t *testing.T) {
	pv, label, h := golden(t)
	for _, at := range []int{0, 4, 20, 24, 32, 40, 88, 511} {
		b := bytes.Clone(pv[4096:4608])
		b[at] ^= 1
		if _, err := ondisk.DecodeHeader(b, label.Metadata[0]); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("byte %d flipped: %v, want ErrCorrupt", at, err)
		}
	}
	for _, s := range []ondisk.Slot{{Offset: 511, Size: 1}, {Offset: h.Size, Size: 1}, {Offset: 512}, {Offset: 512, Size: h.Size}} {
		bad := h
		bad.Committed = s
		if _, err := ondisk.DecodeHeader(bad.Encode(), label.Metadata[0]); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("slot %+v: %v, want ErrCorrupt", s, err)
		}
	}
	other := label.Metadata[0]
	other.Size -= 512
	if _, err := ondisk.DecodeHeader(h.Encode(), other); !errors.Is(err, ondisk.ErrCorrupt) {
		t.Errorf("another size in the label: %v, want ErrCorrupt", err)
	}
}

func FuzzLabel(f *testing.F) {
	pv, _, _ := golden(f)
	f.Add(pv[512:1024], false)
	f.Add(pv[512:1024], true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix && len(b) == 512 { // let the fuzzer past the checksum
			c := ondisk.CRC(b[20:])
			b = bytes.Clone(b)
			b[16], b[17], b[18], b[19] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
		}
		l, err := ondisk.DecodeLabel(b, 1)
		if err != nil {
			return
		}
		again, err := l.Encode()
		if err != nil {
			if !errors.Is(err, ondisk.ErrLayout) { // the header stood nearer to the end
				t.Fatal(err)
			}
			return
		}
		got, err := ondisk.DecodeLabel(again, 1)
		if diff := cmp.Diff(l, got, cmp.AllowUnexported(ondisk.Label{})); err != nil || diff != "" {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
	})
}

func FuzzHeader(f *testing.F) {
	pv, label, _ := golden(f)
	f.Add(pv[4096:4608], 3409)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if len(b) == 512 {
			c := ondisk.CRC(b[4:])
			b = bytes.Clone(b)
			b[0], b[1], b[2], b[3] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
		}
		h, err := ondisk.DecodeHeader(b, label.Metadata[0])
		if err != nil {
			return
		}
		if !bytes.Equal(h.Encode(), b) {
			t.Fatal("header does not encode as it was read")
		}
		s, err := h.Place(make([]byte, max(0, n%int(h.Max()+2))))
		if err != nil {
			return
		}
		for _, a := range h.Spans(s) {
			if a.Offset < h.Start+512 || a.End() > h.Start+h.Size {
				t.Fatalf("placed at %+v outside %+v", a, label.Metadata[0])
			}
			if h.Ignored() || h.Committed.Empty() {
				continue
			}
			for _, old := range h.Spans(h.Committed) {
				if a.Offset < old.End() && old.Offset < a.End() {
					t.Fatalf("%+v overwrites the committed %+v", a, old)
				}
			}
		}
		if err := h.Prepare(s).Check(); err != nil {
			t.Fatal(err)
		}
	})
}
