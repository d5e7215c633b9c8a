package nbd

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Those who ask while a Sync runs share the one that begins after it.
func TestSyncerShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		syncs := 0
		bad := errors.New("bad")
		s := newSyncer(func() error {
			syncs++
			n := syncs
			time.Sleep(time.Second)
			if n == 2 {
				return bad
			}
			return nil
		})
		results := make(chan error, 20)
		ask := func(n int) {
			for range n {
				go func() { results <- s.Sync() }()
			}
			synctest.Wait()
		}
		ask(1) // 1
		ask(10)
		time.Sleep(1500 * time.Millisecond) // 2 runs, for the ten
		ask(5)                              // 3
		time.Sleep(5 * time.Second)
		synctest.Wait()
		failed := 0
		for range 16 {
			if err := <-results; err != nil {
				failed++
			}
		}
		if syncs != 3 || failed != 10 {
			t.Errorf("%d syncs, %d failed; want 3, and the 10 of the second failed", syncs, failed)
		}
	})
}
