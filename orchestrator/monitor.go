package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// Monitor looks after what fills: it makes snapshots and thin pools larger, pauses
// guests that fill what cannot be made larger, lets them go on, and finishes
// merges.
//
//	┌─▶ look ──▶ extend ──▶ pause, resume ──▶ finish merges ──┐
//	└── an event of a device, or the time at which the fastest ◀┘
//	    space may be short, or Interval
type Monitor struct {
	Volumes *lvm.Engine
	// Policy is asked for each snapshot and thin pool.
	Policy  func(*lvm.VG, *lvm.LV) lvm.ExtendPolicy
	Pausing Pausing
	// Guests connects to the hypervisor. It is called when a guest may have to be
	// paused or go on, and what it returns is let go after that.
	Guests   func(context.Context) (*Herd, error)
	Files    *Files
	Interval time.Duration
	Tell     func(string) // news, each once
	Now      func() time.Time
}

// Trouble is what needs somebody.
type Trouble struct {
	About string // the volume, guest or else; with Text without what changes all the time
	Text  string
}

// holdPatience bounds the time between two looks while a guest waits: that there is
// room again raises no event.
const holdPatience = 10 * time.Second

// afterEvent is when to look again at a device that had an event: the kernel
// raises that of a thin pool just before it takes the block that makes it short
// (Linux 6.1, drivers/md/dm-thin.c, alloc_data_block).
const afterEvent = time.Second

// Run looks until ctx ends, which is no error, or the device mapper is gone
// ([dmcore.ErrUnavailable]). Trouble is told when it comes.
func (m *Monitor) Run(ctx context.Context) error {
	events := m.Volumes.Events()
	defer events.Close()
	told := map[string]bool{} // troubles that are there still
	var pace lvm.Pace
	first, woken := true, false
	for looked := m.Now(); ; first = false {
		seen, trouble := m.Look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(seen.Err, dmcore.ErrUnavailable) {
			return seen.Err
		}
		if events.Follow(ctx, seen.Fills.Events); first {
			m.Tell(fmt.Sprintf("watches %d snapshots and thin pools, and looks every %s at least", len(seen.Fills.Events), m.Interval))
		}
		now := map[string]bool{}
		for _, t := range trouble {
			if now[t.About] = true; !told[t.About] {
				m.Tell(t.Text)
			}
		}
		told = now
		wait := m.Interval
		if seen.Held {
			wait = min(wait, holdPatience)
		}
		if woken {
			wait = min(wait, afterEvent)
		}
		wait = pace.Next(seen.Fills.Spaces, m.Now().Sub(looked), wait)
		looked = m.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			woken = false
		case <-events.C:
			woken = true
		}
	}
}

// Seen is what a look found.
type Seen struct {
	Fills lvm.Fills
	Held  bool  // a guest waits for room
	Err   error // of what could not be looked at
}

// Look does what there is to do now, and tells what cannot be done.
func (m *Monitor) Look(ctx context.Context) (seen Seen, trouble []Trouble) {
	failed := func(about string, err error) {
		if err != nil {
			trouble = append(trouble, Trouble{about + ": " + err.Error(), err.Error()})
		}
	}
	tried, fills, err := m.Volumes.Autoextend(ctx, m.Policy)
	seen.Fills, seen.Err = fills, err
	failed("look", err)
	for _, a := range tried {
		if a.Err == nil {
			m.Tell(fmt.Sprintf("%s: was %.1f%% full, made %s of %s", a.Space, a.Used, lvm.HumanSize(a.Is), lvm.HumanSize(a.Was)))
			continue
		}
		trouble = append(trouble, Trouble{fmt.Sprintf("%s: %s", a.Space, a.Err),
			fmt.Sprintf("%s: is %.1f%% full, and cannot be extended: %s", a.Space, a.Used, a.Err)})
	}
	for _, f := range fills.Spaces {
		if f.Lost {
			trouble = append(trouble, Trouble{"lost " + f.Space.String(), lost(f)})
		}
	}
	held, more := m.guests(ctx, m.Pausing.shortages(fills, tried, m.Policy), fills)
	seen.Held = held
	trouble = append(trouble, more...)
	merged, err := m.Volumes.FinishMerges(ctx)
	failed("merges", err)
	for _, r := range merged {
		m.Tell(fmt.Sprintf("%s: is merged, and dropped", r))
	}
	return seen, trouble
}

func lost(f lvm.Fill) string {
	if f.Part != "" {
		return fmt.Sprintf("%s: the thin pool failed, and all I/O to it: lvconvert --repair %s", f.Ref, f.Ref)
	}
	return fmt.Sprintf("%s: ran full or was damaged, and is lost: cowhand discard or rm its set, or lvremove %s", f.Ref, f.Ref)
}
