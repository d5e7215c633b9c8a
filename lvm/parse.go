package lvm

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"cowhand/dmcore"
	"cowhand/lvm/lvmtext"
)

const (
	headerContents = "Text Format Volume Group"
	headerVersion  = 1
)

// maxSectors keeps every length in sectors and bytes within 64 bits.
const maxSectors = 1 << 54

// Parse reads the text of a group, on-disk or backup flavour, up to its first
// NUL. Text that is no group, or that this package cannot hold, matches
// [ErrCorrupt]; what a group may not be is for [VG.Validate] to say.
func Parse(text []byte) (*VG, error) {
	if i := bytes.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	root, err := lvmtext.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w: %w", ErrCorrupt, err)
	}
	r := &reader{}
	r.in(root, "metadata")
	if c := r.text("contents", true); r.err == nil && c != headerContents {
		r.fail("contents is %q, want %q", c, headerContents)
	}
	if v := r.number("version", math.MaxInt32, true); r.err == nil && v != headerVersion {
		r.fail("version is %d, want %d", v, headerVersion)
	}
	groups := root.Sections()
	if r.err == nil && len(groups) == 0 {
		r.fail("holds no volume group")
	}
	if r.err != nil {
		return nil, r.err
	}
	vg := r.group(groups[0])
	vg.text, vg.file = root, fileFlavour(text)
	if r.err != nil {
		return nil, r.err
	}
	return vg, nil
}

// fileFlavour reports a header before the group.
func fileFlavour(text []byte) bool {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return bytes.IndexByte(line, '=') >= 0
		}
	}
	return false
}

// reader reads typed values out of a section. The first error stays.
type reader struct {
	s    *lvmtext.Section
	what string
	err  error
}

func (r *reader) in(s *lvmtext.Section, what string) { r.s, r.what = s, what }

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %s: %w", r.what, fmt.Sprintf(format, args...), ErrCorrupt)
	}
}

func (r *reader) number(key string, most uint64, must bool) uint64 {
	v, ok := r.s.Get(key)
	if !ok {
		if must {
			r.fail("%s is not given", key)
		}
		return 0
	}
	n, ok := v.Int()
	if !ok || n < 0 || uint64(n) > most {
		r.fail("%s is %s, want a number up to %d", key, v.Raw(), most)
		return 0
	}
	return uint64(n)
}

func (r *reader) text(key string, must bool) string {
	v, ok := r.s.Get(key)
	if !ok {
		if must {
			r.fail("%s is not given", key)
		}
		return ""
	}
	s, ok := v.String()
	if !ok {
		r.fail("%s is %s, want a string", key, v.Raw())
	}
	return s
}

func (r *reader) words(key string, must bool) []string {
	v, ok := r.s.Get(key)
	if !ok {
		if must {
			r.fail("%s is not given", key)
		}
		return nil
	}
	ss, ok := v.Strings()
	if !ok {
		r.fail("%s is %s, want a list of strings", key, v.Raw())
	}
	if len(ss) == 0 {
		return nil
	}
	return ss
}

func (r *reader) id() ID {
	id, err := ParseID(r.text("id", true))
	if err != nil {
		r.fail("%v", err)
	}
	return id
}

func (r *reader) group(s *lvmtext.Section) *VG {
	r.in(s, "group "+s.Name())
	vg := &VG{
		Name:       s.Name(),
		ID:         r.id(),
		Seqno:      uint32(r.number("seqno", math.MaxUint32, true)),
		ExtentSize: dmcore.Sectors(r.number("extent_size", math.MaxUint32, true)),
		Status:     r.words("status", true),
		Flags:      r.words("flags", false),
		Tags:       r.words("tags", false),
		SystemID:   r.text("system_id", false),
		LockType:   r.text("lock_type", false),
		MaxLV:      int(r.number("max_lv", math.MaxInt32, true)),
		MaxPV:      int(r.number("max_pv", math.MaxInt32, true)),
		allocation: r.text("allocation_policy", false),
		was:        s.Name(),
	}
	if vg.ExtentSize == 0 {
		r.fail("extent_size is 0")
	}
	pvs := s.Section("physical_volumes")
	if pvs == nil {
		r.fail("physical_volumes is not given")
		return vg
	}
	for _, p := range pvs.Sections() {
		r.in(p, "physical volume "+p.Name())
		vg.PVs = append(vg.PVs, r.pv(p, vg.ExtentSize))
	}
	if lvs := s.Section("logical_volumes"); lvs != nil {
		for _, l := range lvs.Sections() {
			vg.LVs = append(vg.LVs, r.lv(l, vg.ExtentSize))
		}
	}
	if h := s.Section("historical_logical_volumes"); h != nil {
		for _, l := range h.Sections() {
			vg.Historical = append(vg.Historical, r.historical(l))
		}
	}
	return vg
}

func (r *reader) pv(s *lvmtext.Section, extent dmcore.Sectors) *PV {
	pv := &PV{
		Name:    s.Name(),
		ID:      r.id(),
		Device:  r.text("device", false),
		DevSize: dmcore.Sectors(r.number("dev_size", maxSectors, false)),
		PEStart: dmcore.Sectors(r.number("pe_start", maxSectors, true)),
		PECount: Extents(r.number("pe_count", uint64(MaxExtents), true)),
		Status:  r.words("status", true),
		Flags:   r.words("flags", false),
		Tags:    r.words("tags", false),
		was:     s.Name(),
	}
	if end := pv.PEStart + dmcore.Sectors(pv.PECount)*extent; end > maxSectors {
		r.fail("%d extents of %d sectors reach sector %d, beyond what a device can have", pv.PECount, extent, end)
	}
	return pv
}

func (r *reader) lv(s *lvmtext.Section, extent dmcore.Sectors) *LV {
	what := "volume " + s.Name()
	r.in(s, what)
	lv := &LV{
		Name:         s.Name(),
		ID:           r.id(),
		Status:       r.words("status", true),
		Flags:        r.words("flags", false),
		Tags:         r.words("tags", false),
		CreationHost: r.text("creation_host", false),
		was:          s.Name(),
		ReadAhead:    r.readAhead(),
		allocation:   r.text("allocation_policy", false),
	}
	lv.Number = r.deviceNumber(lv.Status)
	if t := r.number("creation_time", math.MaxInt64, false); t != 0 {
		lv.CreationTime = time.Unix(int64(t), 0).UTC()
	}
	count := int(r.number("segment_count", math.MaxInt32, true))
	for _, seg := range s.Sections() {
		if strings.HasPrefix(seg.Name(), "segment") {
			r.in(seg, what+": "+seg.Name())
			lv.Segments = append(lv.Segments, r.segment(seg))
		}
	}
	r.in(s, what)
	if len(lv.Segments) != count {
		r.fail("segment_count is %d, but there are %d", count, len(lv.Segments))
	}
	slices.SortStableFunc(lv.Segments, func(a, b *Segment) int { return int(a.Start) - int(b.Start) })
	if n := lv.Extents(); n > MaxExtents || dmcore.Sectors(n)*extent > maxSectors {
		r.fail("%d extents of %d sectors, more than a device can have", n, extent)
	}
	return lv
}

func (r *reader) segment(s *lvmtext.Section) *Segment {
	seg := &Segment{
		Start: Extents(r.number("start_extent", uint64(MaxExtents), true)),
		Count: Extents(r.number("extent_count", uint64(MaxExtents), true)),
		Type:  r.text("type", true),
		was:   s.Name(),
	}
	switch {
	case seg.striped():
		n := r.number("stripe_count", math.MaxInt32, true)
		if n > 1 {
			seg.StripeSize = dmcore.Sectors(r.number("stripe_size", math.MaxUint32, true))
		}
		seg.Stripes = r.areas("stripes")
		if r.err == nil && uint64(len(seg.Stripes)) != n {
			r.fail("stripe_count is %d, but there are %d stripes", n, len(seg.Stripes))
		}
	case seg.Type == typeSnapshot:
		seg.ChunkSize = dmcore.Sectors(r.number("chunk_size", math.MaxUint32, true))
		seg.Origin = r.text("origin", true)
		seg.COW = r.text("cow_store", false)
		if m := r.text("merging_store", false); m != "" {
			if seg.COW != "" {
				r.fail("has both cow_store and merging_store")
			}
			seg.COW, seg.Merging = m, true
		}
		if seg.COW == "" {
			r.fail("has neither cow_store nor merging_store")
		}
	case seg.Type == typeThinPool || seg.Type == typeThinPool+flagCrop:
		r.thinPool(s, seg)
	case seg.Type == typeThin:
		seg.Thin = r.thin()
	default:
		seg.refs = references(s, nil)
	}
	return seg
}

func (r *reader) areas(key string) []Area {
	v, ok := r.s.Get(key)
	if !ok {
		r.fail("%s is not given", key)
		return nil
	}
	list, _ := v.List()
	if len(list)%2 != 0 || len(list) == 0 {
		r.fail("%s is %s, want pairs of name and extent", key, v.Raw())
		return nil
	}
	var areas []Area
	for i := 0; i < len(list); i += 2 {
		name, ok1 := list[i].String()
		start, ok2 := list[i+1].Int()
		if !ok1 || !ok2 || start < 0 || Extents(start) > MaxExtents {
			r.fail("%s is %s, want pairs of name and extent", key, v.Raw())
			return nil
		}
		areas = append(areas, Area{name, Extents(start)})
	}
	return areas
}

// references lists the strings in a segment of unknown type: any may name a
// volume or, with a number behind it, an area of one.
func references(s *lvmtext.Section, refs []Area) []Area {
	for _, key := range s.Keys() {
		if key == "type" || key == "tags" || key == "discards" {
			continue
		}
		v, _ := s.Get(key)
		list, ok := v.List()
		if !ok {
			list = []lvmtext.Value{v}
		}
		for i, e := range list {
			if name, ok := e.String(); ok {
				ref := Area{PV: name}
				if i+1 < len(list) {
					if n, ok := list[i+1].Int(); ok && n > 0 {
						ref.Start = min(Extents(n), MaxExtents)
					}
				}
				refs = append(refs, ref)
			}
		}
	}
	for _, sub := range s.Sections() {
		refs = references(sub, refs)
	}
	return refs
}
