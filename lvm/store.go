package lvm

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// Store reads and writes volume groups on a list of devices. It takes no locks
// ([Locks] does) and remembers nothing but parsed texts: every call reads the
// devices anew. Its methods may be called from several goroutines; two changes
// of one group at a time are for the caller's lock to prevent.
type Store struct {
	Devices []string // paths of block devices or image files, each device once
	Open    func(path string, write bool) (blockdev.Device, error)

	SystemIDs []string         // this host's first, then others whose groups it may use; a group with no ID is everybody's
	Lists     Lists            // which volumes this host may activate
	Pools     PoolSettings     // how thin pools are made
	Command   string           // who writes, for the text's description; "": cowhand
	Host      string           // name of this host
	System    string           // uname, noted beside it
	Now       func() time.Time // nil: time.Now
	Random    io.Reader        // of IDs; nil: crypto/rand
	Archive   *Archive         // nil: no copies are kept in files
	Hints     string           // lvm2's list of devices, removed when it gets wrong; "": none

	mu     sync.Mutex
	parsed map[textKey]*parsedText
}

// Listing is all that a scan found.
type Listing struct {
	Groups   []Group  // by name
	PVs      []Volume // in the order of Store.Devices
	Problems []error  // what is damaged, stale or ambiguous; most are *DeviceError
}

// Group is a volume group as found. Err says why it cannot be used, if so; it
// may be looked at all the same.
type Group struct {
	VG  *VG
	Err error
}

// Volume is a device with a label.
type Volume struct {
	Path       string
	ID         ID
	Size       dmcore.Sectors
	VG         string // "": of no group
	Used       bool   // belongs to a group, even if that was not found
	Areas      int    // metadata areas
	AreasInUse int
	AreaSize   int64          // bytes, of the smallest
	AreaFree   int64          // bytes by which the text of its group may grow there
	Start      dmcore.Sectors // where extents begin
}

// List names the groups that [Store.Load] would return, in order.
func (s *Store) List(ctx context.Context) ([]string, error) {
	l, err := s.Scan(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, g := range l.Groups {
		if g.Err == nil {
			names = append(names, g.VG.Name)
		}
	}
	return names, nil
}

// Scan reads all devices, and returns all there is to know about them.
func (s *Store) Scan(ctx context.Context) (*Listing, error) {
	f, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	l := &Listing{Problems: f.problems}
	for _, g := range f.groups {
		vg := s.present(g)
		l.Groups = append(l.Groups, Group{vg, cmp.Or(g.err, vg.fail("", "", s.usable(vg)))})
	}
	for _, d := range f.disks {
		l.PVs = append(l.PVs, f.volume(d))
	}
	return l, nil
}

// Load returns a group, to be used and changed. Each PV's Device is the path it
// was found at; one that was not found is flagged MISSING. Groups that are
// foreign, exported, shared, ambiguous or invalid are refused.
func (s *Store) Load(ctx context.Context, name string) (*VG, error) {
	f, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	g, err := f.named(name)
	if err != nil {
		return nil, err
	}
	vg := s.present(g)
	return vg, vg.fail("", "", s.usable(vg))
}

// Special cases of [ErrForeign] and [ErrInvalid].
var (
	ErrExported error = &special{"exported", ErrForeign}                         // nobody's for now
	ErrShared   error = &special{"shared by several hosts", ErrForeign}          // one at a time, by a lock manager's leave
	ErrReadOnly error = &special{"volume group is read-only", ErrInvalid}        // its metadata may not be changed
	ErrExcluded error = &special{"not to be activated on this host", ErrInvalid} // by lvm2's settings
)

// special is an error that is one of a more general kind, too.
type special struct {
	text string
	kind error
}

func (e *special) Error() string { return e.text }
func (e *special) Unwrap() error { return e.kind }

// present returns the group as it is on this host, with what the host may do.
func (s *Store) present(g *group) *VG {
	vg := g.present()
	vg.lists, vg.settings = &s.Lists, s.Pools
	vg.abroad = vg.SystemID != "" && len(s.SystemIDs) > 0 && vg.SystemID != s.SystemIDs[0]
	return vg
}

// usable reports a group that this host must leave alone.
func (s *Store) usable(vg *VG) error {
	switch {
	case vg.SystemID != "" && !slices.Contains(s.SystemIDs, vg.SystemID):
		ours := "this host has none"
		if len(s.SystemIDs) > 0 {
			ours = fmt.Sprintf("this host's is %q", s.SystemIDs[0])
		}
		return fmt.Errorf("system id is %q, %s: %w", vg.SystemID, ours, ErrForeign)
	case vg.LockType != "" && vg.LockType != "none":
		return fmt.Errorf("volume group needs the lock manager %q: %w", vg.LockType, ErrShared)
	case slices.Contains(vg.Status, "CLUSTERED"), slices.Contains(vg.Status, "SHARED"):
		return fmt.Errorf("volume group needs a cluster's lock manager: %w", ErrShared)
	case vg.Exported():
		return fmt.Errorf("volume group is %w", ErrExported)
	}
	return nil
}

// changeable reports a group of which no commit could be made, as far as it can be
// told without looking at the devices.
func (vg *VG) changeable() error {
	if !vg.Writable() {
		return ErrReadOnly
	}
	for _, pv := range vg.PVs {
		if pv.Missing() {
			return pv.lost()
		}
	}
	return nil
}

// lost is the error of a PV that is not there.
func (pv *PV) lost() error {
	return fmt.Errorf("%s %s, last seen at %s: %w", pv.Name, pv.ID.Dashed(), pv.Device, ErrMissingPV)
}

// found is what a scan makes of the devices.
type found struct {
	disks    []*disk
	byID     map[ID][]*disk
	groups   []*group
	owner    map[ID]*group // by PV
	problems []error
}

// group is a volume group and where it was found.
type group struct {
	vg    *VG          // the newest copy, never changed
	areas []*area      // that hold a copy, old or new
	disks map[ID]*disk // its PVs that were found
	err   error        // why it cannot be used
}

func (s *Store) scan(ctx context.Context) (*found, error) {
	disks, problems, err := s.scanDevices(ctx)
	if err != nil {
		return nil, err
	}
	s.forget()
	f := &found{disks: disks, byID: map[ID][]*disk{}, owner: map[ID]*group{}, problems: problems}
	for _, d := range disks {
		f.byID[d.id] = append(f.byID[d.id], d)
	}
	f.collect()
	for _, g := range f.groups {
		g.err = cmp.Or(g.err, g.newest().invalid)
		f.place(g)
	}
	f.ambiguous()
	f.outdated()
	return f, nil
}

// collect makes a group of all copies with one ID; the newest one counts.
func (f *found) collect() {
	byID := map[ID]*group{}
	for _, d := range f.disks {
		for _, a := range d.areas {
			if a.vg == nil {
				continue
			}
			g := byID[a.vg.ID]
			if g == nil {
				g = &group{vg: a.vg, disks: map[ID]*disk{}}
				byID[a.vg.ID] = g
				f.groups = append(f.groups, g)
			}
			g.areas = append(g.areas, a)
			switch {
			case a.vg.Seqno > g.vg.Seqno:
				g.vg, g.err = a.vg, nil
			case a.vg.Seqno == g.vg.Seqno && a.vg != g.vg:
				g.err = g.vg.fail("", "", fmt.Errorf("%s and %s hold different metadata of seqno %d: %w",
					g.newest().disk.path, d.path, a.vg.Seqno, ErrCorrupt))
			}
		}
	}
	slices.SortStableFunc(f.groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.vg.Name, b.vg.Name), cmp.Compare(a.vg.ID, b.vg.ID))
	})
}

// newest is an area that holds the copy that counts.
func (g *group) newest() *area {
	return g.areas[slices.IndexFunc(g.areas, func(a *area) bool { return a.vg == g.vg })]
}

// place finds the group's PVs.
func (f *found) place(g *group) {
	for _, pv := range g.vg.PVs {
		disks := f.byID[pv.ID]
		switch {
		case len(disks) == 0:
			f.problems = append(f.problems, g.vg.fail("", "", pv.lost()))
			continue
		case len(disks) > 1 && g.err == nil:
			g.err = g.vg.fail("", "", fmt.Errorf("%s %s is on %s and on %s: %w", pv.Name, pv.ID.Dashed(), disks[0].path, disks[1].path, ErrDuplicate))
		}
		d := disks[0]
		g.disks[pv.ID] = d
		if d.size < pv.DevSize.Bytes() {
			f.problems = append(f.problems, &DeviceError{d.path, -1, fmt.Errorf("has %d bytes, the metadata of %s says %d: %w",
				d.size, g.vg.Name, pv.DevSize.Bytes(), ErrInvalid)})
		}
		if other := f.owner[pv.ID]; other != nil {
			err := fmt.Errorf("%s belongs to %s and to %s: %w", d.path, other.vg.Name, g.vg.Name, ErrDuplicate)
			other.err, g.err = cmp.Or(other.err, other.vg.fail("", "", err)), cmp.Or(g.err, g.vg.fail("", "", err))
		}
		f.owner[pv.ID] = g
	}
}

// ambiguous marks groups of one name, and reports what keeps any group from
// being used.
func (f *found) ambiguous() {
	for i, g := range f.groups {
		if i > 0 && f.groups[i-1].vg.Name == g.vg.Name {
			before := f.groups[i-1]
			err := g.vg.fail("", "", fmt.Errorf("two groups have this name, %s on %s and %s on %s: %w", before.vg.ID.Dashed(),
				before.newest().disk.path, g.vg.ID.Dashed(), g.newest().disk.path, ErrDuplicate))
			before.err, g.err = cmp.Or(before.err, err), cmp.Or(g.err, err)
		}
	}
	for _, g := range f.groups {
		if g.err != nil {
			f.problems = append(f.problems, g.err)
		}
	}
	for _, d := range f.disks {
		if first := f.byID[d.id][0]; first != d && f.owner[d.id] == nil {
			f.problems = append(f.problems, &DeviceError{d.path, -1, fmt.Errorf("id %s is on %s too: %w", d.id.Dashed(), first.path, ErrDuplicate)})
		}
	}
}

// outdated reports copies that are not the newest: the next commit refreshes
// them where the disk still belongs to the group.
func (f *found) outdated() {
	for _, g := range f.groups {
		for _, a := range g.areas {
			offset := int64(a.at.Offset + a.header.Committed.Offset)
			switch {
			case f.owner[a.disk.id] != g:
				f.problems = append(f.problems, &DeviceError{a.disk.path, offset, fmt.Errorf("metadata claims the device for %s, which does not list it: %w", g.vg.Name, ErrCorrupt)})
			case a.vg.Seqno < g.vg.Seqno:
				f.problems = append(f.problems, &DeviceError{a.disk.path, offset, fmt.Errorf("metadata of %s is stale, seqno %d of %d: %w", g.vg.Name, a.vg.Seqno, g.vg.Seqno, ErrCorrupt)})
			}
		}
	}
}

// named returns the group of that name, if it can be used.
func (f *found) named(name string) (*group, error) {
	for _, g := range f.groups {
		if g.vg.Name == name {
			return g, g.err
		}
	}
	return nil, &Error{VG: name, Err: f.notFound()}
}

// notFound is the error of a group that no device has; it may be on one that
// cannot be read.
func (f *found) notFound() error {
	err := fmt.Errorf("volume group: %w", ErrNotFound)
	if n := len(f.problems); n > 0 {
		err = fmt.Errorf("%w (%d problems on the devices, the first: %w)", err, n, f.problems[0])
	}
	return err
}

// present returns the group as it is on this host.
func (g *group) present() *VG {
	vg := g.vg.Clone()
	for _, pv := range vg.PVs {
		switch d := g.disks[pv.ID]; {
		case d != nil:
			pv.Device = d.path
		case !pv.Missing():
			pv.Flags = append(pv.Flags, flagMissing)
		}
	}
	return vg
}

func (f *found) volume(d *disk) Volume {
	v := Volume{Path: d.path, ID: d.id, Size: dmcore.Sectors(d.size / dmcore.SectorSize), Used: d.label.Used(), Areas: len(d.areas)}
	if g := f.owner[d.id]; g != nil {
		v.VG, v.Used = g.vg.Name, true
	}
	if len(d.label.Data) > 0 {
		v.Start = dmcore.Sectors(d.label.Data[0].Offset / dmcore.SectorSize)
	}
	for i, a := range d.areas {
		if size := int64(a.at.Size); i == 0 || size < v.AreaSize {
			v.AreaSize = size
		}
		if a.err == nil && !a.header.Ignored() {
			v.AreasInUse++
		}
		if free := int64(a.header.Max()) - int64(len(a.text)); i == 0 || free < v.AreaFree {
			v.AreaFree = free
		}
	}
	return v
}
