package orchestrator

import (
	"context"
	"io"
	"time"

	"cowhand/hypervisor"
	"cowhand/lvm"
)

// World is all that steps can act on.
type World struct {
	Guests  hypervisor.Hypervisor
	Volumes *lvm.Engine
	Disks   Addresses
	Files   *Files
	// FreshMAC and FreshUUID make new identities for plans.
	FreshMAC  func() string
	FreshUUID func() string
	Now       func() time.Time
	// Progress is told how merges go; it may be nil.
	Progress func(Event)
	// Random feeds run names.
	Random io.Reader
}

// Addresses translates between a volume and how a guest reaches it.
type Addresses interface {
	// Source is what a guest's disk needs to say to reach the volume.
	Source(lvm.Ref) hypervisor.DiskSource
	// Locate tells which volume a disk is on; ok is false when it is on none
	// that this engine serves.
	Locate(hypervisor.Disk) (ref lvm.Ref, ok bool)
}

// Event is news of a run for people and scripts.
type Event struct {
	Run     string  `json:"run,omitempty"`
	Step    int     `json:"step"`
	Of      int     `json:"of"`
	What    string  `json:"what"` // doing, done, failed, undoing, undone, merging
	Text    string  `json:"text"`
	Percent float64 `json:"percent,omitempty"` // of a merge
	Left    int64   `json:"left,omitempty"`    // bytes
	Volume  string  `json:"volume,omitempty"`
	Err     error   `json:"-"`
}

func (w *World) tell(e Event) {
	if w.Progress != nil {
		w.Progress(e)
	}
}

// cleanup is a context for work that must happen although ctx was cancelled.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
}
