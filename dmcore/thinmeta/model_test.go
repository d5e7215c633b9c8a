package thinmeta

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore/blockdev"
)

// seeded is random numbers from COWHAND_SEED, or from a seed that a failing test
// prints.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		must(t, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("COWHAND_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, seed))
}

// Any changes give what a plain map gives, and metadata that thin_check accepts.
func TestModel(t *testing.T) {
	steps := 1500
	if testing.Short() {
		steps = 500
	}
	rng := seeded(t)
	for _, c := range []struct {
		name                           string
		blocks, data, span, many, room int
	}{
		{"small", 1024, 5000, 2000, 12, 0},
		{"large", 4096, 40000, 10000, 60, 0},
		{"tall trees", 8192, 10000, 3000, 8, 6},
		{"tall trees of wider nodes", 8192, 10000, 3000, 8, 15},
		{"metadata runs out", 160, 4000, 1000, 5, 0},
		{"data runs out", 1024, 200, 2000, 5, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := blockdev.NewMem(int64(c.blocks) * BlockSize)
			must(t, Format(dev, 128, uint64(c.data)))
			p, err := Open(dev, nil)
			must(t, err)
			p.room = c.room
			r := &random{t: t, rng: rng, p: p, now: newModel(uint64(c.data)), span: c.span, many: c.many}
			r.last = r.now.clone()
			for i := range steps {
				must(t, r.step())
				switch {
				case i%500 == 99:
					must(t, r.commit())
					sound(t, dev, r.now)
				case i%500 == 299:
					must(t, p.Rollback())
					r.now = r.last.clone()
				case i%100 == 42:
					sound(t, dev, r.last)
					must(t, p.Read(func(reader *Reader) error {
						if diff := r.now.diff(read(t, reader)); diff != "" {
							t.Errorf("step %d (-want +got)\n%s", i, diff)
						}
						return nil
					}))
				case i%500 == 377:
					must(t, r.commit())
					r.p, err = Open(dev, nil)
					must(t, err)
					p = r.p
					p.room = c.room
				}
				if t.Failed() {
					return
				}
			}
			must(t, r.commit())
			sound(t, dev, r.now)
			accepted(t, dev)
		})
	}
}

// accepted shows metadata to thin_check and thin_dump.
func accepted(t *testing.T, dev *blockdev.Mem) {
	t.Helper()
	path := image(t, dev)
	if out, err := exec.Command(tool(t, "thin_check"), path).CombinedOutput(); err != nil {
		t.Errorf("thin_check: %v\n%s", err, out)
	}
	want, err := exec.Command(tool(t, "thin_dump"), path).Output()
	must(t, err)
	r, err := Read(dev)
	must(t, err)
	got, err := dump(r)
	must(t, err)
	if diff := cmp.Diff(strings.TrimSpace(string(want)), strings.TrimSpace(got)); diff != "" {
		t.Errorf("dump (-thin_dump +got)\n%s", diff)
	}
}
