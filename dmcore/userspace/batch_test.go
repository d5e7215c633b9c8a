package userspace_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// slowDisk is memory whose syncs are counted and wait for a turn of hold, if
// there is one.
type slowDisk struct {
	*blockdev.Mem
	syncs atomic.Int64
	hold  atomic.Pointer[chan struct{}]
}

func (d *slowDisk) Sync() error {
	d.syncs.Add(1)
	if hold := d.hold.Load(); hold != nil {
		<-*hold
	}
	return nil
}

// batchRig is an origin of 4 MiB with n snapshots in chunks of 4 KiB, each COW
// device on a disk of its own.
func batchRig(t *testing.T, n int) (r *rig, cows []*slowDisk) {
	r = newRig(t)
	r.files["pv"] = blockdev.NewMem(4 << 20)
	real := r.device("o-real", "0 8192 linear pv 0")
	for i := range n {
		d := &slowDisk{Mem: blockdev.NewMem(8 << 20)}
		ref := fmt.Sprint("cow", i)
		r.files[dmcore.Dev(ref)] = d
		r.device(fmt.Sprint("s", i), fmt.Sprintf("0 8192 snapshot %s %s P 8", real, ref))
		d.syncs.Store(0)
		cows = append(cows, d)
	}
	r.device("o", fmt.Sprintf("0 8192 snapshot-origin %s", real))
	return r, cows
}

func (d *slowDisk) stop() (release func()) {
	hold := make(chan struct{})
	d.hold.Store(&hold)
	return func() {
		d.hold.Store(nil)
		close(hold)
	}
}

// TestWritersShareCommits: all that comes while one commit is under way goes
// into the next. Each commit takes two syncs.
func TestWritersShareCommits(t *testing.T) {
	for _, name := range []string{"o", "s0"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, cows := batchRig(t, 1)
				h := r.handle(name)
				release := cows[0].stop()
				const writers = 100
				done := make(chan error, writers)
				write := func(i int) {
					_, err := h.WriteAt(make([]byte, 512), int64(i)*8192)
					done <- err
				}
				go write(0)
				synctest.Wait() // it syncs, and waits
				for i := 1; i < writers; i++ {
					go write(i)
				}
				synctest.Wait()
				if len(done) > 0 {
					t.Fatalf("%d writes were acknowledged before their exceptions were durable", len(done))
				}
				release()
				for range writers {
					if err := <-done; err != nil {
						t.Fatal(err)
					}
				}
				if n := cows[0].syncs.Load(); n != 4 {
					t.Errorf("%d writes took %d syncs, want 4", writers, n)
				}
				if err := r.m.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestLargeWriteIsOneCommit: however many chunks a write touches.
func TestLargeWriteIsOneCommit(t *testing.T) {
	for _, name := range []string{"o", "s0"} {
		t.Run(name, func(t *testing.T) {
			r, cows := batchRig(t, 1)
			data := bytes.Repeat([]byte{1, 2, 3, 4}, 1<<18)
			h := r.handle(name)
			if _, err := h.WriteAt(data, 512); err != nil {
				t.Fatal(err)
			}
			if n := cows[0].syncs.Load(); n != 2 {
				t.Errorf("a write of 257 chunks took %d syncs, want 2", n)
			}
			got := make([]byte, len(data))
			if _, err := h.ReadAt(got, 512); err != nil || !bytes.Equal(got, data) {
				t.Errorf("it does not read as written, or %v", err)
			}
			if _, err := h.WriteAt(data, 512); err != nil {
				t.Fatal(err)
			}
			if n := cows[0].syncs.Load(); n != 2 {
				t.Errorf("writing it again took %d syncs more, want none", n-2)
			}
			if err := r.m.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestSnapshotsCommitAtOnce: one origin write waits for all its snapshots
// together, and reaches the origin after the last of them.
func TestSnapshotsCommitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, cows := batchRig(t, 3)
		var release []func()
		for _, c := range cows {
			release = append(release, c.stop())
		}
		o, real := r.handle("o"), r.handle("o-real")
		data := bytes.Repeat([]byte{9}, 512)
		done := make(chan error, 1)
		go func() {
			_, err := o.WriteAt(data, 0)
			done <- err
		}()
		synctest.Wait()
		for i, c := range cows {
			if n := c.syncs.Load(); n != 1 {
				t.Errorf("snapshot %d began %d syncs while the others wait, want 1", i, n)
			}
		}
		got := make([]byte, 512)
		for i := range release {
			if _, err := real.ReadAt(got, 0); err != nil || !bytes.Equal(got, make([]byte, 512)) {
				t.Fatalf("the origin was overwritten before snapshot %d had its chunk, or %v", i, err)
			}
			release[i]()
			synctest.Wait()
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if _, err := real.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
			t.Errorf("the write did not reach the origin, or %v", err)
		}
		if err := r.m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSyncOnce: a sync reaches every file below a device, and each once.
func TestSyncOnce(t *testing.T) {
	r := newRig(t)
	a, b, c := &slowDisk{Mem: blockdev.NewMem(1 << 20)}, &slowDisk{Mem: blockdev.NewMem(1 << 20)}, &slowDisk{Mem: blockdev.NewMem(1 << 20)}
	r.files["a"], r.files["b"], r.files["c"] = a, b, c
	low := r.device("low", "0 8 linear a 0\n8 8 linear b 0")
	r.device("high", fmt.Sprintf("0 16 linear %s 0\n16 16 striped 2 8 a 64 b 64\n32 8 zero\n40 8 linear %s 8", low, low))
	if err := r.handle("high").Sync(); err != nil {
		t.Fatal(err)
	}
	if a, b, c := a.syncs.Load(), b.syncs.Load(), c.syncs.Load(); a != 1 || b != 1 || c != 0 {
		t.Errorf("syncs %d, %d and %d, want 1, 1 and 0", a, b, c)
	}
	r.suspend("high")
	if err := r.m.Sync(); err != nil {
		t.Fatal(err)
	}
	if a, b, c := a.syncs.Load(), b.syncs.Load(), c.syncs.Load(); a != 2 || b != 2 || c != 0 {
		t.Errorf("syncs %d, %d and %d after one of the machine, want 2, 2 and 0", a, b, c)
	}
	if err := r.m.Close(); err != nil {
		t.Fatal(err)
	}
}
