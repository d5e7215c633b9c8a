package lvm

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"cowhand/dmcore"
	"cowhand/lvm/lvmtext"
)

// ThinPool is what the segment of a thin pool says beside its chunk size
// (lvm2 2.03.16, lib/thin/thin.c, _thin_pool_text_import).
type ThinPool struct {
	Metadata, Data string // the hidden volumes it is made of
	TransactionID  uint64 // counts changes; the kernel has its own count, see PendingThin
	Discards       string // DiscardsPassdown…
	Zero           bool   // new blocks are zeroed
	Crop           bool   // of Metadata only what older versions of lvm2 map is mapped
	Whole          bool   // it is said that it is not cropped
	Messages       []ThinMessage
}

// What a pool does with discards. A segment that does not say so ignores them.
const (
	DiscardsPassdown   = "passdown"
	DiscardsNoPassdown = "nopassdown"
	DiscardsIgnore     = "ignore"
)

// ThinMessage is a change of a pool that the metadata has and the kernel perhaps
// not yet: either is set.
type ThinMessage struct {
	Create string // the volume to be made
	Delete uint32 // the device id to be deleted
}

// Thin is what the segment of a thin volume says
// (lvm2 2.03.16, lib/thin/thin.c, _thin_text_import).
type Thin struct {
	Pool           string
	TransactionID  uint64 // the pool's before the volume was made
	DeviceID       uint32 // in the pool
	Origin         string // the thin volume this is a snapshot of; "" if none, or none any more
	ExternalOrigin string // a volume outside the pool that is read where nothing was written
	Merge          string // the thin volume that this snapshot is to take the place of
}

const (
	typeThinPool = "thin-pool"
	typeThin     = "thin"
	// flagCrop is glued to the type of a pool that says crop_metadata
	// (lib/format_text/flags.c, SEGTYPE_FLAG).
	flagCrop = "+CROP_METADATA"

	flagErrorWhenFull  = "ERROR_WHEN_FULL"
	flagSkipActivation = "ACTIVATION_SKIP"
)

// SkipsActivation reports a volume that is activated only when that is insisted
// on, as thin snapshots are.
func (lv *LV) SkipsActivation() bool { return slices.Contains(lv.Flags, flagSkipActivation) }

// ThinPool returns what makes the volume a thin pool, nil if it is none.
func (lv *LV) ThinPool() *ThinPool {
	if len(lv.Segments) == 0 {
		return nil
	}
	return lv.Segments[0].ThinPool
}

// Thin returns what makes the volume a thin one, nil if it is none.
func (lv *LV) Thin() *Thin {
	if len(lv.Segments) == 0 {
		return nil
	}
	return lv.Segments[0].Thin
}

// fresh reports a pool that never had a volume: it has no layers
// (lib/metadata/metadata-exported.h, lv_is_new_thin_pool).
func (p *ThinPool) fresh() bool { return p.TransactionID == 0 }

// spare reports the volume that is kept for the repair of a pool's metadata
// (lib/format_text/import_vsn1.c).
func (lv *LV) spare() bool { return !lv.Visible() && strings.Contains(lv.Name, "_pmspare") }

// Spare reports the volume that is kept for the repair of pools' metadata.
func (vg *VG) Spare(name string) bool {
	lv := vg.LV(name)
	return lv != nil && lv.spare()
}

// thinLinks are what ties thin volumes, pools and their parts together.
type thinLinks struct {
	pool     map[string]*LV   // of the two parts of a pool, by name
	volumes  map[string][]*LV // of a pool, by its name, in order
	external map[string][]*LV // what reads from a volume, by its name
	merge    map[string]*LV   // the snapshot that is to take a volume's place, by its name
}

func (l *thinLinks) add(lv *LV) {
	if p := lv.ThinPool(); p != nil {
		set(&l.pool, p.Metadata, lv)
		set(&l.pool, p.Data, lv)
	}
	if t := lv.Thin(); t != nil {
		set(&l.volumes, t.Pool, append(l.volumes[t.Pool], lv))
		if t.ExternalOrigin != "" {
			set(&l.external, t.ExternalOrigin, append(l.external[t.ExternalOrigin], lv))
		}
		if t.Merge != "" {
			set(&l.merge, t.Merge, lv)
		}
	}
}

// set makes the map if it must: most groups have no thin volumes.
func set[K comparable, V any](m *map[K]V, key K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = v
}

// ThinVolumes lists the volumes in a pool, in order.
func (vg *VG) ThinVolumes(pool string) []*LV { return vg.links().thin.volumes[pool] }

// names lists the volumes that a thin or pool segment cannot be without: those
// a pool is made of, and what is read where nothing was written. Pools have thin
// volumes, and origins snapshots, that are no part of them.
func (s *Segment) names() []string {
	var names []string
	if p := s.ThinPool; p != nil {
		names = append(names, p.Metadata, p.Data)
	}
	if t := s.Thin; t != nil && t.ExternalOrigin != "" {
		names = append(names, t.ExternalOrigin)
	}
	return names
}

func (s *Segment) cloneThin() {
	if s.ThinPool != nil {
		p := *s.ThinPool
		p.Messages = slices.Clone(p.Messages)
		s.ThinPool = &p
	}
	if s.Thin != nil {
		t := *s.Thin
		s.Thin = &t
	}
}

func (r *reader) thinPool(s *lvmtext.Section, seg *Segment) {
	seg.ChunkSize = dmcore.Sectors(r.number("chunk_size", math.MaxUint32, true))
	p := &ThinPool{
		Metadata:      r.text("metadata", true),
		Data:          r.text("pool", true),
		TransactionID: r.number("transaction_id", math.MaxInt64, true),
		Discards:      r.text("discards", false),
		Zero:          r.number("zero_new_blocks", math.MaxUint32, false) != 0,
		Crop:          r.number("crop_metadata", math.MaxUint32, false) != 0,
	}
	_, said := s.Get("crop_metadata")
	p.Whole = said && !p.Crop
	if p.Discards == "" {
		p.Discards = DiscardsIgnore
	}
	p.Messages = r.thinMessages(s)
	seg.ThinPool = p
}

// thinMessages reads every subsection as a message, as lvm2 does.
func (r *reader) thinMessages(s *lvmtext.Section) (messages []ThinMessage) {
	what := r.what
	for _, sub := range s.Sections() {
		r.in(sub, what+": "+sub.Name())
		messages = append(messages, r.thinMessage())
	}
	r.in(s, what)
	return messages
}

func (r *reader) thinMessage() ThinMessage {
	if create := r.text("create", false); create != "" {
		return ThinMessage{Create: create}
	}
	return ThinMessage{Delete: uint32(r.number("delete", math.MaxUint32, true))}
}

func (r *reader) thin() *Thin {
	return &Thin{
		Pool:           r.text("thin_pool", true),
		TransactionID:  r.number("transaction_id", math.MaxInt64, true),
		DeviceID:       uint32(r.number("device_id", math.MaxUint32, true)),
		Origin:         r.text("origin", false),
		ExternalOrigin: r.text("external_origin", false),
		Merge:          r.text("merge", false),
	}
}

// printThinPool prints in the order of lvm2 (lib/thin/thin.c,
// _thin_pool_text_export).
func printThinPool(s *lvmtext.Section, seg *Segment) {
	p := seg.ThinPool
	s.Set("metadata", lvmtext.String(p.Metadata))
	s.Set("pool", lvmtext.String(p.Data))
	setNumber(s, "transaction_id", p.TransactionID, true)
	setNumber(s, "chunk_size", uint64(seg.ChunkSize), true)
	if _, ok := s.Get("discards"); ok || seg.was == "" || p.Discards != DiscardsIgnore {
		s.Set("discards", lvmtext.String(p.Discards))
	}
	setFlag(s, "zero_new_blocks", p.Zero)
	if p.Crop || p.Whole {
		s.Set("crop_metadata", lvmtext.Int(one(p.Crop)))
	}
	if slices.Equal((&reader{}).thinMessages(s), p.Messages) {
		return
	}
	for _, sub := range s.Sections() {
		s.Delete(sub.Name())
	}
	for i, m := range p.Messages {
		sub := s.Add(fmt.Sprintf("message%d", i+1))
		if m.Create != "" {
			sub.Set("create", lvmtext.String(m.Create))
		} else {
			sub.Set("delete", lvmtext.Int(int64(m.Delete)))
		}
	}
}

// printThin prints in the order of lvm2 (lib/thin/thin.c, _thin_text_export).
func printThin(s *lvmtext.Section, t *Thin) {
	s.Set("thin_pool", lvmtext.String(t.Pool))
	setNumber(s, "transaction_id", t.TransactionID, true)
	setNumber(s, "device_id", uint64(t.DeviceID), true)
	for _, v := range []struct{ key, name string }{{"external_origin", t.ExternalOrigin}, {"origin", t.Origin}, {"merge", t.Merge}} {
		switch now, _ := s.Get(v.key); {
		case v.name == "":
			s.Delete(v.key)
		case !now.Equal(lvmtext.String(v.name)):
			s.Set(v.key, lvmtext.String(v.name))
		}
	}
}

// setFlag sets 1, or has no such key, unless it says so already.
func setFlag(s *lvmtext.Section, key string, on bool) {
	v, ok := s.Get(key)
	now, _ := v.Int()
	switch {
	case ok && (now != 0) == on || !ok && !on:
	case on:
		setBehind(s, []string{"discards", "chunk_size"}, key, lvmtext.Int(1))
	default:
		s.Delete(key)
	}
}

func one(on bool) int64 {
	if on {
		return 1
	}
	return 0
}
