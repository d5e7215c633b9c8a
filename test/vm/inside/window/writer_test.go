package window

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	slot  = 4096
	slots = 64
)

// writer writes numbered records past the page cache, each after the one before
// was acknowledged: record i, from 1, into slot i mod slots.
type writer struct {
	f       *os.File
	stop    chan struct{}
	done    chan error
	acked   atomic.Uint64
	mu      sync.Mutex
	longest time.Duration
	news    sync.Cond
}

func startWriter(t *testing.T, path string) *writer {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{f: f, stop: make(chan struct{}), done: make(chan error, 1)}
	w.news.L = &w.mu
	buf, err := unix.Mmap(-1, 0, slot, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	go func() { w.done <- w.run(buf) }()
	t.Cleanup(func() {
		close(w.stop)
		if err := <-w.done; err != nil {
			t.Errorf("writer: %v", err)
		}
		f.Close()
		unix.Munmap(buf)
		t.Logf("%d records, the longest took %s", w.acked.Load(), w.longest.Round(time.Millisecond))
	})
	return w
}

func (w *writer) run(buf []byte) error {
	for i := uint64(1); ; i++ {
		select {
		case <-w.stop:
			return nil
		default:
		}
		record(buf, i)
		begun := time.Now()
		if _, err := w.f.WriteAt(buf, int64(i%slots*slot)); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		w.mu.Lock()
		w.longest = max(w.longest, time.Since(begun))
		w.acked.Store(i)
		w.news.Broadcast()
		w.mu.Unlock()
	}
}

// goesOn waits until more records are acknowledged: a whole round of the slots,
// so that each is written anew. The test's deadline ends a wait in vain.
func (w *writer) goesOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for until := w.acked.Load() + slots; w.acked.Load() < until; {
		w.news.Wait()
	}
}

func record(buf []byte, i uint64) {
	for off := 0; off < len(buf); off += 8 {
		binary.LittleEndian.PutUint64(buf[off:], i)
	}
}

// prefix checks that a device holds what the writer had written at one moment: the
// newest record is some n, and every slot has its newest one up to n. It returns n.
func prefix(path string) (uint64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	all := make([]byte, slots*slot)
	if _, err := f.ReadAt(all, 0); err != nil {
		return 0, err
	}
	var newest uint64
	var at [slots]uint64
	for s := range at {
		at[s] = binary.LittleEndian.Uint64(all[s*slot:])
		for off := 0; off < slot; off += 8 {
			if n := binary.LittleEndian.Uint64(all[s*slot+off:]); n != at[s] {
				return 0, fmt.Errorf("%s: slot %d: byte %d is of record %d, the first of %d", path, s, off, n, at[s])
			}
		}
		newest = max(newest, at[s])
	}
	for s, n := range at {
		want := newest - (newest+slots-uint64(s))%slots // the last up to newest that goes into this slot
		if n != want && (n != 0 || newest >= slots) {
			return 0, fmt.Errorf("%s: slot %d has record %d, want %d: the newest is %d", path, s, n, want, newest)
		}
	}
	return newest, nil
}
