package lvm

import "cowhand/dmcore"

// PoolSettings are lvm2's settings of how thin pools are made (lvm.conf, section
// allocation, and thin_disabled_features). The zero value is what lvm2 does where
// nothing is set.
type PoolSettings struct {
	CropMetadata     bool // thin_pool_crop_metadata: metadata ends where older versions of lvm2 end it
	SeparateMetadata bool // thin_pool_metadata_require_separate_pvs: not on the physical volumes of the data
	KeepMetadata     bool // zero_metadata=0: only the beginning of new metadata is zeroed
	RecordHistory    bool // metadata/record_lvs_history: thin volumes that are removed are remembered
	// WholeExternal says that external origins have to be whole chunks long, and
	// what reads from one no longer (the kernel lacks external_origin_extend, or
	// that is disabled).
	WholeExternal bool
}

// blank is how much of new pool metadata is zeroed: the kernel takes a first block
// of zeroes for an empty pool.
func (p PoolSettings) blank(size dmcore.Sectors) dmcore.Sectors {
	if p.KeepMetadata {
		return min(size, volumeHead)
	}
	return size
}

// maxMetadata is the most metadata that is of use.
func (p PoolSettings) maxMetadata() dmcore.Sectors {
	if p.CropMetadata {
		return maxThinMetadata
	}
	return maxThinPoolMetadata
}

// setCrop says of a pool with more metadata than older versions of lvm2 map whether
// they did (lvm2 2.03.16, lib/metadata/thin_manip.c, get_thin_pool_crop_metadata).
func (vg *VG) setCrop(pool *LV) {
	seg, p := pool.Segments[0], pool.ThinPool()
	if vg.Size(vg.LV(p.Metadata)) <= maxThinMetadata || p.Crop != p.Whole && p.Crop == vg.settings.CropMetadata {
		return
	}
	p.Crop, p.Whole = vg.settings.CropMetadata, !vg.settings.CropMetadata
	seg.Type = typeThinPool + flagCrop
}
