package userspace_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"cowhand/dmcore/blockdev"
)

// syncing is a disk whose syncs do what the test says.
type syncing struct {
	*blockdev.Mem
	sync atomic.Pointer[func() error]
}

func (d *syncing) Sync() error {
	if f := d.sync.Load(); f != nil {
		return (*f)()
	}
	return nil
}

// A batch that relies on the exceptions of the one before fails with it, also
// when that is no fault of the snapshot: the origin must not be overwritten.
func TestBatchFailsWithTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		pv, cow := blockdev.NewMem(1<<20), &syncing{Mem: blockdev.NewMem(1 << 20)}
		r.files["pv"], r.files["cow"] = pv, cow
		real := r.device("o-real", "0 512 linear pv 0")
		r.device("s", "0 512 snapshot "+string(real)+" cow P 8")
		r.device("o", "0 512 snapshot-origin "+string(real))
		o := r.handle("o")

		commits := make(chan error)
		settled := false
		f := func() error {
			if !settled {
				settled = true
				return nil
			}
			return <-commits
		}
		cow.sync.Store(&f)
		wrote := make(chan error, 2)
		for i := range 2 {
			go func() {
				_, err := o.WriteAt([]byte(string(make([]byte, 511))+"x"), int64(i)*512)
				wrote <- err
			}()
			synctest.Wait()
		}
		r.m.SetClosing()
		commits <- errFault
		for range 2 {
			if err := <-wrote; err == nil {
				t.Error("wrote to the origin what the snapshot has no copy of")
			}
		}
		p := make([]byte, 1024)
		if _, err := pv.ReadAt(p, 0); err != nil || p[511] != 0 || p[1023] != 0 {
			t.Errorf("the origin was overwritten: %d, %d, %v", p[511], p[1023], err)
		}
	})
}
