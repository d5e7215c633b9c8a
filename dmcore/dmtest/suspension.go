package dmtest

import (
	"bytes"
	"context"
	"time"

	"cowhand/dmcore"
)

var suspension = map[string]func(*bench){
	"SuspendQueues":         suspendQueues,
	"SuspendTwice":          suspendTwice,
	"ResumeSwapsUnasked":    resumeSwapsUnasked,
	"ResumeWithoutTable":    resumeWithoutTable,
	"SuspendNestedReleases": suspendNestedReleases,
	"SuspendEndsWithCtx":    suspendEndsWithCtx,
}

// suspendQueues: I/O of a suspended device ends only after the resume, and goes
// to the table that is live then.
func suspendQueues(b *bench) {
	x, y := b.Backing(b.T, 64), b.Backing(b.T, 64)
	b.device("x", "0 64 linear %s 0", x)
	b.device("y", "0 64 linear %s 0", y)
	b.device("a", "0 64 linear %s 0", x)
	h := b.open("a")
	b.suspend("a")
	if !b.info("a").Suspended {
		b.Error("info does not say suspended")
	}
	const writers = 8
	done := make(chan error, writers)
	for i := range writers {
		go func() { done <- second(h.WriteAt(pattern(uint64(i), 1), int64(i)*512)) }()
	}
	if b.Queued != nil {
		b.until("the writes wait", func() bool { return b.Queued(b.name("a")) == writers })
	}
	select {
	case err := <-done:
		b.Fatalf("a write to a suspended device ended: %v", err)
	default:
	}
	b.holds("x", 0, make([]byte, writers*512))
	b.load("a", "0 64 linear %s 0", y)
	b.resume("a")
	for range writers {
		b.ok("queued write", <-done)
	}
	b.holds("x", 0, make([]byte, writers*512))
	for i := range writers {
		b.holds("y", dmcore.Sectors(i), pattern(uint64(i), 1))
	}
}

func suspendTwice(b *bench) {
	b.device("a", "0 8 zero")
	b.suspend("a", "a")
	b.resume("a", "a")
	if i := b.info("a"); i.Suspended {
		b.Errorf("info %+v after resume", i)
	}
	b.holds("a", 0, make([]byte, 512))
}

// resumeSwapsUnasked: a resume with an inactive table suspends by itself.
func resumeSwapsUnasked(b *bench) {
	x := b.Backing(b.T, 64)
	b.device("x", "0 64 linear %s 0", x)
	b.put("x", 0, pattern(1, 64))
	b.device("a", "0 64 zero")
	h := b.open("a")
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { // I/O all the time sees one table or the other
		p := make([]byte, 8*512)
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := h.ReadAt(p, 0); err != nil {
				done <- err
				return
			}
			if !bytes.Equal(p, make([]byte, len(p))) && !bytes.Equal(p, pattern(1, 64)[:len(p)]) {
				done <- dmcore.ErrIO
				return
			}
		}
	}()
	for i := range 50 {
		if i%2 == 0 {
			b.load("a", "0 64 linear %s 0", x)
		} else {
			b.load("a", "0 64 zero")
		}
		b.resume("a")
	}
	close(stop)
	b.ok("reads during swaps", <-done)
	if i := b.info("a"); i.Suspended || i.Inactive || !i.Live {
		b.Errorf("info %+v", i)
	}
}

func resumeWithoutTable(b *bench) {
	b.create("a")
	b.suspend("a")
	b.is("resume", b.tryResume("a"), dmcore.ErrInvalid)
	b.load("a", "0 8 zero")
	b.resume("a")
}

// suspendNestedReleases: I/O that waits in a device below ends when that is
// resumed, and the device above can then be suspended.
func suspendNestedReleases(b *bench) {
	low := b.device("low", "0 64 zero")
	b.device("high", "0 64 linear %s 0", low)
	h := b.open("high")
	b.suspend("low")
	done := make(chan error, 1)
	go func() { done <- second(h.ReadAt(make([]byte, 512), 0)) }()
	b.waitsBelow("high", "low")
	suspended := make(chan error, 1)
	go func() { suspended <- b.c.Suspend(b.ctx, b.uuid("high"), dmcore.SuspendOptions{}) }()
	b.resume("low")
	b.ok("read", <-done)
	b.ok("suspend", <-suspended)
	b.resume("high")
}

// suspendEndsWithCtx: a suspend that waits for I/O which does not end is given
// up, and the device goes on.
func suspendEndsWithCtx(b *bench) {
	low := b.device("low", "0 64 zero")
	b.device("high", "0 64 linear %s 0", low)
	h := b.open("high")
	b.suspend("low")
	done := make(chan error, 1)
	go func() { done <- second(h.ReadAt(make([]byte, 512), 0)) }()
	b.waitsBelow("high", "low")
	b.is("suspend", b.trySuspend("high"), context.DeadlineExceeded)
	if b.info("high").Suspended {
		b.Error("the device is suspended")
	}
	b.resume("low")
	b.ok("read", <-done)
	b.suspend("high")
	b.resume("high")
}

// waitsBelow returns when I/O of a device waits in the one below, which is
// suspended. Where nobody can be asked, a suspend of the upper one tells: it
// waits too.
func (b *bench) waitsBelow(high, low string) {
	b.Helper()
	b.until("I/O waits below", func() bool {
		if b.Queued != nil {
			return b.Queued(b.name(low)) > 0
		}
		err := b.trySuspend(high)
		if err == nil {
			b.resume(high) // it came too early
			return false
		}
		b.is("suspend", err, context.DeadlineExceeded)
		return true
	})
}

// trySuspend does not wait long.
func (b *bench) trySuspend(short string) error {
	ctx, cancel := context.WithTimeout(b.ctx, 100*time.Millisecond)
	defer cancel()
	return b.c.Suspend(ctx, b.uuid(short), dmcore.SuspendOptions{})
}
