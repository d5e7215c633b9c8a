package orchestrator

import (
	"fmt"
	"slices"

	"cowhand/hypervisor"
	"cowhand/lvm"
)

// Pausing says which guests are paused before a space that they fill is full and
// cannot be made larger. The zero value pauses none.
type Pausing struct {
	At  int // percent, 51 to 99
	Who PauseWho
}

// PauseWho says whose guests are paused.
type PauseWho string

// Who is paused.
const (
	PauseNone   PauseWho = "none"
	PauseTrials PauseWho = "trials" // guests on a snapshot of a set, which would lose their disk
	PauseSets   PauseWho = "sets"   // and those on its origin, which go on without it
	PauseAll    PauseWho = "all"    // guests on any snapshot, origin, or volume in a thin pool
)

// shortage is a space that is about to be full, and is not made larger.
type shortage struct {
	lvm.Fill
	why string
}

// shortages are the spaces that guests may have to be paused for: not those that
// policy will have extended when they are fuller.
func (p Pausing) shortages(fills lvm.Fills, tried []lvm.Autoextended, policy func(*lvm.VG, *lvm.LV) lvm.ExtendPolicy) (short []shortage) {
	if p.Who == PauseNone || p.Who == "" || p.At <= 0 || p.At >= 100 {
		return nil
	}
	for _, f := range fills.Spaces {
		if f.Whole || !f.Lost && f.Used < float64(p.At) {
			continue
		}
		vg := fills.Groups[f.VG]
		if !p.cares(vg, vg.LV(f.LV)) {
			continue
		}
		if by := policy(vg, vg.LV(f.LV)); !f.Lost && !by.Never() && f.Used <= float64(by.Threshold) {
			continue
		}
		why := fmt.Sprintf("is %.1f%% full, and is not set to be extended", f.Used)
		for _, a := range tried {
			if a.Err != nil && a.Ref == f.Ref && (a.Part == f.Part || a.Part == "") {
				why = fmt.Sprintf("is %.1f%% full, and cannot be extended: %s", f.Used, a.Err)
			}
		}
		if f.Lost {
			why = "is lost"
		}
		short = append(short, shortage{f, why})
	}
	return short
}

// cares tells that a guest might be paused for a snapshot or a pool.
func (p Pausing) cares(vg *lvm.VG, lv *lvm.LV) bool {
	return p.Who == PauseAll || Ours(lv) || slices.ContainsFunc(vg.ThinVolumes(lv.Name), Ours)
}

// upGuest is a guest as the monitor sees it; of one that is off only the state
// is known.
type upGuest struct {
	name, uuid string
	state      hypervisor.State
	disks      []GuestDisk
	activity   string
	unknown    bool // it could not be looked at
}

// concern says why a guest is paused, or stays so. A space that is lost is none to
// pause for any more, but a guest that stands on it is not let go into its errors.
func (p Pausing) concern(g upGuest, short []shortage, groups map[string]*lvm.VG) (h Hold, lost, ok bool) {
	for _, s := range short {
		vg := groups[s.VG]
		for _, d := range g.disks {
			if !d.OnLV || d.LV.VG != s.VG || vg == nil || !p.fills(vg, d.LV.LV, s) {
				continue
			}
			why := Hold{Guest: g.name, UUID: g.uuid, Disk: d.Target, Volume: s.Ref, Part: s.Part, Why: s.why}
			if !s.Lost {
				return why, false, true
			}
			if s.LV == d.LV.LV || s.Part != "" {
				h, lost, ok = why, true, true
			}
		}
	}
	return h, lost, ok
}

// fills tells that writes to a volume take what the space has, and that who does
// that is to be paused.
func (p Pausing) fills(vg *lvm.VG, disk string, s shortage) bool {
	lv, store := vg.LV(disk), vg.LV(s.LV)
	if lv == nil || store == nil {
		return false
	}
	if s.Part != "" {
		if lv.Thin() == nil || lv.Thin().Pool != s.LV {
			return false
		}
		isOrigin := slices.ContainsFunc(vg.ThinVolumes(s.LV), func(snap *lvm.LV) bool { return snap.Thin().Origin == disk && Ours(snap) })
		return p.Who == PauseAll || Ours(lv) || p.Who == PauseSets && isOrigin
	}
	origin := vg.Origin(s.LV)
	switch {
	case disk == s.LV:
		return p.Who == PauseAll || Ours(store)
	case origin != nil && disk == origin.Name:
		return p.Who == PauseAll || p.Who == PauseSets && Ours(store)
	}
	return false
}

// verdict is what is to be done about a guest.
type verdict int

const (
	pause  verdict = iota
	unsure         // it may be paused: the next look tells
	stays          // paused
	record         // it stays paused, and there is more to write down
	letGo          // somebody let it go on
	his            // and it is his still
	resume         // it goes on
	forget         // it needs no more to be remembered
)

// ruling is a verdict on a guest.
type ruling struct {
	verdict
	hold  Hold
	guest upGuest
}

// rule decides about all guests. One goes on only if nobody but us can have paused
// it, and all that it writes to was looked at.
func (p Pausing) rule(holds []Hold, guests []upGuest, short []shortage, groups map[string]*lvm.VG) (list []ruling) {
	held := map[string]bool{}
	for _, h := range holds {
		g, up := find(guests, h.UUID)
		now, lost, needed := p.concern(g, short, groups)
		r := ruling{p.about(h, g, up, needed, groups), h, g}
		if r.verdict == stays && lost && h.Why != now.Why {
			r.verdict, r.hold.Why = record, now.Why
		}
		held[h.UUID] = r.verdict != forget
		list = append(list, r)
	}
	for _, g := range guests {
		if h, lost, ok := p.concern(g, short, groups); ok && !lost && !held[g.uuid] && g.state == hypervisor.Running {
			list = append(list, ruling{pause, h, g})
		}
	}
	return list
}

// about decides about a guest that we paused, or were about to.
func (p Pausing) about(h Hold, g upGuest, up, needed bool, groups map[string]*lvm.VG) verdict {
	sure := h.Activity != ""
	// A request that was under way when it was paused may have failed since.
	still := g.state == hypervisor.Paused || g.state == hypervisor.Stalled
	ran := !still || sure && h.Activity != g.activity
	switch {
	case g.unknown:
		return stays
	case !up, h.LetGo && !needed, ran && !needed:
		return forget
	case h.LetGo:
		return his
	case ran && !sure: // who wrote it died before he paused it
		return forget
	case ran:
		return letGo
	case !needed && looked(g, h, groups):
		return resume
	case !sure:
		return record
	}
	return stays
}

func find(guests []upGuest, uuid string) (g upGuest, up bool) {
	for _, g := range guests {
		if g.uuid == uuid {
			return g, g.state.Up()
		}
	}
	return upGuest{}, false
}

// looked reports that the groups of all that a guest writes to were looked at.
func looked(g upGuest, h Hold, groups map[string]*lvm.VG) bool {
	for _, d := range g.disks {
		if d.OnLV && groups[d.LV.VG] == nil {
			return false
		}
	}
	return groups[h.Volume.VG] != nil
}
