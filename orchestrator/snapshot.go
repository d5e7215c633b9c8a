package orchestrator

import (
	"time"

	"cowhand/hypervisor"
)

// Mode is what a snapshot does to a running guest.
type Mode string

// The modes; a guest that is off is cut as it is, grade clean.
const (
	ModeLive     Mode = "live"     // cut while it runs: grade crash
	ModePause    Mode = "pause"    // stand its processors still for the cut
	ModeShutdown Mode = "shutdown" // shut it down, cut, start it
)

// SnapshotRequest asks for a set to go back to.
type SnapshotRequest struct {
	Guest   string
	Set     string // empty: named after the time
	Mode    Mode
	Timeout time.Duration // of a shutdown
	CutOptions
}

// PlanSnapshot plans a snapshot of a guest's disks.
func (f *Facts) PlanSnapshot(r SnapshotRequest) (*Plan, error) {
	var b Blockers
	g := f.guest(r.Guest, &b)
	if g == nil {
		return nil, b.err()
	}
	if r.Set == "" {
		r.Set = f.freeSetName(r.Now.Format("20060102-1504"))
	}
	set := f.newSet(g, r.Set, RoleSnapshot, r.CutOptions, &b)
	f.noTrial(g, &b)
	p := &Plan{Workflow: "snapshot", Subject: g.Name + " as " + set.Name, Guests: []string{g.Name}, Sets: []string{set.Name},
		again: func(f *Facts) (*Plan, error) { return f.PlanSnapshot(r) }}
	cut := &CutSet{Size: r.Size, Chunk: r.Chunk}
	save := &SaveGuest{Guest: g.Name, Set: set.Name}
	switch {
	case !g.State.Up():
		p.Steps = []Step{save, cut}
	case r.Mode == ModeShutdown:
		p.Steps = []Step{save, &StopGuest{Guest: g.Name, Timeout: orPatience(r.Timeout), WasUp: true}, cut, &StartGuest{Guest: g.Name}}
	case g.State == hypervisor.Paused: // by someone who will let it go on
		set.Grade = GradePaused
		p.Steps = []Step{save, cut}
	case r.Mode == ModePause:
		set.Grade = GradePaused
		p.Steps = []Step{save, &PauseGuest{Guest: g.Name}, cut, &ResumeGuest{Guest: g.Name}}
	default:
		set.Grade = GradeCrash
		p.Steps = []Step{save, cut}
		p.Notes = append(p.Notes, "the guest runs: the snapshot is what a power cut would leave (grade crash)")
	}
	cut.Sets = []Set{set}
	f.checkSpace(cut, &b)
	p.Notes = append(p.Notes, f.roomNotes(cut)...)
	p.NoReturn = len(p.Steps)
	return p, b.err()
}

// noTrial blocks when a trial runs on snapshots of the guest's disks: the
// guest's own contents are about to be replaced or thrown away.
func (f *Facts) noTrial(g *GuestFacts, b *Blockers) {
	for _, s := range f.Of(g.Name, RoleTrial) {
		b.add(ErrHasTrial, "guest %s has the trial %q: keep or discard it first", g.Name, s.Name)
	}
}
