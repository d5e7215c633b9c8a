package main

import (
	"slices"
	"strconv"
	"strings"
)

// lvmAbsent are the columns of LVM2 about what there is none of here:
// caches, RAID, VDO, history. Scripts ask for them, and get nothing.
//
//	name|title|width
const (
	lvmAbsentOfVolumes = `
lv_initial_image_sync|InitImgSyn|10
lv_image_synced|ImgSynced|10
lv_lockargs|LLockArgs|0
lv_time_removed|RTime|26
convert_lv_uuid|Convert UUID|38
mirror_log_uuid|Log UUID|38
move_pv_uuid|Move UUID|38
raid_mismatch_count|Mismatches|0
raid_sync_action|SyncAction|0
raid_write_behind|WBehind|0
raid_min_recovery_rate|MinSync|0
raid_max_recovery_rate|MaxSync|0
raidintegritymode|IntegMode|0
integritymismatches|IntegMismatches|0
cache_total_blocks|CacheTotalBlocks|16
cache_used_blocks|CacheUsedBlocks|16
cache_dirty_blocks|CacheDirtyBlocks|16
cache_read_hits|CacheReadHits|16
cache_read_misses|CacheReadMisses|16
cache_write_hits|CacheWriteHits|16
cache_write_misses|CacheWriteMisses|16
kernel_cache_settings|KCacheSettings|18
kernel_cache_policy|KCachePolicy|18
kernel_metadata_format|KMFmt|0
vdo_operating_mode|VDOOperatingMode|0
vdo_compression_state|VDOCompressionState|0
vdo_index_state|VDOIndexState|0
vdo_used_size|VDOUsedSize|0
vdo_saving_percent|VDOSaving%|0
writecache_total_blocks|WCacheTotalBlocks|0
writecache_free_blocks|WCacheFreeBlocks|0
writecache_writeback_blocks|WCacheWritebackBlocks|0
writecache_error|WCacheErrors|0`

	lvmAbsentOfSegments = `
reshape_len|RSize|0
reshape_len_le|RSize|0
data_offset|DOff|0
new_data_offset|NOff|0
parity_chunks|#Par|0
cache_metadata_format|CMFmt|0
cache_mode|CacheMode|0
cache_policy|CachePolicy|0
cache_settings|CacheSettings|0
seg_metadata_le_ranges|Metadata LE Ranges|0
vdo_compression|VDOCompression|0
vdo_deduplication|VDODeduplication|0
vdo_use_metadata_hints|VDOMetadataHints|0
vdo_minimum_io_size|VDOMinimumIOSize|0
vdo_block_map_cache_size|VDOBlockMapCacheSize|0
vdo_block_map_era_length|VDOBlockMapEraLength|0
vdo_use_sparse_index|VDOSparseIndex|0
vdo_index_memory_size|VDOIndexMemorySize|0
vdo_slab_size|VDOSlabSize|0
vdo_ack_threads|VDOAckThreads|0
vdo_bio_threads|VDOBioThreads|0
vdo_bio_rotation|VDOBioRotation|0
vdo_cpu_threads|VDOCPUThreads|0
vdo_hash_zone_threads|VDOHashZoneThreads|0
vdo_logical_threads|VDOLogicalThreads|0
vdo_physical_threads|VDOPhysicalThreads|0
vdo_max_discard|VDOMaxDiscard|0
vdo_write_policy|VDOWritePolicy|0
vdo_header_size|VDOHeaderSize|0`

	lvmAbsentOfDevices = `
pv_device_id|DeviceID|0
pv_device_id_type|DeviceIDType|0`

	lvmAbsentOfGroups = `
vg_lock_args|VLockArgs|0`
)

// lvmAbsentColumns are all of them, and those of which all things here have the
// same.
func lvmAbsentColumns() []lvmColumn {
	blank := func(of lvmNeed, table string) []lvmColumn {
		var columns []lvmColumn
		for line := range strings.FieldsFuncSeq(table, func(r rune) bool { return r == '\n' }) {
			f := strings.Split(line, "|")
			width, _ := strconv.Atoi(f[2]) // a constant above
			columns = append(columns, lvmText(of, f[0], f[1], width, func(*lvmRow) string { return "" }))
		}
		return columns
	}
	same := func(n int64) func(*lvmRow) int64 { return func(*lvmRow) int64 { return n } }
	zero := func(*lvmRow) uint64 { return 0 }
	return slices.Concat(
		blank(lvmOfLV, lvmAbsentOfVolumes), blank(lvmOfSegment, lvmAbsentOfSegments),
		blank(lvmOfPV, lvmAbsentOfDevices), blank(lvmOfVG, lvmAbsentOfGroups),
		[]lvmColumn{
			lvmLive("lv_active_remotely", "ActRemote", "active remotely", 10, func(*lvmRow) bool { return false }),
			lvmCount(lvmOfLV, "raidintegrityblocksize", "IntegBlkSize", 0, same(-1)),
			lvmCount(lvmOfLV, "writecache_block_size", "WCacheBlkSize", 0, same(-1)),
			lvmCount(lvmOfSegment, "data_copies", "#Cpy", 0, same(1)),
			lvmLength(lvmOfPV, "pv_ba_start", "BA Start", zero),
			lvmLength(lvmOfPV, "pv_ba_size", "BA Size", zero),
			lvmFlag(lvmOfVG, "vg_autoactivation", "AutoAct", "enabled", 0, func(r *lvmRow) bool {
				return r.group != nil && !slices.Contains(r.group.Flags, "NOAUTOACTIVATE")
			}),
		})
}
