package lvm

import "slices"

// flagWriteLocked stands for the status WRITE in groups whose owner is told by a
// system ID or a lock manager: versions of lvm2 before 2.02.118 know of neither,
// and leave alone what they may not write (lvm2 2.03.16, lib/metadata/metadata.c,
// vg_flag_write_locked). All others take the two for the same.
const flagWriteLocked = "WRITE_LOCKED"

// lockWrites turns the one into the other where lvm2 would, for the group and all
// its volumes.
func (vg *VG) lockWrites() {
	locked := vg.SystemID != "" || vg.LockType != "" && vg.LockType != "none"
	vg.Status, vg.Flags = writeLocked(vg.Status, vg.Flags, locked)
	for _, lv := range vg.LVs {
		lv.Status, lv.Flags = writeLocked(lv.Status, lv.Flags, locked)
	}
}

func writeLocked(status, flags []string, locked bool) (newStatus, newFlags []string) {
	if !writable(status, flags) || locked == slices.Contains(flags, flagWriteLocked) && locked != slices.Contains(status, statusWrite) {
		return status, flags
	}
	without := func(list []string, word string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(w string) bool { return w == word })
	}
	flags = without(flags, flagWriteLocked)
	if locked {
		return without(status, statusWrite), append([]string{flagWriteLocked}, flags...)
	}
	if slices.Contains(status, statusWrite) {
		return status, flags
	}
	i := slices.Index(status, statusRead) + 1 // WRITE comes after READ, or first
	return slices.Insert(slices.Clone(status), i, statusWrite), flags
}
