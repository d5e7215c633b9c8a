package orchestrator_test

import (
	"context"
	"errors"
	"testing"

	"cowhand/hypervisor"
	"cowhand/orchestrator"
)

// between is a hypervisor with something in the way to its guests: found happens when
// one was looked up, and pause pauses it.
type between struct {
	hypervisor.Hypervisor
	found func()
	pause func(context.Context, hypervisor.Guest) error
}

func (b *between) Guest(ctx context.Context, name string) (hypervisor.Guest, error) {
	g, err := b.Hypervisor.Guest(ctx, name)
	b.found()
	return &betweenGuest{g, b}, err
}

type betweenGuest struct {
	hypervisor.Guest
	b *between
}

func (g *betweenGuest) Pause(ctx context.Context) error { return g.b.pause(ctx, g.Guest) }

// through has one look go through b.
func (w *watch) through(b *between) *orchestrator.Monitor {
	b.Hypervisor = w.guests
	m := w.monitor(orchestrator.PauseTrials)
	m.Guests = func(context.Context) (*orchestrator.Herd, error) {
		return &orchestrator.Herd{Guests: b, Disks: addresses{}, Close: func() error { return nil }}, nil
	}
	return m
}

var errLost = errors.New("connection lost")

// A guest that was paused although the answer got lost is let go on when there is
// room, as any that the monitor paused; and looked after soon.
func TestPauseOfUnknownOutcome(t *testing.T) {
	w := shortTrial(t)
	w.m = w.through(&between{found: func() {}, pause: func(ctx context.Context, g hypervisor.Guest) error {
		return errors.Join(g.Pause(ctx), errLost)
	}})
	seen, _ := w.m.Look(t.Context())
	w.state("web1-try", hypervisor.Paused)
	if !seen.Held {
		t.Error("the next look is a long time off")
	}
	w.m = w.monitor(orchestrator.PauseTrials)
	w.look(trialFull, trialHeld)
	w.room()
	w.look("made 2 MiB", "goes on")
	w.state("web1-try", hypervisor.Running)
	w.holds(0)
}

// One that could not be paused is paused at the next look.
func TestPauseThatFails(t *testing.T) {
	w := shortTrial(t)
	w.m = w.through(&between{found: func() {}, pause: func(context.Context, hypervisor.Guest) error { return errLost }})
	w.look(trialFull, errLost.Error())
	w.state("web1-try", hypervisor.Running)
	w.m = w.monitor(orchestrator.PauseTrials)
	w.look(trialFull, trialHeld)
	w.state("web1-try", hypervisor.Paused)
}

// A guest that its administrator paused since it was looked at is his.
func TestPausedMeanwhile(t *testing.T) {
	w := shortTrial(t)
	w.m = w.through(&between{
		found: func() { w.do("web1-try", hypervisor.Guest.Pause) },
		pause: func(ctx context.Context, g hypervisor.Guest) error { return g.Pause(ctx) },
	})
	w.look(trialFull)
	w.holds(0)
	w.m = w.monitor(orchestrator.PauseTrials)
	w.room()
	w.look("made 2 MiB")
	w.state("web1-try", hypervisor.Paused)
}
