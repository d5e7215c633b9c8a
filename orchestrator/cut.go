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
	Size  lvm.Size
	Chunk dmcore.Sectors
	Disks []string // by the guest's names, "vda"; empty means all
	Now   time.Time
}

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
		s.Members = append(s.Members, Member{d.Target, d.LV, lvm.Ref{VG: d.LV.VG, LV: SnapshotName(d.LV.LV, name)}})
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
	byGroup := map[string][]lvm.SnapshotSpec{}
	for i := range cut.Sets {
		for _, m := range cut.Sets[i].Members {
			byGroup[m.Origin.VG] = append(byGroup[m.Origin.VG],
				cut.request(&cut.Sets[i], m).Spec())
		}
	}
	for name, specs := range byGroup {
		vg := f.group(name)
		if vg == nil {
			continue
		}
		if _, err := vg.Clone().AddSnapshots(specs); err != nil {
			*b = append(*b, err)
		}
	}
}

func (s *CutSet) request(set *Set, m Member) lvm.SnapshotRequest {
	return lvm.SnapshotRequest{Origin: m.Origin, Name: m.Snapshot.LV, Size: s.Size, Chunk: s.Chunk, Tags: set.Tags(m.Disk)}
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
