// Command demo shows the main job of cowhand and checks every claim it prints: a guest of a real
// libvirt runs on a logical volume, is tried on a snapshot, discarded, kept, rolled back and
// cloned.
//
//	what writes     a guest's kernel, through QEMU and cowhand's engine
//	what reads      lvm2's pvck (where is it?), qemu-img and e2fsprogs (what is there?)
//
// It leaves nothing behind, and its exit code is 0 only if every claim held.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	program := flag.String("cowhand", "bin/cowhand", "the `program` to show")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()

	began := time.Now()
	s := &stage{program: *program, page: newPage(os.Stdout)}
	s.say("Each claim (ok) is read back by another program than wrote it: lvm2's pvck tells where the\n" +
		"volume lies in the file, e2fsprogs' debugfs reads what is there, past cowhand.")
	err := perform(ctx, s)
	if errors.Is(ctx.Err(), context.Canceled) {
		s.say("\nInterrupted: taking everything down.")
		stop() // a second ^C ends us at once
	} else if err != nil {
		s.say("\n%s %v", s.red("FAILED:"), err)
	}
	if cleanup := s.strike(context.WithoutCancel(ctx)); cleanup != nil {
		s.say("%s cleaning up: %v", s.red("FAILED:"), cleanup)
		err = errors.Join(err, cleanup)
	}
	if err != nil {
		os.Exit(1)
	}
	s.say("\n%s in %s; nothing is left behind.", s.green(fmt.Sprintf("All %d claims hold", s.claims)), time.Since(began).Round(time.Second))
}

// perform is the whole show.
func perform(ctx context.Context, s *stage) error {
	for _, act := range []func(context.Context, *stage) error{
		build, install, discard, keep, rollback, clone, audit,
	} {
		if err := act(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
