package lvm

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"cowhand/dmcore/blockdev"
	"cowhand/lvm/ondisk"
)

// Whatever is on one device, the group on the others is found and can be
// changed.
func FuzzScan(f *testing.F) {
	golden, err := os.ReadFile("ondisk/testdata/pv-first-64k.bin")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), []byte{}, false)
	f.Add(uint16(4096+512), []byte("vg {"), true)
	f.Add(uint16(512+72), []byte{0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, true)
	f.Add(uint16(4096+28672), []byte("vg { }\n contents = \"Text Format Volume Group\"\n"), true)
	f.Fuzz(func(t *testing.T, at uint16, bytes []byte, fix bool) {
		b := append([]byte(nil), golden...)
		copy(b[at:], bytes)
		if fix { // make the checksums right
			text := b[4096+28672 : 4096+28672+3409]
			binary.LittleEndian.PutUint32(b[4096+56:], ondisk.CRC(text))
			binary.LittleEndian.PutUint32(b[4096:], ondisk.CRC(b[4100:4608]))
			binary.LittleEndian.PutUint32(b[512+16:], ondisk.CRC(b[512+20:1024]))
		}
		r := newRig(2)
		vg := r.group(t, "healthy", PVOptions{}, "m1")
		r.devs["m0"] = blockdev.NewCrashOn(r.power, blockdev.NewMemBytes(append(b, make([]byte, 4<<20)...)))
		l, err := r.Scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range l.Groups {
			if g.Err == nil && g.VG.Validate() != nil {
				t.Errorf("an invalid group is offered: %v", g.VG.Validate())
			}
		}
		if _, err := r.Load(t.Context(), "healthy"); err != nil && !errors.Is(err, ErrDuplicate) {
			t.Fatal(err)
		}
		r.commit(t, vg, "changed")
	})
}
