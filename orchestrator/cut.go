package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"cowhand/dmcore"
	"cowhand/hypervisor"
	"cowhand/lvm"
)

// CutOptions are what every workflow that takes snapshots can be told.
type CutOptions struct {
	Kind  CutKind
	Size  lvm.Size // of thick snapshots
	Chunk dmcore.Sectors
	Disks []string // by the guest's names, "vda"; empty means all
	Now   time.Time
}

// CutKind is what kind of snapshots are taken.
type CutKind string

// The kinds.
const (
	CutAny   CutKind = ""      // thin of volumes in thin pools, thick of others
	CutThin  CutKind = "thin"  // nothing but thin
	CutThick CutKind = "thick" // also of volumes in thin pools
)

// guest looks a guest up; a blocker says that it is missing.
func (f *Facts) guest(name string, b *Blockers) *GuestFacts {
	g := f.Guest(name)
	if g == nil {
		b.add(hypervisor.ErrNotFound, "guest %q: no such guest", name)
	} else if !g.Persistent {
		b.add(ErrConflict, "guest %s is transient: it would be gone once it is shut down; define it first", name)
	}
	return g
}

// blockSaved blocks when a guest is off and its memory is kept: that belongs to
// the disks as they are.
func (g *GuestFacts) blockSaved(b *Blockers) {
	if g != nil && g.State == hypervisor.Saved {
		b.add(ErrRunning, "guest %s has saved memory that belongs to its disks: start it, or drop that with 'virsh managedsave-remove %s'", g.Name, g.Name)
	}
}

// newSet is the set of a guest's disks as it will be, and what blocks it.
func (f *Facts) newSet(g *GuestFacts, name string, role Role, o CutOptions, b *Blockers) Set {
	s := Set{Name: name, Guest: g.Name, Role: role, Time: o.Now, Grade: GradeClean}
	if err := CheckSetName(name); err != nil {
		*b = append(*b, err)
	}
	if f.Set(name) != nil {
		b.add(ErrSetExists, "set %q exists", name)
	}
	g.blockSaved(b)
	if g.State.Up() {
		s.Was = "running"
	}
	for _, d := range g.Disks {
		if d.Device != "disk" || d.ReadOnly || (len(o.Disks) > 0 && !slices.Contains(o.Disks, d.Target)) {
			continue
		}
		switch {
		case !d.OnLV:
			b.add(ErrNotOnLV, "guest %s: disk %s (%s %s) is not on a logical volume", g.Name, d.Target, d.Kind, d.Source)
			continue
		case f.group(d.LV.VG) == nil || f.group(d.LV.VG).LV(d.LV.LV) == nil:
			b.add(lvm.ErrNotFound, "guest %s: disk %s: %s: no such volume", g.Name, d.Target, d.LV)
			continue
		case d.Shareable:
			b.add(ErrConflict, "guest %s: disk %s is shared with other guests", g.Name, d.Target)
		}
		if !f.States[d.LV].Active {
			b.add(lvm.ErrInactive, "guest %s: disk %s: %s is not active: run 'cowhand lvm lvchange -ay %s'", g.Name, d.Target, d.LV, d.LV)
		}
		m := Member{Disk: d.Target, Origin: d.LV, Snapshot: lvm.Ref{VG: d.LV.VG, LV: SnapshotName(d.LV.LV, name)}}
		switch thin := f.group(d.LV.VG).Thin(d.LV.LV); {
		case o.Kind == CutThin && !thin:
			b.add(ErrConflict, "guest %s: disk %s: %s is not in a thin pool: leave --thin out, and its snapshot is thick", g.Name, d.Target, d.LV)
		case o.Kind != CutThick:
			m.Thin = thin
		}
		s.Members = append(s.Members, m)
	}
	for _, want := range o.Disks {
		if !slices.ContainsFunc(s.Members, func(m Member) bool { return m.Disk == want }) {
			b.add(ErrNotOnLV, "guest %s: disk %s: no such disk that can be written", g.Name, want)
		}
	}
	if len(s.Members) == 0 && len(*b) == 0 {
		b.add(ErrNotOnLV, "guest %s has no disk on a logical volume", g.Name)
	}
	return s
}

// checkSpace plans the snapshots on copies of the groups: whatever allocation
// and validation would refuse later blocks now.
func (f *Facts) checkSpace(cut *CutSet, b *Blockers) {
	var reqs []lvm.SnapshotRequest
	for i := range cut.Sets {
		for _, m := range cut.Sets[i].Members {
			reqs = append(reqs, cut.request(&cut.Sets[i], m))
		}
	}
	for _, vg := range f.Groups {
		if err := vg.CanSnapshot(reqs); err != nil {
			*b = append(*b, err)
		}
		for _, pool := range poolsOf(vg, reqs) {
			if st := f.States[lvm.Ref{VG: vg.Name, LV: pool}].Pool; st != nil {
				if err := vg.CheckThinPool(pool, *st); err != nil {
					*b = append(*b, err)
				}
			}
		}
	}
}

// poolsOf lists the pools in which snapshots are to be taken.
func poolsOf(vg *lvm.VG, reqs []lvm.SnapshotRequest) (pools []string) {
	for _, r := range reqs {
		if r.Thin && r.Origin.VG == vg.Name {
			if pool := vg.LV(r.Origin.LV).Thin().Pool; !slices.Contains(pools, pool) {
				pools = append(pools, pool)
			}
		}
	}
	return pools
}

// request is a member as the engine takes it. A thin snapshot that a guest is to run
// on is active like any volume.
func (s *CutSet) request(set *Set, m Member) lvm.SnapshotRequest {
	r := lvm.SnapshotRequest{Origin: m.Origin, Name: m.Snapshot.LV, Tags: set.Tags(m.Disk), Thin: m.Thin}
	if m.Thin {
		r.Activate = set.Role != RoleSnapshot
	} else {
		r.Size, r.Chunk = s.Size, s.Chunk
	}
	return r
}

// freeSetName is the first of base, base-2, base-3 … that no set has.
func (f *Facts) freeSetName(base string) string {
	name := base
	for n := 2; f.Set(name) != nil; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

// stop is the step that stops a guest, or nothing when it is off.
func (g *GuestFacts) stop(timeout time.Duration) []Step {
	if !g.State.Up() {
		return nil
	}
	return []Step{&StopGuest{Guest: g.Name, Timeout: orPatience(timeout), WasUp: true}}
}

// patience is how long a guest may take to shut down if the user says nothing.
const patience = 2 * time.Minute

func orPatience(d time.Duration) time.Duration {
	if d <= 0 {
		return patience
	}
	return d
}
