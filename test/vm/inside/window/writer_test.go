package window

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cowhand/test/vm/inside/records"
)

// writer writes records until it is told to stop.
type writer struct {
	to      *records.Writer
	stop    chan struct{}
	done    chan error
	acked   atomic.Uint64
	mu      sync.Mutex
	longest time.Duration
	news    sync.Cond
}

func startWriter(t *testing.T, path string) *writer {
	t.Helper()
	to, err := records.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{to: to, stop: make(chan struct{}), done: make(chan error, 1)}
	w.news.L = &w.mu
	go func() { w.done <- w.run() }()
	t.Cleanup(func() {
		close(w.stop)
		if err := <-w.done; err != nil {
			t.Errorf("writer: %v", err)
		}
		if err := to.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("%d records, the longest took %s", w.acked.Load(), w.longest.Round(time.Millisecond))
	})
	return w
}

func (w *writer) run() error {
	for {
		select {
		case <-w.stop:
			return nil
		default:
		}
		begun := time.Now()
		i, err := w.to.Write()
		if err != nil {
			return err
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
	for until := w.acked.Load() + records.Slots; w.acked.Load() < until; {
		w.news.Wait()
	}
}
