package kernel

import (
	"context"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// interruptSignal ends a system call that waits. It is a real-time signal that
// nothing else is known to use; what it does to a Go program is nothing.
const interruptSignal = unix.Signal(63)

// noRestart has the kernel not begin the system call again when the signal came.
// The Go runtime handles all signals so that it does, and since 6.11 (6.1.107)
// the device mapper lets it (drivers/md/dm.c, dm_wait_for_bios_completion): a
// suspend would go on waiting. So the handler stays, and its SA_RESTART goes, for
// this signal alone. That is once for the whole process, like the handler.
var noRestart = sync.OnceValue(func() error {
	const restart = 0x10000000 // SA_RESTART of include/uapi/asm-generic/signal-defs.h
	var action [4]uintptr      // struct sigaction: handler, flags, restorer, mask
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(interruptSignal),
		0, uintptr(unsafe.Pointer(&action)), 8, 0, 0); errno != 0 {
		return errno
	}
	action[1] &^= restart
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(interruptSignal),
		uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); errno != 0 {
		return errno
	}
	return nil
})

// interruptible calls f until it gives something else than EINTR. When ctx ends
// the thread it runs on gets a signal, again and again, because one that comes
// before the system call began interrupts nothing.
func interruptible(ctx context.Context, f func() error) error {
	if err := noRestart(); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := unix.Gettid()
	done := make(chan struct{})
	defer close(done)
	defer context.AfterFunc(ctx, func() {
		again := time.NewTicker(10 * time.Millisecond)
		defer again.Stop()
		for {
			unix.Tgkill(unix.Getpid(), tid, interruptSignal)
			select {
			case <-done:
				return
			case <-again.C:
			}
		}
	})()
	for {
		err := f()
		if err != unix.EINTR {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}
