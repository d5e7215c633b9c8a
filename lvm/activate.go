package lvm

import (
	"fmt"

	"cowhand/dmcore"
)

// Layers are the suffixes of the devices below a volume's own
// (lvm2 2.03.16, lib/activate/dev_manager.c).
const (
	layerReal = "real" // what an origin was before it had snapshots
	layerCOW  = "cow"  // a snapshot's store
)

// Activation is a device that a volume needs.
type Activation struct {
	Name     dmcore.Name
	UUID     dmcore.UUID
	Table    dmcore.Table // refers to other devices as "@UUID", to physical volumes as PVDevice does
	ReadOnly bool
	LV       string
	Layer    string // "", "real" or "cow"
}

// ActivateOptions say how to map a volume.
type ActivateOptions struct {
	// PVDevice tells the device of a physical volume, in the form in which
	// tables are to name it.
	PVDevice func(ID) (dmcore.Dev, error)
	// NoMerging maps an origin and the snapshot that is to be merged into it as
	// if it were not: the merge waits.
	NoMerging bool
}

// Unit lists the volumes that are mapped together: a plain volume alone, an
// origin and then all its snapshots, whichever of them is named.
func (vg *VG) Unit(name string) ([]*LV, error) {
	lv := vg.LV(name)
	if lv == nil {
		return nil, vg.fail(name, "", ErrNotFound)
	}
	links := vg.links()
	if links.helpers[name] {
		return nil, vg.fail(name, "", fmt.Errorf("the helper of a snapshot is no device: %w", ErrInvalid))
	}
	if k, ok := links.byCOW[name]; ok {
		if lv = vg.LV(k.seg.Origin); lv == nil {
			return nil, vg.fail(name, "", fmt.Errorf("its origin %s: %w", k.seg.Origin, ErrNotFound))
		}
	}
	unit := []*LV{lv}
	for _, k := range links.byOrigin[lv.Name] {
		cow := vg.LV(k.seg.COW)
		if cow == nil {
			return nil, vg.fail(lv.Name, "", fmt.Errorf("its snapshot %s: %w", k.seg.COW, ErrNotFound))
		}
		unit = append(unit, cow)
	}
	return unit, nil
}

func (vg *VG) uuid(lv *LV, layer string) dmcore.UUID {
	return dmcore.BuildUUID(string(vg.ID), string(lv.ID), layer)
}

// Activations plans the devices of the volume's unit, children first: the order
// in which they can be created and resumed. A merge is mapped as the kernel
// wants it: snapshot-merge on the origin, and the error target where the
// snapshot was, last, for it must not come before the merge.
func (vg *VG) Activations(name string, o ActivateOptions) ([]Activation, error) {
	unit, err := vg.Unit(name)
	if err != nil {
		return nil, err
	}
	for _, lv := range unit {
		if err := vg.canMap(lv); err != nil {
			return nil, vg.fail(lv.Name, "activate", err)
		}
	}
	m := &mapper{vg: vg, o: o, links: vg.links()}
	origin, snaps := unit[0], unit[1:]
	if len(snaps) == 0 {
		m.add(origin, "", m.stripes(origin))
		return m.done()
	}
	size := vg.Size(origin)
	m.add(origin, layerReal, m.stripes(origin))
	for _, cow := range snaps {
		m.add(cow, layerCOW, m.stripes(cow))
	}
	real := vg.uuid(origin, layerReal).Dev()
	var merge *LV
	for _, cow := range snaps {
		seg := m.links.byCOW[cow.Name].seg
		if seg.Merging && !o.NoMerging {
			merge = cow
			continue
		}
		m.add(cow, "", whole(size, dmcore.Snapshot{Origin: real, COW: vg.uuid(cow, layerCOW).Dev(), Chunk: seg.ChunkSize}))
	}
	if merge == nil {
		m.add(origin, "", whole(size, dmcore.SnapshotOrigin{Dev: real}))
		return m.done()
	}
	chunk := m.links.byCOW[merge.Name].seg.ChunkSize
	m.add(origin, "", whole(size, dmcore.SnapshotMerge{Origin: real, COW: vg.uuid(merge, layerCOW).Dev(), Chunk: chunk}))
	m.add(merge, "", whole(size, dmcore.Failing{}))
	return m.done()
}

// canMap reports a volume that has no device, or none this package can make.
func (vg *VG) canMap(lv *LV) error {
	for _, s := range lv.Segments {
		if !s.striped() {
			return fmt.Errorf("segment type %q: %w", s.Type, ErrUnsupported)
		}
	}
	if !vg.simple(lv) {
		return fmt.Errorf("does not lie on physical volumes: %w", ErrUnsupported)
	}
	if pv := vg.missing(lv); pv != nil {
		return fmt.Errorf("%s (%s): %w", pv.Name, pv.Device, ErrMissingPV)
	}
	return nil
}

func whole(n dmcore.Sectors, t dmcore.Target) dmcore.Table {
	return dmcore.Table{{Start: 0, Length: n, Target: t}}
}

// mapper collects activations; the first error stays.
type mapper struct {
	vg    *VG
	o     ActivateOptions
	links *links
	list  []Activation
	err   error
}

func (m *mapper) done() ([]Activation, error) { return m.list, m.err }

func (m *mapper) add(lv *LV, layer string, t dmcore.Table) {
	m.list = append(m.list, Activation{
		Name:  dmcore.BuildName(m.vg.Name, lv.Name, layer),
		UUID:  m.vg.uuid(lv, layer),
		Table: t,
		// The kernel writes a read-only snapshot's store all the same
		// (lib/activate/dev_manager.c, _read_only_lv).
		ReadOnly: !lv.Writable() && layer != layerCOW,
		LV:       lv.Name,
		Layer:    layer,
	})
}

// stripes maps the volume's segments. Neighbours that continue one another make
// one, as lvm2 joins them on reading.
func (m *mapper) stripes(lv *LV) dmcore.Table {
	var t dmcore.Table
	for _, s := range lv.Segments {
		var areas []dmcore.Linear
		for _, a := range s.Stripes {
			areas = append(areas, dmcore.Linear{Dev: m.pv(lv, a.PV), Start: m.vg.PV(a.PV).PEStart + m.vg.Sectors(a.Start)})
		}
		next := dmcore.Segment{Start: m.vg.Sectors(s.Start), Length: m.vg.Sectors(s.Count), Target: target(areas, s.StripeSize)}
		if n := len(t); n > 0 && continues(t[n-1], next) {
			t[n-1].Length += next.Length
			continue
		}
		t = append(t, next)
	}
	return t
}

func target(areas []dmcore.Linear, chunk dmcore.Sectors) dmcore.Target {
	if len(areas) == 1 {
		return areas[0]
	}
	return dmcore.Striped{Chunk: chunk, Areas: areas}
}

func continues(a, b dmcore.Segment) bool {
	switch x := a.Target.(type) {
	case dmcore.Linear:
		y, ok := b.Target.(dmcore.Linear)
		return ok && x.Dev == y.Dev && x.Start+a.Length == y.Start
	case dmcore.Striped:
		y, ok := b.Target.(dmcore.Striped)
		if !ok || x.Chunk != y.Chunk || len(x.Areas) != len(y.Areas) {
			return false
		}
		for i := range x.Areas {
			if x.Areas[i].Dev != y.Areas[i].Dev || x.Areas[i].Start+a.Length/dmcore.Sectors(len(x.Areas)) != y.Areas[i].Start {
				return false
			}
		}
		return true
	}
	return false
}

func (m *mapper) pv(lv *LV, name string) dmcore.Dev {
	pv := m.vg.PV(name)
	if m.o.PVDevice == nil {
		m.fail(lv, fmt.Errorf("no device known for %s: %w", name, ErrInvalid))
		return ""
	}
	dev, err := m.o.PVDevice(pv.ID)
	if err != nil {
		m.fail(lv, fmt.Errorf("%s (%s): %w", name, pv.Device, err))
	}
	return dev
}

func (m *mapper) fail(lv *LV, err error) {
	if m.err == nil {
		m.err = m.vg.fail(lv.Name, "activate", err)
	}
}
