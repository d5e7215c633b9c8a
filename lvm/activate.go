package lvm

import (
	"errors"
	"fmt"

	"cowhand/dmcore"
)

// Layers are the suffixes of the UUIDs of devices that are not simply a volume's
// own (lvm2 2.03.16, lib/activate/dev_manager.c, and lib/misc/lvm-string.c,
// build_dm_uuid).
const (
	layerReal  = "real"  // what an origin was before it had snapshots, or was an external one
	layerCOW   = "cow"   // a snapshot's store
	layerTPool = "tpool" // what the volumes in a thin pool stand on
	layerPool  = "pool"  // a thin pool itself: nothing but the sign that it is active
	layerTData = "tdata" // the two parts of a thin pool
	layerTMeta = "tmeta"
)

// Activation is a device that a volume needs.
type Activation struct {
	Name     dmcore.Name
	UUID     dmcore.UUID
	Table    dmcore.Table // refers to other devices as "@UUID", to physical volumes as PVDevice does
	ReadOnly bool
	LV       string
	Layer    string // the suffix of the UUID; "" if it has none
	// Hold has I/O wait over the commit, also if the device stays as it is.
	Hold bool
	// Minor is the number that a new device must have; nil: any.
	Minor     *uint32
	ReadAhead ReadAhead

	row dmcore.Sectors // the longest row of stripes of the volume
}

// ActivateOptions say how to map a volume.
type ActivateOptions struct {
	// PVDevice tells the device of a physical volume, in the form in which
	// tables are to name it.
	PVDevice func(ID) (dmcore.Dev, error)
	// NoMerging maps an origin and the snapshot that is to be merged into it as
	// if it were not: the merge waits.
	NoMerging bool
	// ThinMerged maps a volume that a thin snapshot waits to be merged into as that
	// snapshot: it took its place already, and only the metadata does not say so.
	ThinMerged bool
	// Waiting maps a thin snapshot that waits to take its origin's place as if it did
	// not: somebody has it open still.
	Waiting bool
	// PoolThreshold is the percentage of a thin pool's data at which the kernel
	// is to raise an event: 50 to 99, or 0 for none (lvm2's setting
	// activation/thin_pool_autoextend_threshold). Nil: none.
	PoolThreshold func(pool *LV) int
}

// Unit lists the volumes that are mapped together: a plain volume alone, an
// origin and then all its snapshots, whichever of them is named. What volumes of
// several units stand on, as a thin pool, is of none; see [VG.UnitDevices].
func (vg *VG) Unit(name string) ([]*LV, error) {
	lv := vg.LV(name)
	if lv == nil {
		return nil, vg.fail(name, "", ErrNotFound)
	}
	links := vg.links()
	if links.helpers[name] {
		return nil, vg.fail(name, "", fmt.Errorf("the helper of a snapshot is no device: %w", ErrInvalid))
	}
	if pool := links.thin.pool[name]; pool != nil {
		return nil, vg.fail(name, "", fmt.Errorf("is a part of thin pool %s and mapped with it: %w", pool.Name, ErrInvalid))
	}
	if lv.spare() {
		return nil, vg.fail(name, "", fmt.Errorf("is kept for the repair of a thin pool and no device: %w", ErrInvalid))
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
	links := vg.links()
	for _, lv := range unit {
		if err := vg.canStack(lv, links); err != nil && !(o.Waiting && errors.Is(err, ErrMerging)) {
			return nil, vg.fail(lv.Name, "activate", err)
		}
	}
	origin, snaps := unit[0], unit[1:]
	m := &mapper{vg: vg, o: o, links: links, done: map[dmcore.UUID]bool{}, asReadOnly: vg.readOnlyHere(origin)}
	if len(snaps) == 0 {
		m.top(origin)
		return m.list, m.err
	}
	size := vg.Size(origin)
	m.base(origin, layerReal)
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
		return m.list, m.err
	}
	chunk := m.links.byCOW[merge.Name].seg.ChunkSize
	m.add(origin, "", whole(size, dmcore.SnapshotMerge{Origin: real, COW: vg.uuid(merge, layerCOW).Dev(), Chunk: chunk}))
	m.add(merge, "", whole(size, dmcore.Failing{}))
	return m.list, m.err
}

// top maps a volume without thick snapshots, and what it stands on.
func (m *mapper) top(lv *LV) {
	pool := lv.ThinPool()
	switch {
	case pool != nil && pool.fresh():
		m.pool(lv)
	case pool != nil:
		m.pool(lv)
		m.add(lv, layerPool, whole(m.vg.Size(lv), dmcore.Linear{Dev: m.vg.uuid(lv, layerTPool).Dev()}))
	case len(m.links.thin.external[lv.Name]) > 0:
		m.base(lv, layerReal)
		m.add(lv, "", whole(m.vg.Size(lv), dmcore.Linear{Dev: m.vg.uuid(lv, layerReal).Dev()}))
	default:
		m.base(lv, "")
	}
}

// canMap reports a volume that has no device, or none this package can make.
func (vg *VG) canMap(lv *LV) error {
	if vg.VirtualOrigin(lv) {
		return nil
	}
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

// mapper collects activations, each device once; the first error stays.
type mapper struct {
	vg    *VG
	o     ActivateOptions
	links *links
	list  []Activation
	done  map[dmcore.UUID]bool
	err   error

	asReadOnly bool // by the settings of this host
}

// base maps the volume's own segments, in that layer, and before it what they
// stand on.
func (m *mapper) base(lv *LV, layer string) {
	if t := lv.Thin(); t != nil {
		m.add(lv, layer, m.thin(lv, t))
		return
	}
	m.add(lv, layer, m.stripes(lv))
}

func (m *mapper) add(lv *LV, layer string, t dmcore.Table) {
	u := m.vg.uuid(lv, layer)
	if m.done[u] {
		return
	}
	m.done[u] = true
	a := Activation{
		Name:      dmcore.BuildName(m.vg.Name, lv.Name, m.nameLayer(lv, layer)),
		UUID:      u,
		Table:     t,
		ReadOnly:  m.readOnly(lv, layer),
		LV:        lv.Name,
		Layer:     layer,
		ReadAhead: lv.ReadAhead,
		row:       lv.row(),
	}
	if layer == "" && lv.Number != nil {
		minor := uint32(lv.Number.Minor)
		a.Minor = &minor
	}
	m.list = append(m.list, a)
}

// nameLayer is what a layer adds to a device's name: nothing if it is the
// volume's own, only marked so that nobody looks into it.
func (m *mapper) nameLayer(lv *LV, layer string) string {
	if layer == m.links.own(lv) {
		return ""
	}
	return layer
}

// readOnly is lvm2's read_only_lv (lib/activate/dev_manager.c). The kernel
// writes a read-only snapshot's store all the same, and an external origin must
// never be written (lib/metadata/thin_manip.c, attach_thin_external_origin).
func (m *mapper) readOnly(lv *LV, layer string) bool {
	switch layer {
	case layerCOW:
		return false
	case layerPool:
		return true
	}
	if m.asReadOnly && (layer == "" || layer == layerReal) {
		return true
	}
	return !lv.Writable() || len(m.links.thin.external[lv.Name]) > 0
}

// stripes maps the volume's segments. Neighbours that continue one another make
// one, as lvm2 joins them on reading.
func (m *mapper) stripes(lv *LV) dmcore.Table {
	var t dmcore.Table
	for _, s := range lv.Segments {
		if s.Type == typeZero {
			return whole(m.vg.Size(lv), dmcore.Zero{})
		}
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
