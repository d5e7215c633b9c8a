package thinmeta

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore/blockdev"
)

// crowd is a pool with devices and snapshots made at random.
func crowd(t *testing.T, rng *rand.Rand, steps int) (*blockdev.Mem, *model) {
	t.Helper()
	dev := blockdev.NewMem(2048 * BlockSize)
	const data = 20000
	must(t, Format(dev, 128, data))
	p, err := Open(dev, nil)
	must(t, err)
	r := &random{t: t, rng: rng, p: p, now: newModel(data), span: 3000, many: 12}
	for range steps {
		must(t, r.step())
	}
	if r.now.held {
		must(t, p.ReleaseMetadataSnapshot())
		r.now.held = false
	}
	must(t, r.commit())
	return dev, r.now
}

// clean checks a device, sums apart.
func clean(t *testing.T, dev blockdev.Device) {
	t.Helper()
	if rep, err := Check(dev); err != nil || !rep.Clean() {
		t.Fatalf("check: %+v, %v", rep, err)
	}
}

// What thin_restore writes is read, and can be changed, to the liking of
// thin_check.
func TestThinRestore(t *testing.T) {
	restore := tool(t, "thin_restore")
	rng := seeded(t)
	for range 3 {
		dev, want := crowd(t, rng, 400)
		r, err := Read(dev)
		must(t, err)
		xml, err := dump(r)
		must(t, err)
		dir := t.TempDir()
		in, out := filepath.Join(dir, "xml"), filepath.Join(dir, "tmeta")
		must(t, os.WriteFile(in, []byte(xml), 0o600))
		must(t, os.WriteFile(out, make([]byte, dev.Size()), 0o600))
		if msg, err := exec.Command(restore, "-i", in, "-o", out).CombinedOutput(); err != nil {
			t.Fatalf("thin_restore: %v\n%s", err, msg)
		}
		b, err := os.ReadFile(out)
		must(t, err)
		restored := blockdev.NewMemBytes(b)
		clean(t, restored)
		holds(t, restored, want)
		p, err := Open(restored, nil)
		must(t, err)
		more := &random{t: t, rng: rng, p: p, now: want, span: 3000, many: 12}
		for range 300 {
			must(t, more.step())
		}
		must(t, more.commit())
		clean(t, restored)
		holds(t, restored, more.now)
		accepted(t, restored)
	}
}

// Diff tells of any two devices what thin_delta tells.
func TestThinDelta(t *testing.T) {
	delta := tool(t, "thin_delta")
	dev, m := crowd(t, seeded(t), 600)
	path := image(t, dev)
	r, err := Read(dev)
	must(t, err)
	n := 0
	for left := range m.devices {
		for right := range m.devices {
			if n++; n > 60 {
				return
			}
			out, err := exec.Command(delta, "--snap1", strconv.Itoa(int(left)), "--snap2", strconv.Itoa(int(right)), path).CombinedOutput()
			if err != nil {
				t.Fatalf("thin_delta: %v\n%s", err, out)
			}
			if diff := cmp.Diff(changesIn(string(out)), changes(t, r, left, right)); diff != "" {
				t.Errorf("%d against %d (-thin_delta +got)\n%s", left, right, diff)
			}
		}
	}
}

// A full pool takes no more metadata than thin_metadata_size says it may.
func TestThinMetadataSize(t *testing.T) {
	const blocks = 40000
	out, err := exec.Command(tool(t, "thin_metadata_size"), "-b", "64k", "-s", fmt.Sprintf("%dk", blocks*64), "-m", "1", "-u", "s", "-n").Output()
	must(t, err)
	sectors, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	must(t, err)
	dev := blockdev.NewMem(4096 * BlockSize)
	must(t, Format(dev, 128, blocks))
	fillPool(t, dev, 1, blocks)
	r, err := Read(dev)
	must(t, err)
	if used, most := r.Usage().UsedMetadata, uint64(sectors/metaBlockSectors); used > most {
		t.Errorf("%d blocks of metadata in use, thin_metadata_size says %d", used, most)
	}
}

// thin_check clears the flag that keeps a pool from being changed.
func TestThinCheckClearsNeedsCheck(t *testing.T) {
	check := tool(t, "thin_check")
	dev, m := crowd(t, seeded(t), 100)
	p, err := Open(dev, nil)
	must(t, err)
	must(t, p.SetNeedsCheck(true))
	sound(t, dev, m)
	path := image(t, dev)
	if out, err := exec.Command(check, "--clear-needs-check-flag", path).CombinedOutput(); err != nil {
		t.Fatalf("thin_check: %v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	must(t, err)
	r, err := Read(blockdev.NewMemBytes(b))
	must(t, err)
	if r.Superblock().NeedsCheck {
		t.Error("it still needs a check")
	}
	sound(t, blockdev.NewMemBytes(b), m)
}
