package lvm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"cowhand/dmcore"
)

// VGSpec says how a group is made. Zero values are lvm2's defaults.
type VGSpec struct {
	Name       string
	ID         ID             // "": a random one
	ExtentSize dmcore.Sectors // 0: 4 MiB
	PVs        []string       // paths of PVs that are in no group
	SystemID   string
	Tags       []string
	MaxLV      int
	MaxPV      int
	Policy     string // how its volumes take extents, unless they say so themselves; "": normal
	NoAuto     bool   // its volumes are not activated by themselves, at boot
}

const defaultExtentSize dmcore.Sectors = 4 << 20 / dmcore.SectorSize

// CreateVG makes a group. The caller holds the global lock and the group's.
func (s *Store) CreateVG(ctx context.Context, spec VGSpec) (*VG, error) {
	fail := func(err error) (*VG, error) { return nil, &Error{VG: spec.Name, Op: "create", Err: err} }
	f, err := s.scan(ctx)
	if err != nil {
		return fail(err)
	}
	vg := &VG{
		Name: spec.Name, ID: spec.ID, ExtentSize: cmp.Or(spec.ExtentSize, defaultExtentSize),
		Status: []string{"RESIZEABLE", statusRead, statusWrite}, Tags: slices.Sorted(slices.Values(spec.Tags)),
		SystemID: spec.SystemID, MaxLV: spec.MaxLV, MaxPV: spec.MaxPV, allocation: spec.Policy,
	}
	if spec.NoAuto {
		vg.Flags = []string{flagNoAuto}
	}
	if vg.ID == "" {
		if vg.ID, err = NewID(s.Random); err != nil {
			return fail(err)
		}
	}
	if g, err := f.named(spec.Name); g != nil {
		return fail(cmp.Or(err, fmt.Errorf("volume group: %w", ErrExists)))
	}
	if err := f.join(vg, spec.PVs); err != nil {
		return fail(err)
	}
	return s.change(ctx, vg, "create")
}

// ExtendVG adds PVs to a group. The caller holds the global lock and the
// group's.
func (s *Store) ExtendVG(ctx context.Context, vg *VG, paths ...string) (*VG, error) {
	f, err := s.scan(ctx)
	if err == nil {
		vg = vg.Clone()
		err = f.join(vg, paths)
	}
	if err != nil {
		return nil, vg.fail("", "extend", err)
	}
	return s.change(ctx, vg, "extend")
}

// ReduceVG takes PVs without extents in use out of a group. The caller holds the
// global lock and the group's.
func (s *Store) ReduceVG(ctx context.Context, vg *VG, paths ...string) (*VG, error) {
	next := vg.Clone()
	for _, path := range paths {
		i := slices.IndexFunc(next.PVs, func(pv *PV) bool { return pv.Device == path })
		if i < 0 {
			return nil, vg.fail("", "reduce", fmt.Errorf("%s is not of the group: %w", path, ErrNotFound))
		}
		if slices.ContainsFunc(vg.UsedRuns(), func(r Run) bool { return r.PV == next.PVs[i].Name }) {
			return nil, vg.fail("", "reduce", fmt.Errorf("%s has volumes on it: %w", path, ErrInUse))
		}
		next.PVs = slices.Delete(next.PVs, i, i+1)
	}
	if len(next.PVs) == 0 {
		return nil, vg.fail("", "reduce", fmt.Errorf("no physical volume would be left: %w", ErrInvalid))
	}
	return s.change(ctx, next, "reduce")
}

// change prepares, commits and backs up.
func (s *Store) change(ctx context.Context, next *VG, op string) (*VG, error) {
	p, err := s.prepare(ctx, next, s.Archive)
	if err != nil {
		return nil, named(next, op, err)
	}
	if err := p.Commit(); err != nil {
		return nil, err
	}
	vg, err := s.Load(context.WithoutCancel(ctx), next.Name)
	if err != nil {
		return nil, err
	}
	return vg, errors.Join(s.dropHints(), s.Backup(vg))
}

// join adds the PVs at these paths to vg.
func (f *found) join(vg *VG, paths []string) error {
	if len(paths) == 0 {
		return fmt.Errorf("no physical volume given: %w", ErrInvalid)
	}
	for _, path := range paths {
		d, err := f.at(path)
		if err == nil {
			err = f.free(d)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		pv, err := d.pv(vg)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		vg.PVs = append(vg.PVs, pv)
	}
	return nil
}

// pv is the disk as a PV of vg with all of its data area in extents.
func (d *disk) pv(vg *VG) (*PV, error) {
	if len(d.label.Data) != 1 {
		return nil, fmt.Errorf("has %d data areas: %w", len(d.label.Data), ErrUnsupported)
	}
	size := uint64(d.size)
	if n := d.label.DeviceSize; n > 0 {
		size = min(size, n) // what the device has more is used after a pvresize
	}
	start, end := d.label.Data[0].Offset, size
	if n := d.label.Data[0].Size; n > 0 {
		end = min(end, start+n)
	}
	for _, a := range d.label.Metadata {
		if a.Offset >= start {
			end = min(end, a.Offset)
		}
	}
	extent := uint64(vg.ExtentSize.Bytes())
	if extent == 0 || end < start+extent {
		return nil, fmt.Errorf("has no room for an extent of %d bytes: %w", extent, ErrNoSpace)
	}
	count := (end - start) / extent
	if count > uint64(MaxExtents) {
		return nil, fmt.Errorf("has %d extents, at most %d can be: %w", count, MaxExtents, ErrInvalid)
	}
	return &PV{
		Name: vg.freePVName(), ID: d.id, Device: d.path, Status: []string{statusAlloc},
		DevSize: dmcore.Sectors(size / dmcore.SectorSize), PEStart: dmcore.Sectors(start / dmcore.SectorSize), PECount: Extents(count),
	}, nil
}

// freePVName is the first of pv0, pv1… that is not taken.
func (vg *VG) freePVName() string {
	for i := 0; ; i++ {
		if name := fmt.Sprintf("pv%d", i); vg.PV(name) == nil {
			return name
		}
	}
}

// RemoveVG removes a group without volumes; its PVs are free then. The caller
// holds the global lock and the group's. A power cut leaves the group, or none.
func (s *Store) RemoveVG(ctx context.Context, vg *VG) error {
	return named(vg, "remove", s.removeVG(ctx, vg))
}

func (s *Store) removeVG(ctx context.Context, vg *VG) error {
	f, err := s.scan(ctx)
	if err != nil {
		return err
	}
	g, err := s.current(f, vg)
	switch {
	case err != nil:
		return err
	case g == nil:
		return fmt.Errorf("volume group: %w", ErrNotFound)
	case len(g.vg.LVs) > 0:
		return fmt.Errorf("has %d volumes: %w", len(g.vg.LVs), ErrInUse)
	}
	if s.Archive != nil {
		if err := s.Archive.Archive(g.present(), s.header(fmt.Sprintf("Created *before* executing '%s'", s.command()))); err != nil {
			return err
		}
	}
	p := &Pending{VG: g.vg.Clone()}
	p.VG.PVs = nil
	if err := p.planLeaving(g); err != nil {
		return err
	}
	for _, d := range p.devices {
		if d.dev, err = s.Open(d.disk.path, true); err != nil {
			return errors.Join(append(p.close(), &DeviceError{d.disk.path, -1, err})...)
		}
	}
	err = p.orphan()
	if err = errors.Join(append(p.close(), err)...); err != nil {
		return err
	}
	if s.Archive != nil {
		err = s.Archive.Forget(vg.Name)
	}
	return errors.Join(err, s.dropHints())
}

// orphan clears the labels' flags first: a group whose PVs lack them is whole,
// while PVs with the flag and no group could not be used again.
func (p *Pending) orphan() error {
	for _, d := range p.devices {
		if err := d.writeLabel(); err != nil {
			return &DeviceError{d.disk.path, -1, err}
		}
	}
	for _, d := range p.devices {
		if err := d.clearAreas(); err != nil {
			return &DeviceError{d.disk.path, -1, err}
		}
	}
	return nil
}
