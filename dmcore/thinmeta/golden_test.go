package thinmeta

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore/blockdev"
)

// testdata/thin-tmeta-4m.img.gz was written by Linux 6.1.192 for a pool made by
// lvm2 2.03.16: four thin devices, three of them snapshots, and a metadata
// snapshot in block 66. Beside it is what thin_delta -m and thin_dump -m of
// thin-provisioning-tools 0.9.0 said of it.
func golden(t testing.TB) *blockdev.Mem {
	t.Helper()
	f, err := os.Open("testdata/thin-tmeta-4m.img.gz")
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	b, err := io.ReadAll(z)
	must(t, err)
	return blockdev.NewMemBytes(b)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestGoldenSuperblock(t *testing.T) {
	r, err := Read(golden(t))
	must(t, err)
	want := Superblock{
		Version: 2, Time: 3, TransactionID: 4, HeldRoot: 66, BlockSize: 128, MetadataBlocks: 1024,
		data: smRoot{2048, 318, 59, 54}, meta: smRoot{1024, 19, 67, 2},
		mappings: 62, details: 63, metaBlockSectors: 8,
	}
	if diff := cmp.Diff(want, r.Superblock(), cmp.AllowUnexported(Superblock{}, smRoot{})); diff != "" {
		t.Errorf("superblock (-want +got)\n%s", diff)
	}
	held, err := r.Held()
	must(t, err)
	want.HeldRoot, want.data, want.meta = 0, smRoot{}, smRoot{}
	if diff := cmp.Diff(want, held.Superblock(), cmp.AllowUnexported(Superblock{}, smRoot{})); diff != "" {
		t.Errorf("held superblock (-want +got)\n%s", diff)
	}
	if got, want := r.Usage(), (Usage{19, 1024, 318, 2048}); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
	b, err := golden(t).ReadAt(make([]byte, 1), 0)
	if b != 1 {
		t.Fatal(err)
	}
}

// A superblock that is read and written again is the kernel's.
func TestGoldenSuperblockBytes(t *testing.T) {
	c := newCache(golden(t))
	sb, want, err := readSuperblock(c, 0)
	must(t, err)
	got := make([]byte, BlockSize)
	sb.encode(got, 0)
	if !bytes.Equal(got, want) {
		t.Error("the superblock changes when it is written again")
	}
}

func TestGoldenDump(t *testing.T) {
	b, err := os.ReadFile("testdata/thin-tmeta.thin_delta_and_dump.xml")
	must(t, err)
	delta, want, ok := strings.Cut(string(b), "--- dump\n")
	if !ok {
		t.Fatal("no dump in testdata")
	}
	live, err := Read(golden(t))
	must(t, err)
	r, err := live.Held()
	must(t, err)
	got, err := dump(r)
	must(t, err)
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
		t.Errorf("dump (-thin_dump +got)\n%s", diff)
	}
	if diff := cmp.Diff(changesIn(delta), changes(t, r, 2, 1)); diff != "" {
		t.Errorf("2 against 1 (-thin_delta +got)\n%s", diff)
	}
}

// changesIn picks what differs from what thin_delta wrote.
func changesIn(delta string) (out []string) {
	for line := range strings.Lines(delta) {
		if line = strings.TrimSpace(line); strings.Contains(line, "begin=") && !strings.HasPrefix(line, "<same") {
			out = append(out, line)
		}
	}
	return out
}

// changes writes differences as thin_delta does.
func changes(t testing.TB, r *Reader, left, right uint32) (out []string) {
	t.Helper()
	word := map[Side]string{LeftOnly: "left_only", RightOnly: "right_only", Different: "different"}
	for c, err := range r.Diff(left, right) {
		must(t, err)
		out = append(out, fmt.Sprintf(`<%s begin="%d" length="%d"/>`, word[c.Side], c.Begin, c.Length))
	}
	return out
}

// dump writes metadata as thin_dump does.
func dump(r *Reader) (string, error) {
	var b strings.Builder
	sb := r.Superblock()
	flags := 0
	if sb.NeedsCheck {
		flags = 1
	}
	fmt.Fprintf(&b, "<superblock uuid=\"\" time=\"%d\" transaction=\"%d\" flags=\"%d\" version=\"%d\" data_block_size=\"%d\" nr_data_blocks=\"%d\">\n",
		sb.Time, sb.TransactionID, flags, sb.Version, sb.BlockSize, r.Usage().Data)
	devices, err := r.Devices()
	if err != nil {
		return "", err
	}
	for _, d := range devices {
		fmt.Fprintf(&b, "  <device dev_id=\"%d\" mapped_blocks=\"%d\" transaction=\"%d\" creation_time=\"%d\" snap_time=\"%d\">\n",
			d.ID, d.MappedBlocks, d.TransactionID, d.CreationTime, d.SnapshottedTime)
		for m, err := range r.Mappings(d.ID, 0, maxVBlock) {
			if err != nil {
				return "", err
			}
			if m.Length == 1 {
				fmt.Fprintf(&b, "    <single_mapping origin_block=\"%d\" data_block=\"%d\" time=\"%d\"/>\n", m.Begin, m.Data, m.Time)
			} else {
				fmt.Fprintf(&b, "    <range_mapping origin_begin=\"%d\" data_begin=\"%d\" length=\"%d\" time=\"%d\"/>\n", m.Begin, m.Data, m.Length, m.Time)
			}
		}
		fmt.Fprintf(&b, "  </device>\n")
	}
	fmt.Fprintf(&b, "</superblock>\n")
	return b.String(), nil
}

func TestGoldenCheck(t *testing.T) {
	rep, err := Check(golden(t))
	must(t, err)
	if !rep.Clean() || rep.Devices != 4 || rep.Underfull != 0 {
		t.Errorf("%+v", rep)
	}
}

// The counts the kernel left in the metadata's bitmap.
func TestGoldenBitmap(t *testing.T) {
	b, err := newCache(golden(t)).get(65, bitmapKind)
	must(t, err)
	want := map[int]uint32{0: 1, 2: 1, 17: 2, 18: 1, 19: 1, 32: 1, 49: 1, 52: 1, 53: 1, 54: 1, 55: 1, 56: 1, 57: 1, 59: 1, 62: 2, 63: 2, 65: 1, 66: 1, 67: 1}
	again := make([]byte, BlockSize)
	for i := range perBitmap {
		got := bitmapGet(b, i)
		if got != want[i] {
			t.Errorf("block %d is counted %d times, want %d", i, got, want[i])
		}
		bitmapSet(again, i, got)
	}
	if !bytes.Equal(again[bitmapHeader:], b[bitmapHeader:]) {
		t.Error("bits differ when they are set again")
	}
}

func TestGoldenLookup(t *testing.T) {
	r, err := Read(golden(t))
	must(t, err)
	for _, c := range []struct {
		id   uint32
		v    VBlock
		want Mapping
		ok   bool
	}{
		{1, 0, Mapping{317, 2}, true},
		{1, 19, Mapping{19, 0}, true},
		{1, 20, Mapping{}, false},
		{1, 506, Mapping{316, 2}, true},
		{1, 507, Mapping{}, false},
		{3, 101, Mapping{309, 2}, true},
	} {
		if m, ok, err := r.Lookup(c.id, c.v); m != c.want || ok != c.ok || err != nil {
			t.Errorf("device %d, block %d: %v, %t, %v; want %v, %t", c.id, c.v, m, ok, err, c.want, c.ok)
		}
	}
	if v, ok, err := r.Highest(1); v != 506 || !ok || err != nil {
		t.Errorf("highest block %d, %t, %v; want 506", v, ok, err)
	}
	d, err := r.Device(1)
	must(t, err)
	if d.Shares(Mapping{Time: 2}) || !d.Shares(Mapping{Time: 1}) {
		t.Error("what was mapped since the last snapshot is not shared, and all else is")
	}
}
