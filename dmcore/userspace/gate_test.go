package userspace

import (
	"testing"
	"testing/synctest"
)

// Who leaves a closed gate last tells so a moment later, by when the gate may
// have been opened, passed and closed again: that is no news of this closing.
func TestGateStaleNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		if err := g.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.state.Add(1)
		if g.state.Add(-1) != gateClosed { // as leave does, which then pauses
			t.Fatal("the gate is not closed")
		}
		g.reopen()
		if !g.enter() {
			t.Fatal("the gate is dead")
		}
		closed := make(chan error, 1)
		go func() { closed <- g.close(t.Context()) }()
		synctest.Wait()
		g.emptied()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed while one is inside")
		default:
		}
		g.leave()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		g.reopen()
	})
}
