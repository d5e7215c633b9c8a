package userspace_test

import (
	"bytes"
	"errors"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// thinScene is a pool over devices that can fail: "a" has four blocks of ones, the
// snapshot "s" has them too.
func thinScene(t *testing.T) (r *thinRig, meta, data *blockdev.Crash) {
	meta, data = blockdev.NewCrash(thinMeta), blockdev.NewCrash(16*thinBlock)
	r = bootThin(t, meta, data, "0")
	r.thin("a", 1, 16)
	r.put("a", 0, 4*thinBlock, 1)
	r.suspend("a")
	r.send(dmcore.CreateThinSnapshot(2, 1))
	r.resume("a")
	r.mapThin("s", 2, 16)
	r.put("s", 3*thinBlock, thinBlock, 3)
	return r, meta, data
}

// A fault of the metadata device fails the write that meets it. The pool goes back
// to what was committed, is read-only, and says that it needs a check; or it has
// failed, if not even that could be written.
func TestThinMetadataFault(t *testing.T) {
	for n := 1; ; n++ {
		r, meta, _ := thinScene(t)
		meta.FailAt(n, errFault)
		err := r.tryPut("a", 2*thinBlock-512, 1024, 2)
		meta.FailAt(0, nil)
		if err == nil {
			if n < 4 {
				t.Errorf("a write is %d operations of the metadata device", n-1)
			}
			return
		}
		if !errors.Is(err, dmcore.ErrIO) {
			t.Errorf("fault %d: %v", n, err)
		}
		if s := r.status(); s.Mode != dmcore.ThinPoolReadOnly || !s.NeedsCheck {
			t.Fatalf("fault %d: status %s", n, s)
		}
		// What was committed when the fault came, if it was the last step of all, is.
		r.holds("a", 0, 2*thinBlock-512, 1)
		r.holds("s", 0, 3*thinBlock, 1)
		r.put("s", 3*thinBlock, 512, 4) // its own
		if err := r.tryPut("a", 8*thinBlock, 512, 2); !errors.Is(err, dmcore.ErrIO) {
			t.Errorf("fault %d: a write that needs a block: %v", n, err)
		}
		if err := r.c.SendThin(t.Context(), "pool", dmcore.CreateThin(9)); !errors.Is(err, dmcore.ErrNotSupported) {
			t.Errorf("fault %d: a message: %v", n, err)
		}
		r.suspend("pool")
		r.resume("pool")
		r.load("pool", "0 2048 thin-pool meta data 128 0")
		r.resume("pool")
		if s := r.status(); s.Mode != dmcore.ThinPoolReadOnly {
			t.Errorf("fault %d: status %s after a reload", n, s)
		}
		if err := r.m.Close(); err != nil {
			t.Error(err)
		}
		checkThin(t, meta)
	}
}

// A metadata device that is gone has the pool fail, and everything in it.
func TestThinMetadataGone(t *testing.T) {
	r, meta, _ := thinScene(t)
	meta.CutAt(1)
	if err := r.tryPut("a", 0, 512, 2); !errors.Is(err, dmcore.ErrIO) {
		t.Errorf("write: %v", err)
	}
	if s := r.status(); s.State != dmcore.ThinFail {
		t.Errorf("status %s", s)
	}
	st, err := r.c.ThinStatus(t.Context(), "a")
	if err != nil || st.State != dmcore.ThinFail {
		t.Errorf("status %v, %v", st, err)
	}
	if _, err := r.handle("s").ReadAt(make([]byte, 512), 0); !errors.Is(err, dmcore.ErrIO) {
		t.Errorf("read: %v", err)
	}
	r.suspend("pool")
	r.resume("pool")
	r.suspend("a")
	r.resume("a")
}

// A fault of a data write or read is that request's alone.
func TestThinDataFault(t *testing.T) {
	r, _, data := thinScene(t)
	used := r.status().UsedData
	for _, off := range []int{0, 5 * thinBlock} {
		data.FailAt(1, errFault)
		if err := r.tryPut("a", off, 512, 2); !errors.Is(err, errFault) {
			t.Errorf("write at %d: %v", off, err)
		}
		if s := r.status(); s.Mode != dmcore.ThinPoolWritable || s.UsedData != used {
			t.Errorf("write at %d: status %s, want %d blocks in use", off, s, used)
		}
	}
	r.holds("a", 0, 4*thinBlock, 1)
	r.holds("a", 5*thinBlock, 512, 0)
	r.put("a", 0, 512, 2)
	r.put("a", 5*thinBlock, 512, 2)
	r.holds("s", 0, 3*thinBlock, 1)
}

// Data that cannot be synced is not mapped: the pool gives the transaction up.
func TestThinDataSyncFault(t *testing.T) {
	r, meta, data := thinScene(t)
	data.FailAt(2, errFault) // the copy is written before
	if err := r.tryPut("a", 0, 512, 2); !errors.Is(err, errFault) {
		t.Errorf("write: %v", err)
	}
	if s := r.status(); s.Mode != dmcore.ThinPoolReadOnly || !s.NeedsCheck {
		t.Errorf("status %s", s)
	}
	r.holds("a", 0, 4*thinBlock, 1)
	checkThin(t, meta)
}

// A pool whose metadata is full cannot map more, says so, and can again when it is
// larger.
func TestThinMetadataFull(t *testing.T) {
	meta, data := blockdev.NewMem(128*4096), blockdev.NewMem(16*thinBlock)
	r := bootThin(t, meta, data, "0")
	r.thin("a", 0, 16)
	r.put("a", 0, thinBlock, 1)
	var err error
	id := uint32(1)
	for ; err == nil; id++ {
		err = r.c.SendThin(t.Context(), "pool", dmcore.CreateThin(id))
	}
	if id < 50 || id > 128 {
		t.Fatalf("id %d: %v", id, err)
	}
	err = r.tryPut("a", thinBlock, 512, 2)
	if !errors.Is(err, dmcore.ErrIO) {
		t.Fatalf("write: %v", err)
	}
	if s := r.status(); s.Mode != dmcore.ThinPoolReadOnly || s.NeedsCheck || s.UsedMetadata != s.TotalMetadata {
		t.Errorf("status %s", s)
	}
	r.holds("a", 0, thinBlock, 1)
	r.put("a", 0, 512, 2)
	checkThin(t, meta)
	meta.Resize(200 * 4096)
	r.suspend("pool")
	r.resume("pool")
	if s := r.status(); s.Mode != dmcore.ThinPoolWritable || s.TotalMetadata != 200 {
		t.Errorf("status %s", s)
	}
	r.put("a", thinBlock, 512, 2)
	checkThin(t, meta)
}

// A machine that closes takes the devices below a pool away, perhaps under a write.
// That says nothing against the metadata.
func TestThinFaultWhileClosing(t *testing.T) {
	r, meta, data := thinScene(t)
	r.m.SetClosing()
	data.FailAt(2, errFault)
	if err := r.tryPut("a", 0, 512, 2); !errors.Is(err, errFault) {
		t.Errorf("write: %v", err)
	}
	r = bootThin(t, meta, data, "0")
	if s := r.status(); s.NeedsCheck || s.Mode != dmcore.ThinPoolWritable {
		t.Errorf("status %s", s)
	}
	r.mapThin("a", 1, 16)
	r.holds("a", 0, 4*thinBlock, 1)
	r.put("a", 0, 512, 2)
}

// A thin device whose pool gave way to another table touches nothing of what was the
// pool's: that may be a new pool's by now.
func TestThinOfPoolThatGaveWay(t *testing.T) {
	r := newThinRig(t, 16, "0")
	r.thin("a", 1, 16)
	r.put("a", 0, 4*thinBlock, 1)
	h := r.handle("a")
	for _, table := range []string{"0 2048 error", "0 2048 thin-pool meta data 128 0"} {
		r.load("pool", table)
		r.resume("pool")
		meta := whole(t, r.files["meta"])
		if err := h.Zero(0, 2*thinBlock, true); !errors.Is(err, dmcore.ErrIO) {
			t.Errorf("zero: %v", err)
		}
		if err := h.Discard(0, 2*thinBlock); !errors.Is(err, dmcore.ErrIO) {
			t.Errorf("discard: %v", err)
		}
		if _, err := h.ReadAt(make([]byte, 512), 0); !errors.Is(err, dmcore.ErrIO) {
			t.Errorf("read: %v", err)
		}
		if !bytes.Equal(meta, whole(t, r.files["meta"])) {
			t.Errorf("the metadata changed under %q", table)
		}
	}
}

func whole(t *testing.T, d blockdev.Device) []byte {
	t.Helper()
	p := make([]byte, d.Size())
	if _, err := d.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return p
}
