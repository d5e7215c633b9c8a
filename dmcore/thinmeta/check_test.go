package thinmeta

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cowhand/dmcore/blockdev"
)

// tool finds a program of thin-provisioning-tools, or skips the test.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Skipf("no %s (thin-provisioning-tools)", name)
	return ""
}

// image writes a device into a file.
func image(t testing.TB, dev *blockdev.Mem) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tmeta")
	must(t, os.WriteFile(path, contents(t, dev), 0o600))
	return path
}

func contents(t testing.TB, dev blockdev.Device) []byte {
	t.Helper()
	b := make([]byte, dev.Size())
	_, err := dev.ReadAt(b, 0)
	must(t, err)
	return b
}

// change changes a block and seals it.
func change(t *testing.T, dev *blockdev.Mem, nr uint64, k kind, f func(b []byte)) {
	t.Helper()
	b := make([]byte, BlockSize)
	_, err := dev.ReadAt(b, int64(nr)*BlockSize)
	must(t, err)
	must(t, verify(b, nr, k))
	f(b)
	seal(b, nr, k)
	_, err = dev.WriteAt(b, int64(nr)*BlockSize)
	must(t, err)
}

// Of the kernel's metadata, with one thing wrong in it, Check and thin_check
// think alike.
func TestCheckFinds(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(t *testing.T, dev *blockdev.Mem)
		want    string // in a problem
		leaks   [2]uint64
		lenient bool // thin_check 0.9 does not look at that
	}{
		{"nothing", func(*testing.T, *blockdev.Mem) {}, "", [2]uint64{}, false},
		{"superblock magic", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 0, superKind, func(b []byte) { b[32]++ })
		}, "magic number", [2]uint64{}, true},
		{"lost metadata block", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 65, bitmapKind, func(b []byte) { bitmapSet(b, 500, 1) })
			change(t, dev, 67, indexKind, func(b []byte) { le.PutUint32(b[indexHeader+8:], 16300) })
			change(t, dev, 0, superKind, func(b []byte) { le.PutUint64(b[192+8:], 20) })
		}, "", [2]uint64{1, 0}, false},
		{"metadata block counted too often", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 65, bitmapKind, func(b []byte) { bitmapSet(b, 52, 2) })
		}, "", [2]uint64{1, 0}, false},
		{"metadata block counted too little", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 65, bitmapKind, func(b []byte) { bitmapSet(b, 17, 1) })
		}, "block 17: counted 1 times", [2]uint64{}, false},
		{"data block counted too little", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 49, bitmapKind, func(b []byte) { bitmapSet(b, 317, 0) })
		}, "block 317: counted 0 times", [2]uint64{}, true},
		{"data blocks counted too often", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 49, bitmapKind, func(b []byte) { bitmapSet(b, 1000, 1); bitmapSet(b, 1001, 2) })
			change(t, dev, 0, superKind, func(b []byte) { le.PutUint64(b[64+8:], 320) })
		}, "", [2]uint64{0, 2}, true},
		{"free count", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 67, indexKind, func(b []byte) { b[indexHeader+8]-- })
		}, "", [2]uint64{}, false},
		{"used count", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 0, superKind, func(b []byte) { b[192+8]++ })
		}, "", [2]uint64{}, false},
		{"order of keys", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 18, nodeKind, func(b []byte) { node{b}.setKey(7, 3) })
		}, "key 3 follows 6", [2]uint64{}, false},
		{"mapping outside the pool", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 18, nodeKind, func(b []byte) { copy(node{b}.value(9), encodeMapping(Mapping{2048, 0})) })
		}, "is mapped to 2048 of 2048", [2]uint64{0, 1}, true},
		{"node outside the device", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 62, nodeKind, func(b []byte) { node{b}.setChild(0, 1024) })
		}, "outside a device", [2]uint64{}, false},
		{"tree in a circle", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 55, nodeKind, func(b []byte) { node{b}.setChild(1, 55) })
		}, "block 55", [2]uint64{}, false},
		{"mapped blocks", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 63, nodeKind, func(b []byte) { node{b}.value(2)[0]++ })
		}, "device 3: 299 blocks mapped, details say", [2]uint64{}, true},
		{"bit rot", func(t *testing.T, dev *blockdev.Mem) {
			_, err := dev.WriteAt([]byte{99}, 18*BlockSize+3000)
			must(t, err)
		}, "checksum of a node", [2]uint64{}, false},
		{"held root", func(t *testing.T, dev *blockdev.Mem) {
			change(t, dev, 0, superKind, func(b []byte) { le.PutUint64(b[56:], 62) })
		}, "block 62: is both node and superblock", [2]uint64{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := golden(t)
			c.change(t, dev)
			rep, err := Check(dev)
			must(t, err)
			if got := fmt.Sprint(rep.Err()); c.want == "" && rep.Err() != nil || !strings.Contains(got, c.want) {
				t.Errorf("found %s; want %q", got, c.want)
			}
			if want := strings.HasSuffix(c.name, " count"); want != (rep.Miscounted == 1) && rep.Clean() {
				t.Errorf("%d sums are wrong", rep.Miscounted)
			}
			if got := [2]uint64{rep.MetadataLeaks, rep.DataLeaks}; got != c.leaks {
				t.Errorf("leaks %d, want %d", got, c.leaks)
			}
			out, err := exec.Command(tool(t, "thin_check"), image(t, dev)).CombinedOutput()
			if !c.lenient && (err == nil) != rep.Clean() {
				t.Errorf("thin_check: %v\n%s\nwe: %+v", err, out, rep)
			}
		})
	}
}

// However a byte of a block in use is changed, the checksums tell.
func TestCheckEveryByte(t *testing.T) {
	whole := golden(t)
	bitmap, err := newCache(whole).get(65, bitmapKind)
	must(t, err)
	for nr := range int64(1024) {
		if bitmapGet(bitmap, int(nr)) == 0 {
			continue
		}
		for off := nr * BlockSize; off < (nr+1)*BlockSize; off += 331 {
			dev := whole.Clone()
			b := make([]byte, 1)
			_, err := dev.ReadAt(b, off)
			must(t, err)
			_, err = dev.WriteAt([]byte{b[0] ^ 0x10}, off)
			must(t, err)
			rep, err := Check(dev)
			must(t, err)
			if rep.Err() == nil {
				t.Errorf("block %d: a change at %d is not found", nr, off%BlockSize)
			}
		}
	}
}
