package lvm

import (
	"fmt"
	"slices"
	"strings"

	"cowhand/dmcore"
)

// Device is a device as the device mapper has it now.
type Device struct {
	Info  dmcore.Info
	Table dmcore.Table // the live one
	// Shared says that devices of other units may stand on it, too: if it is not
	// wanted, it goes only when none does.
	Shared bool
}

// Step is one command to the device mapper.
type Step struct {
	Do         dmcore.Command
	Name       dmcore.Name
	UUID       dmcore.UUID
	NewName    dmcore.Name  // of Rename
	Table      dmcore.Table // of Load; refers to devices as Activations does
	ReadOnly   bool         // of Load
	SkipLockFS bool         // of Suspend
	NoFlush    bool         // of Suspend: what is queued, perhaps for want of room, is not waited for
	Text       string       // of Message
	Minor      *uint32      // of Create: the number it must have, if not any

	shown string // the table, with names
	left  bool   // of Resume: what a snapshot leaves behind that is merged
}

func (s Step) String() string {
	line := fmt.Sprintf("%s %s", s.Do, s.Name)
	switch s.Do {
	case dmcore.Load:
		if s.ReadOnly {
			line += " read-only"
		}
		line += ": " + s.shown
	case dmcore.Rename:
		line += " " + string(s.NewName)
	case dmcore.Message:
		line += ": " + s.Text
	case dmcore.Suspend:
		if !s.SkipLockFS {
			line += " and freeze its file system"
		}
	}
	return line
}

// Plan turns the devices there are into those that are wanted, around a commit
// of the metadata that wants them:
//
//	Prepare   new devices are created, tables loaded, what lies below resumed
//	Suspend   top down: from here on I/O waits
//	          ── commit ──
//	Resume    bottom up: the new tables are live
//	Cleanup   what is not wanted any more is removed, devices are renamed
//
// Until the commit [Plan.Undo] takes it all back. After it the plan is to be
// finished; if its executor dies, planning again from what is there, with the
// committed metadata, finishes it. Where nothing is wanted, Prepare removes the
// devices, as lvm2 does before it commits a removal, and Undo does not bring
// them back: the volumes are inactive then.
type Plan struct {
	Prepare, Suspend, Resume, Cleanup []Step

	wanted []Activation
	loaded []Activation // those of them that get a table
}

// suspended lists the groups of the devices that are going to be suspended.
func (p Plan) suspended() []ID {
	var groups []ID
	for _, s := range p.Suspend {
		if vg, _, ok := split(s.UUID); ok && !slices.Contains(groups, vg) {
			groups = append(groups, vg)
		}
	}
	return groups
}

// Empty reports that nothing is to be done.
func (p Plan) Empty() bool { return len(p.Prepare)+len(p.Suspend)+len(p.Resume)+len(p.Cleanup) == 0 }

func (p Plan) String() string {
	var b strings.Builder
	for _, phase := range []struct {
		name  string
		steps []Step
	}{{"prepare", p.Prepare}, {"suspend", p.Suspend}, {"resume", p.Resume}, {"cleanup", p.Cleanup}} {
		if len(phase.steps) > 0 {
			b.WriteString(phase.name + "\n")
		}
		for _, s := range phase.steps {
			b.WriteString("\t" + s.String() + "\n")
		}
	}
	return b.String()
}

// Undo takes back Prepare and Suspend, whole or in part. Its steps may meet
// devices that are not there, or not suspended: that is no error.
func (p Plan) Undo() []Step {
	created := map[dmcore.UUID]bool{}
	var clear, remove, undo []Step
	for _, s := range p.Prepare {
		switch {
		case s.Do == dmcore.Create:
			created[s.UUID] = true
			remove = append(remove, Step{Do: dmcore.Remove, Name: s.Name, UUID: s.UUID})
		case s.Do == dmcore.Load && !created[s.UUID]:
			clear = append(clear, Step{Do: dmcore.Clear, Name: s.Name, UUID: s.UUID})
		}
	}
	undo = append(undo, clear...) // or resuming would make the new tables live
	for _, s := range slices.Backward(p.Suspend) {
		if s.Do == dmcore.Suspend { // what a message did stays done
			undo = append(undo, Step{Do: dmcore.Resume, Name: s.Name, UUID: s.UUID})
		}
	}
	for _, s := range slices.Backward(remove) {
		undo = append(undo, s)
	}
	return undo
}

// PlanDevices plans how to get from the devices there are to those wanted. have
// are those of the units concerned, before and after the change, in any layer,
// and no others: what is there and not wanted is removed. want is in the order
// of [VG.Activations], one unit after another.
//
// A device that is suspended, or has a table loaded that never became live, was
// left so by someone who died: it is brought to what is wanted as well.
func PlanDevices(have []Device, want []Activation) (Plan, error) {
	p := &planner{want: want, wanted: map[dmcore.UUID]Activation{}}
	p.look(have)
	for _, w := range want {
		p.wanted[w.UUID] = w
	}
	p.feed()
	for _, w := range want {
		if err := p.bring(w); err != nil {
			return Plan{}, err
		}
	}
	if err := p.drop(); err != nil {
		return Plan{}, err
	}
	p.order()
	p.plan.wanted = want
	return p.plan, nil
}

// planner holds what PlanDevices finds out.
type planner struct {
	want   []Activation
	wanted map[dmcore.UUID]Activation
	have   []Device
	byUUID map[dmcore.UUID]*Device
	byName map[dmcore.Name]*Device
	height map[dmcore.UUID]int // of a live device over those it stands on
	below  map[dmcore.UUID]bool
	fed    map[dmcore.Dev]dmcore.UUID // real device → wanted top that feeds its snapshots

	plan    Plan
	suspend map[dmcore.UUID]dmcore.SuspendOptions
	resume  map[dmcore.UUID]bool
	rename  []Step
}
