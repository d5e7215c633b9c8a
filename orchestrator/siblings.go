package orchestrator

import (
	"cowhand/dmcore"
	"cowhand/lvm"
)

// roomForMerge blocks a merge that may fill other snapshots of the origin: what
// is merged is copied out into them first, and one that is full is lost, with
// the clone that runs on it (drivers/md/dm-snap.c, snapshot_merge_next_chunks).
func (f *Facts) roomForMerge(s *Set, m Member, b *Blockers) {
	vg := f.group(m.Snapshot.VG)
	from := f.States[m.Snapshot].Snapshot
	if from == nil {
		return
	}
	for _, lv := range vg.Snapshots(m.Origin.LV) {
		ref := lvm.Ref{VG: vg.Name, LV: lv.Name}
		into := f.States[ref].Snapshot
		if ref == m.Snapshot || into == nil || into.State != dmcore.SnapshotOK {
			continue
		}
		to := vg.Snapshot(lv.Name)
		data := from.Allocated - from.Metadata
		if chunk := vg.Snapshot(m.Snapshot.LV).ChunkSize; to.ChunkSize > chunk {
			data = data / chunk * to.ChunkSize // each may lie in another one
		}
		used := into.Allocated - into.Metadata
		if s.Role == RoleSnapshot && Role(readTags(lv.Tags)["role"]) == RoleSnapshot {
			// Nobody writes to either: what both hold is what was written to the
			// origin since the younger was taken.
			data -= min(data, used)
		}
		data = min(used+data, vg.Size(vg.LV(m.Origin.LV)))
		if need := storeFor(data, to.ChunkSize); need > into.Total {
			b.add(ErrConflict, "%s: merging %s may fill it (it has %s, up to %s may be needed): extend it with 'cowhand lvm lvextend', or remove its set",
				ref, m.Snapshot, lvm.HumanSize(into.Total), lvm.HumanSize(need))
		}
	}
}

// storeFor is how large a store has to be that holds so much data: its header,
// and an area for as many exceptions of 16 bytes as fit a chunk
// (drivers/md/dm-snap-persistent.c).
func storeFor(data, chunk dmcore.Sectors) dmcore.Sectors {
	n := int64((data + chunk - 1) / chunk)
	areas := n/(chunk.Bytes()/16) + 1
	return dmcore.Sectors(1+areas+n) * chunk
}
