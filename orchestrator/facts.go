package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cowhand/hypervisor"
	"cowhand/lvm"
)

// Facts are what a plan is made from: the world at one moment, as values.
type Facts struct {
	Groups []*lvm.VG
	States map[lvm.Ref]lvm.State
	Sets   []*Set
	Guests map[string]*GuestFacts
}

// GuestFacts is one guest as a plan sees it.
type GuestFacts struct {
	Name  string
	UUID  string
	State hypervisor.State
	// Persistent guests have a definition that outlives their shutdown.
	Persistent bool
	XML        string
	Disks      []GuestDisk
}

// GuestDisk is a disk of a guest and the volume behind it.
type GuestDisk struct {
	hypervisor.Disk
	LV   lvm.Ref
	OnLV bool
}

// Facts looks at all volumes, guests and sets.
func (o *Orchestrator) Facts(ctx context.Context) (*Facts, error) {
	f := &Facts{States: map[lvm.Ref]lvm.State{}, Guests: map[string]*GuestFacts{}}
	var err error
	if f.Groups, err = o.World.Volumes.Groups(ctx); err != nil {
		return nil, err
	}
	f.Sets = Sets(f.Groups)
	for _, vg := range f.Groups {
		states, err := o.World.Volumes.States(ctx, vg)
		if err != nil {
			return nil, err
		}
		for lv, st := range states {
			f.States[lvm.Ref{VG: vg.Name, LV: lv}] = st
		}
	}
	if o.World.Guests == nil {
		return f, nil
	}
	guests, err := o.World.Guests.Guests(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range guests {
		gf, err := o.guestFacts(ctx, g)
		if err != nil {
			return nil, err
		}
		f.Guests[gf.Name] = gf
	}
	return f, nil
}

func (o *Orchestrator) guestFacts(ctx context.Context, g hypervisor.Guest) (*GuestFacts, error) {
	state, err := g.State(ctx)
	if err != nil {
		return nil, err
	}
	xml, err := g.XML(ctx)
	if err != nil {
		return nil, err
	}
	disks, err := hypervisor.Disks(xml)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name(), err)
	}
	persistent, err := g.Persistent(ctx)
	if err != nil {
		return nil, err
	}
	gf := &GuestFacts{Name: g.Name(), UUID: g.UUID(), State: state, Persistent: persistent, XML: xml}
	for _, d := range disks {
		ref, ok := o.World.Disks.Locate(d)
		gf.Disks = append(gf.Disks, GuestDisk{d, ref, ok})
	}
	return gf, nil
}

// Guest returns a guest's facts, nil if there is no such guest.
func (f *Facts) Guest(name string) *GuestFacts { return f.Guests[name] }

// Set returns the set of that name, nil if there is none.
func (f *Facts) Set(name string) *Set {
	for _, s := range f.Sets {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// the returns the one of the sets that a user can have meant.
func the(sets []*Set, word string, b *Blockers) *Set {
	if len(sets) == 0 {
		return nil
	}
	if len(sets) > 1 {
		var all []string
		for _, s := range sets {
			all = append(all, fmt.Sprintf("%s %s of guest %s", s.Role, s.Name, s.Guest))
		}
		b.add(ErrConflict, "%q may mean %s", word, strings.Join(all, " or "))
	}
	return sets[0]
}

// sets lists those that ok admits.
func (f *Facts) sets(ok func(*Set) bool) []*Set {
	return slices.DeleteFunc(slices.Clone(f.Sets), func(s *Set) bool { return !ok(s) })
}

// Of lists the sets of a guest with that role, oldest first; an empty role
// means any.
func (f *Facts) Of(guest string, role Role) []*Set {
	return f.sets(func(s *Set) bool { return s.Guest == guest && (role == "" || s.Role == role) })
}

func (f *Facts) group(name string) *lvm.VG {
	for _, vg := range f.Groups {
		if vg.Name == name {
			return vg
		}
	}
	return nil
}
