package main

import (
	"slices"

	"cowhand/lvm"
	"cowhand/orchestrator"
)

// never is lvm2's word for a threshold that nothing reaches.
const never = 100

// extendPolicy tells how a snapshot or a thin pool is extended: snapshots of sets
// as cowhand is told, others as lvm2 is. A pool is the administrator's, whoever
// has volumes in it: it follows lvm2, unless that never extends pools and it holds
// a volume of a set.
func (h *host) extendPolicy(vg *lvm.VG, lv *lvm.LV) lvm.ExtendPolicy {
	ours := lvm.ExtendPolicy{Threshold: h.Monitor.Threshold, Amount: h.Monitor.Extend}
	theirs := h.lvm2.extendPolicy(lv)
	switch {
	case lv.ThinPool() == nil && orchestrator.Ours(lv):
		return ours
	case lv.ThinPool() != nil && theirs.Never() && slices.ContainsFunc(vg.ThinVolumes(lv.Name), orchestrator.Ours):
		return ours
	}
	return theirs
}

// extendPolicy is what lvm.conf says: activation/snapshot_autoextend_threshold and
// _percent, or those of thin pools. What a volume's profile says is not looked at.
func (s *lvm2) extendPolicy(lv *lvm.LV) lvm.ExtendPolicy {
	a := s.Activation
	threshold, amount := a.SnapshotAutoextendThreshold, a.SnapshotAutoextendPercent
	if lv.ThinPool() != nil {
		threshold, amount = a.ThinPoolAutoextendThreshold, a.ThinPoolAutoextendPercent
	}
	// One below 50 is 50, even 0 or less (lvm2 2.03.16, lib/metadata/lv_manip.c,
	// _lvresize_adjust_policy, and lib/thin/thin.c, _thin_pool_add_target_line).
	return lvm.ExtendPolicy{Threshold: int(min(max(threshold, 50), never)), Amount: int(max(amount, 0))}
}
