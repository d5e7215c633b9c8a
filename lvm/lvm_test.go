package lvm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"cowhand/dmcore"
)

func golden(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/vg-text-seqno12.bin")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustParse(t testing.TB, text []byte) *VG {
	t.Helper()
	vg, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return vg
}

// counter is a source of IDs that differ and are the same in every run.
type counter struct{ r *rand.Rand }

func newCounter(seed uint64) counter { return counter{rand.New(rand.NewPCG(seed, 0))} }

func (c counter) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c.r.UintN(62))
	}
	return len(b), nil
}

var testTime = time.Unix(1795403970, 0).UTC()

func testStamp(seed uint64) Stamp {
	return Stamp{Time: testTime, Host: "host", Rand: newCounter(seed)}
}

// testVG is a new group of 4 MiB extents on so many physical volumes.
func testVG(t testing.TB, extents ...Extents) *VG {
	t.Helper()
	ids := newCounter(1)
	newID := func() ID {
		id, err := NewID(ids)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	vg := &VG{Name: "vg", ID: newID(), Seqno: 1, ExtentSize: 8192, Status: []string{"RESIZEABLE", "READ", "WRITE"}}
	for i, n := range extents {
		vg.PVs = append(vg.PVs, &PV{
			Name: fmt.Sprintf("pv%d", i), ID: newID(), Device: fmt.Sprintf("/dev/vd%c", 'b'+i),
			DevSize: 2048 + vg.Sectors(n), PEStart: 2048, PECount: n, Status: []string{"ALLOCATABLE"},
		})
	}
	return vg
}

func add(t testing.TB, vg *VG, name string, extents Extents) *LV {
	t.Helper()
	lv, err := vg.AddLinear(LinearSpec{Name: name, Size: Size{Count: extents}, Stamp: testStamp(uint64(len(vg.LVs)) + 10)})
	if err != nil {
		t.Fatal(err)
	}
	return lv
}

func snap(t testing.TB, vg *VG, origin, name string, extents Extents) *LV {
	t.Helper()
	lvs, err := vg.AddSnapshots([]SnapshotSpec{{Origin: origin, Name: name, Size: Size{Count: extents}, Stamp: testStamp(uint64(len(vg.LVs)) + 10)}})
	if err != nil {
		t.Fatal(err)
	}
	return lvs[0]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var testHeader = Header{Description: "Write from test.", Host: "host", System: "Linux host", Time: testTime}

func text(t testing.TB, vg *VG) []byte {
	t.Helper()
	must(t, vg.Validate())
	b, err := vg.Text(testHeader)
	must(t, err)
	return b
}

// reread is what another process makes of the group.
func reread(t testing.TB, vg *VG) *VG {
	t.Helper()
	return mustParse(t, text(t, vg))
}

// section cuts a section out of a text, with its braces.
func section(text []byte, name string) string {
	at := bytes.Index(text, []byte("\n"+name+" {\n"))
	if at < 0 {
		return ""
	}
	depth, rest := 0, text[at+1:]
	for i, c := range rest {
		switch c {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return string(rest[:i+1])
			}
		}
	}
	return ""
}

func order(vg *VG) string {
	var names []string
	for _, lv := range vg.LVs {
		names = append(names, lv.Name)
	}
	return strings.Join(names, " ")
}

// pvDevice maps physical volumes to their paths.
func pvDevice(vg *VG) ActivateOptions {
	return ActivateOptions{PVDevice: func(id ID) (dmcore.Dev, error) { return dmcore.Dev(vg.PVByID(id).Device), nil }}
}
