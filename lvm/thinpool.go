package lvm

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"cowhand/dmcore"
)

// ThinPoolSpec is a thin pool to be made.
type ThinPoolSpec struct {
	Name          string // empty: lvolN
	Size          Size   // of what volumes in it hold
	Metadata      Size   // of what tells where; zero: as much as the chunks need
	Chunk         dmcore.Sectors
	Discards      string // empty: passdown
	NoZero        bool   // new blocks show what lay there before
	ErrorWhenFull bool   // instead of waiting a minute for more room
	NoSpare       bool   // keep nothing for the repair of its metadata
	Stripes       int    // of the data; 0 or 1: linear
	StripeSize    dmcore.Sectors
	PVs           []string // where to allocate, by name (pv0); none: anywhere
	Tags          []string
	Traits
	Stamp
}

// The sizes lvm2 reckons with (2.03.16, lib/config/defaults.h, device_mapper/all.h).
const (
	defaultThinChunk    dmcore.Sectors = 128
	minThinMetadata     dmcore.Sectors = 4096            // 2 MiB
	optimalThinMetadata dmcore.Sectors = 128 << 11       // above it chunks get larger
	maxThinPoolMetadata dmcore.Sectors = 255 * 16320 * 8 // lvm2 reckons with it how much a pool can address
	maxThinSpare        dmcore.Sectors = 16 << 21
	slowThinChunk       dmcore.Sectors = 1024 // from here on zeroing is warned of
	// bytesPerBlock is what the metadata is reckoned to need for each chunk
	// (lib/metadata/thin_manip.c, _estimate_size).
	bytesPerBlock = 64
)

// thinMetadata estimates what a pool's metadata needs.
func thinMetadata(data, chunk dmcore.Sectors) dmcore.Sectors {
	return data / (chunk * (dmcore.SectorSize / bytesPerBlock))
}

// CheckThinChunk reports what cannot be the chunk size of a thin pool.
func CheckThinChunk(chunk dmcore.Sectors) error {
	if chunk < dmcore.MinThinBlock || chunk > dmcore.MaxThinBlock || chunk%dmcore.MinThinBlock != 0 {
		return fmt.Errorf("thin pool chunk size %s: want a multiple of 64 KiB from 64 KiB to 1 GiB: %w", HumanSize(chunk), ErrInvalid)
	}
	return nil
}

// CheckDiscards reports what a pool cannot do with discards.
func CheckDiscards(discards string) error {
	if !slices.Contains([]string{DiscardsPassdown, DiscardsNoPassdown, DiscardsIgnore}, discards) {
		return fmt.Errorf("discards %q: want passdown, nopassdown or ignore: %w", discards, ErrInvalid)
	}
	return nil
}

// AddThinPool adds a pool, what it is made of and, unless there is one or it is
// not wanted, the spare for its metadata. Metadata and spare must be zeroed before
// the pool is mapped: the kernel takes a first block of zeroes for an empty pool.
// The notes tell people what was chosen, and what is unwise.
func (vg *VG) AddThinPool(spec ThinPoolSpec) (pool *LV, notes []string, err error) {
	next := vg.Clone()
	pool, notes, err = next.addThinPool(spec)
	if err != nil {
		return nil, nil, vg.fail(spec.Name, "create thin pool", err)
	}
	if err := vg.checkCount(1); err != nil {
		return nil, nil, err
	}
	vg.LVs = next.LVs
	return pool, notes, nil
}

func (vg *VG) addThinPool(spec ThinPoolSpec) (*LV, []string, error) {
	if err := vg.checkPVs(spec.PVs); err != nil {
		return nil, nil, err
	}
	if spec.Discards == "" {
		spec.Discards = DiscardsPassdown
	}
	if err := CheckDiscards(spec.Discards); err != nil {
		return nil, nil, err
	}
	g, notes, err := vg.thinGeometry(&spec)
	if err != nil {
		return nil, nil, err
	}
	if err := vg.keepSpare(g.metadata, spec); err != nil {
		return nil, nil, err
	}
	if spec.NoSpare {
		notes = append(notes, "recovery of pools without pool metadata spare LV is not automated")
	}
	pool, err := vg.newLV(spec.Name, vg.names(), spec.Tags, spec.Stamp)
	if err != nil {
		return nil, nil, err
	}
	pool.setFlag(flagErrorWhenFull, spec.ErrorWhenFull)
	pool.adopt(spec.Traits)
	data, err := vg.newThinPart(pool, "_tdata", spec.Stamp)
	if err != nil {
		return nil, nil, err
	}
	meta, err := vg.newThinPart(pool, "_tmeta", spec.Stamp)
	if err != nil {
		return nil, nil, err
	}
	if err := vg.placePool(spec, g, data, meta); err != nil {
		return nil, nil, err
	}
	pool.Segments = []*Segment{{
		Count: data.Extents(), Type: typeThinPool, ChunkSize: g.chunk,
		ThinPool: &ThinPool{Metadata: meta.Name, Data: data.Name, Discards: spec.Discards, Zero: !spec.NoZero},
	}}
	vg.LVs = append(slices.Clip(vg.LVs), pool, meta, data)
	vg.setCrop(pool)
	return pool, notes, nil
}

// geometry is how large the parts of a pool are.
type geometry struct {
	data, metadata Extents
	chunk          dmcore.Sectors
}

// thinGeometry is lvm2's update_thin_pool_params (lib/metadata/thin_manip.c).
// What devices tell of the sizes they like is not asked.
func (vg *VG) thinGeometry(spec *ThinPoolSpec) (g geometry, notes []string, err error) {
	n, note, err := spec.Size.Extents(vg, Basis{PVs: spec.PVs})
	if err != nil {
		return g, nil, err
	}
	if note != "" {
		notes = append(notes, note)
	}
	g.data, g.chunk = n, spec.Chunk
	data := vg.Sectors(n)
	var metadata dmcore.Sectors
	switch {
	case !spec.Metadata.IsZero():
		m, _, err := spec.Metadata.Extents(vg, Basis{PVs: spec.PVs})
		if err != nil {
			return g, nil, fmt.Errorf("metadata: %w", err)
		}
		metadata = vg.Sectors(m)
		least := thinChunkFor(data, metadata)
		if g.chunk == 0 {
			g.chunk = least
		} else if g.chunk < least {
			notes = append(notes, fmt.Sprintf("WARNING: Chunk size is smaller than the suggested minimum size %s", HumanSize(least)))
		}
	case g.chunk == 0:
		g.chunk = defaultThinChunk
		metadata = thinMetadata(data, g.chunk)
		for metadata > optimalThinMetadata && g.chunk < dmcore.MaxThinBlock {
			g.chunk, metadata = g.chunk*2, metadata/2
		}
	default:
		if metadata = thinMetadata(data, g.chunk); metadata > vg.settings.maxMetadata() {
			notes = append(notes, fmt.Sprintf("WARNING: Chunk size is too small for the pool, the suggested minimum is %s", HumanSize(thinChunkFor(data, vg.settings.maxMetadata()))))
		}
	}
	if err := CheckThinChunk(g.chunk); err != nil {
		return g, nil, err
	}
	g.metadata = vg.whole(metadata)
	largest, least := vg.largestThinMetadata(), vg.whole(minThinMetadata)
	if g.metadata > largest {
		if !spec.Metadata.IsZero() {
			notes = append(notes, fmt.Sprintf("WARNING: Reducing pool metadata size %s to the maximum that can be used, %s", HumanSize(metadata), HumanSize(vg.Sectors(largest))))
		}
		g.metadata = largest
	} else if g.metadata < least {
		if !spec.Metadata.IsZero() {
			notes = append(notes, fmt.Sprintf("WARNING: Extending pool metadata size %s to the minimal size that is required, %s", HumanSize(metadata), HumanSize(vg.Sectors(least))))
		}
		g.metadata = least
	}
	most := vg.settings.maxMetadata() * g.chunk * (dmcore.SectorSize / bytesPerBlock)
	if most/vg.ExtentSize < dmcore.Sectors(g.data) {
		return g, nil, fmt.Errorf("chunks of %s cannot address more than %s of data: %w", HumanSize(g.chunk), HumanSize(most), ErrInvalid)
	}
	if g.chunk > data {
		return g, nil, fmt.Errorf("size %s of its data is less than a chunk of %s: %w", HumanSize(data), HumanSize(g.chunk), ErrInvalid)
	}
	notes = append(notes, fmt.Sprintf("thin pool volume with chunk size %s can address at most %s of data", HumanSize(g.chunk), HumanSize(most)))
	if !spec.NoZero && g.chunk >= slowThinChunk {
		notes = append(notes, fmt.Sprintf("WARNING: Pool zeroing and chunks of %s slow down thin provisioning; consider -Zn, or chunks of less than %s", HumanSize(g.chunk), HumanSize(slowThinChunk)))
	}
	if spec.Size.Of == OfFree || spec.Size.Of == OfPVs { // leave room for metadata and spare
		if g.data <= 2*g.metadata {
			return g, nil, fmt.Errorf("not enough space for the metadata of a thin pool: %w", ErrNoSpace)
		}
		g.data -= 2 * g.metadata
	}
	return g, notes, nil
}

// thinChunkFor is the least chunk size with which metadata of that size has room
// for all of the data (lib/metadata/thin_manip.c, _estimate_chunk_size).
func thinChunkFor(data, metadata dmcore.Sectors) dmcore.Sectors {
	const big = 2048 // 1 MiB: from here on multiples, below powers of two
	chunk := data / (metadata * (dmcore.SectorSize / bytesPerBlock))
	if chunk >= big {
		chunk = (chunk + big - 1) / big * big
	} else {
		p := dmcore.MinThinBlock
		for p < chunk {
			p *= 2
		}
		chunk = p
	}
	return min(max(chunk, dmcore.MinThinBlock), dmcore.MaxThinBlock)
}

// largestThinMetadata is the most extents that a pool's metadata has a use for.
func (vg *VG) largestThinMetadata() Extents { return vg.whole(vg.settings.maxMetadata()) }

// whole is how many extents hold n sectors.
func (vg *VG) whole(n dmcore.Sectors) Extents {
	return Extents((n + vg.ExtentSize - 1) / vg.ExtentSize)
}

// newThinPart makes one of the two hidden volumes of a pool.
func (vg *VG) newThinPart(pool *LV, suffix string, stamp Stamp) (*LV, error) {
	name := pool.Name + suffix
	if err := CheckLVName(vg.Name, name); err != nil {
		return nil, err
	}
	if vg.names()[name] {
		return nil, fmt.Errorf("volume %s: %w", name, ErrExists)
	}
	id, err := NewID(stamp.Rand)
	if err != nil {
		return nil, err
	}
	return &LV{
		Name: name, ID: id, Status: []string{statusRead, statusWrite},
		CreationTime: pool.CreationTime, CreationHost: pool.CreationHost,
	}, nil
}

// placePool allocates a pool's data and, on other physical volumes or else behind
// it, its metadata.
func (vg *VG) placePool(spec ThinPoolSpec, g geometry, data, meta *LV) error {
	free := vg.space(spec.PVs)
	if spec.Stripes > 1 {
		size := spec.StripeSize
		if size == 0 {
			size = DefaultStripe
		}
		if size < 8 || bits.OnesCount64(uint64(size)) != 1 || size > vg.ExtentSize {
			return fmt.Errorf("stripe size %s: want a power of two from 4 KiB to %s: %w", HumanSize(size), HumanSize(vg.ExtentSize), ErrInvalid)
		}
		k := Extents(spec.Stripes)
		rows, err := free.striped(spec.Stripes, (g.data+k-1)/k)
		if err != nil {
			return err
		}
		data.Segments = stripedSegments(0, size, rows)
	} else {
		if all := count(free.runs); all < g.data+g.metadata {
			return noSpace(g.data+g.metadata, all)
		}
		place := func(n Extents) ([]Run, error) { return free.together(n, g.metadata) }
		if len(free.byPV()) > 1 {
			place = free.linear
		}
		runs, err := place(g.data)
		if err != nil {
			return err
		}
		data.Segments = segments(0, runs)
	}
	if i := free.apart(data, g.metadata, max(g.data, g.metadata)); i >= 0 {
		meta.Segments = segments(0, []Run{free.cut(i, g.metadata)})
		return nil
	}
	if vg.settings.SeparateMetadata {
		return fmt.Errorf("metadata of %s on other physical volumes than the data (allocation/thin_pool_metadata_require_separate_pvs): %w", HumanSize(vg.Sectors(g.metadata)), ErrNoSpace)
	}
	if i := slices.IndexFunc(free.runs, func(r Run) bool { return last(data).follows(r) && r.Count >= g.metadata }); i >= 0 {
		meta.Segments = segments(0, []Run{free.cut(i, g.metadata)})
		return nil
	}
	runs, err := free.linear(g.metadata)
	meta.Segments = segments(0, runs)
	return err
}

// together takes n extents, where more follow them if there is such a place.
func (s *space) together(n, more Extents) ([]Run, error) {
	if i := slices.IndexFunc(s.runs, func(r Run) bool { return r.Count >= n+more }); i >= 0 {
		return []Run{s.cut(i, n)}, nil
	}
	return s.linear(n)
}

// apart finds a run for a pool's metadata on a physical volume that its data is not
// on: the smallest, or the last of those that had room for either
// (lvm2 2.03.16, lib/metadata/lv_manip.c, _find_some_parallel_space). -1: none.
func (s *space) apart(data *LV, n, either Extents) int {
	taken := map[string]bool{}
	for _, seg := range data.Segments {
		for _, a := range seg.Stripes {
			taken[a.PV] = true
		}
	}
	best := -1
	for pv, i := range s.byPV() {
		r := s.runs[i]
		if taken[pv] || r.Count < n {
			continue
		}
		if best < 0 || cmp.Or(cmp.Compare(min(r.Count, either), min(s.runs[best].Count, either)), cmp.Compare(best, i)) < 0 {
			best = i
		}
	}
	return best
}

// byPV is the largest run of each physical volume.
func (s *space) byPV() map[string]int {
	best := map[string]int{}
	for i, r := range s.runs {
		if b, ok := best[r.PV]; !ok || r.Count > s.runs[b].Count {
			best[r.PV] = i
		}
	}
	return best
}

func last(lv *LV) *Segment { return lv.Segments[len(lv.Segments)-1] }

// follows reports a run that begins where a linear segment ends.
func (s *Segment) follows(r Run) bool {
	return len(s.Stripes) == 1 && s.Stripes[0].PV == r.PV && s.Stripes[0].Start+s.Count == r.Start
}

// spareLV is the volume kept for the repair of pools' metadata, nil if there is none.
func (vg *VG) spareLV() *LV {
	for _, lv := range vg.LVs {
		if lv.spare() {
			return lv
		}
	}
	return nil
}

// keepSpare makes the spare, or makes it as long as the metadata it may have to
// take the place of (lib/metadata/pool_manip.c, handle_pool_metadata_spare).
func (vg *VG) keepSpare(n Extents, spec ThinPoolSpec) error {
	if spec.NoSpare {
		return nil
	}
	n = min(n, vg.whole(maxThinSpare))
	spare := vg.spareLV()
	if spare == nil {
		lv, err := vg.newLV("", vg.names(), nil, spec.Stamp)
		if err != nil {
			return err
		}
		runs, err := vg.space(spec.PVs).linear(n)
		if err != nil {
			return err
		}
		lv.Name += "_pmspare"
		lv.setStatus(statusVisible, false)
		lv.Segments = segments(0, runs)
		vg.LVs = append(slices.Clip(vg.LVs), lv)
		return nil
	}
	if have := spare.Extents(); have < n {
		_, err := vg.lengthen(spare, n-have, vg.space(spec.PVs), nil)
		return err
	}
	return nil
}

// thinParts are the hidden volumes of a pool.
func (vg *VG) thinParts(pool *LV) []*LV {
	p := pool.ThinPool()
	return slices.DeleteFunc([]*LV{vg.LV(p.Metadata), vg.LV(p.Data)}, func(lv *LV) bool { return lv == nil })
}

// partName is the name of a pool's part after the pool got another.
func partName(part, pool, to string) string {
	if suffix, ok := strings.CutPrefix(part, pool+"_"); ok {
		return to + "_" + suffix
	}
	return part
}
