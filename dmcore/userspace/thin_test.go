package userspace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/thinmeta"
)

const (
	thinBlock = 64 << 10
	thinMeta  = 1 << 20
)

// thinRig is a rig with a pool of so many blocks in the files "meta" and "data".
type thinRig struct {
	*rig
	pool dmcore.Dev
}

func newThinRig(t testing.TB, blocks int, rest string) *thinRig {
	return bootThin(t, blockdev.NewMem(thinMeta), blockdev.NewMem(int64(blocks)*thinBlock), rest)
}

// bootThin makes a pool of what is on devices.
func bootThin(t testing.TB, meta, data blockdev.Device, rest string) *thinRig {
	t.Helper()
	r := &thinRig{rig: newRig(t)}
	r.files["meta"], r.files["data"] = meta, data
	r.pool = r.device("pool", fmt.Sprintf("0 %d thin-pool meta data 128 %s", data.Size()/512, rest))
	return r
}

func (r *thinRig) send(messages ...dmcore.ThinMessage) {
	r.t.Helper()
	if err := r.c.SendThin(context.Background(), "pool", messages...); err != nil {
		r.t.Fatal(err)
	}
}

// thin makes and maps a thin device of so many blocks.
func (r *thinRig) thin(name string, id uint32, blocks int) {
	r.t.Helper()
	r.send(dmcore.CreateThin(id))
	r.mapThin(name, id, blocks)
}

func (r *thinRig) mapThin(name string, id uint32, blocks int) {
	r.t.Helper()
	r.device(name, fmt.Sprintf("0 %d thin %s %d", blocks*128, r.pool, id))
}

func (r *thinRig) status() dmcore.ThinPoolStatus {
	r.t.Helper()
	s, err := r.c.ThinPoolStatus(context.Background(), "pool")
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// put writes n bytes of one value at off.
func (r *thinRig) put(name string, off, n int, b byte) {
	r.t.Helper()
	if err := r.tryPut(name, off, n, b); err != nil {
		r.t.Fatalf("write to %s at %d: %v", name, off, err)
	}
}

func (r *thinRig) tryPut(name string, off, n int, b byte) error {
	h := r.handle(name)
	_, err := h.WriteAt(bytes.Repeat([]byte{b}, n), int64(off))
	return errors.Join(err, h.Close())
}

// holds fails the test unless n bytes at off have one value.
func (r *thinRig) holds(name string, off, n int, b byte) {
	r.t.Helper()
	got, h := make([]byte, n), r.handle(name)
	_, err := h.ReadAt(got, int64(off))
	if err := errors.Join(err, h.Close()); err != nil {
		r.t.Fatalf("read of %s at %d: %v", name, off, err)
	}
	for i, g := range got {
		if g != b {
			r.t.Fatalf("%s: byte %d is %d, want %d", name, off+i, g, b)
		}
	}
}

func (r *thinRig) sync(name string) {
	r.t.Helper()
	h := r.handle(name)
	if err := errors.Join(h.Sync(), h.Close()); err != nil {
		r.t.Fatal(err)
	}
}

// Of a process that is killed everything stays that it had acknowledged, synced or
// not: who was told so goes on with the next process.
func TestThinOutlivesItsProcess(t *testing.T) {
	r := newThinRig(t, 16, "0")
	r.thin("a", 1, 32)
	r.put("a", 5*512, 3*thinBlock, 1)
	r.suspend("a")
	r.send(dmcore.CreateThinSnapshot(2, 1))
	r.resume("a")
	r.put("a", thinBlock, 512, 2)
	r.put("a", 20*thinBlock, 512, 3)
	h := r.handle("a")
	if err := h.Zero(0, thinBlock, true); err != nil {
		t.Fatal(err)
	}
	r = bootThin(t, r.files["meta"], r.files["data"], "0") // and nothing of the first is told
	r.mapThin("a", 1, 32)
	r.mapThin("s", 2, 32)
	r.holds("a", 0, thinBlock, 0)
	r.holds("a", thinBlock, 512, 2)
	r.holds("a", thinBlock+512, thinBlock, 1)
	r.holds("a", 20*thinBlock, 512, 3)
	r.holds("s", 5*512, 3*thinBlock, 1)
	checkThin(t, r.files["meta"])
}

// checkThin has the metadata checked.
func checkThin(t testing.TB, meta blockdev.Device) {
	t.Helper()
	report, err := thinmeta.Check(meta)
	if err != nil || !report.Clean() {
		t.Fatalf("check of the metadata: %v, %+v", err, report)
	}
}

// Writers and readers of the same blocks, with snapshots and discards between: no
// block is seen half written, or with what is another's.
func TestThinTogether(t *testing.T) {
	const blocks = 8
	r := newThinRig(t, 64, "0")
	r.thin("a", 1, blocks)
	r.thin("b", 2, blocks)
	var all sync.WaitGroup
	stop := make(chan struct{})
	for w := range 8 {
		name, value := "a", byte(1+w)
		if w%2 == 1 {
			name, value = "b", byte(100+w)
		}
		h := r.handle(name)
		all.Go(func() {
			for i := w; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				off := int64(i%blocks) * thinBlock
				switch i % 5 {
				case 0:
					if err := h.Discard(off, thinBlock); err != nil {
						t.Error(err)
					}
				case 1, 2:
					if _, err := h.WriteAt(bytes.Repeat([]byte{value}, 1024), off+int64(w)*1024); err != nil {
						t.Error(err)
					}
				default:
					p := make([]byte, 1024)
					if _, err := h.ReadAt(p, off+int64(w)*1024); err != nil {
						t.Error(err)
					}
					if len(bytes.Trim(p, string(p[:1]))) > 0 || p[0] != 0 && p[0] != value {
						t.Errorf("%s: %d, want 0 or %d", name, p[0], value)
					}
				}
			}
		})
	}
	for id := range uint32(20) {
		r.suspend("a")
		r.send(dmcore.CreateThinSnapshot(10+id, 1))
		r.resume("a")
		if id >= 2 {
			r.send(dmcore.DeleteThin(10 + id - 2))
		}
		r.suspend("pool")
		r.resume("pool")
	}
	close(stop)
	all.Wait()
	if err := r.m.Close(); err != nil {
		t.Fatal(err)
	}
	checkThin(t, r.files["meta"])
}

// What would be another pool, or wait for itself, is refused; the kernel takes both.
func TestThinRefusesWhatTheKernelTakes(t *testing.T) {
	r := newThinRig(t, 16, "0")
	r.thin("a", 1, 8)
	info, err := r.c.Info(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	r.send(dmcore.CreateThin(2))
	if _, err := r.c.Create(t.Context(), "b", "b"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"b":    fmt.Sprintf("0 128 thin %s 2 %s", r.pool, info.Dev), // an external origin in the pool itself
		"pool": "0 2048 thin-pool meta data 256 0",
	} {
		table, err := dmcore.ParseTable(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.c.Load(t.Context(), dmcore.UUID(name), table, false); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
