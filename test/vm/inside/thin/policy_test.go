package thin

import (
	"slices"
	"strings"
	"testing"

	"cowhand/dmcore"
	"cowhand/test/vm/inside"
)

// A pool is made, and extended, as lvm2's policy says: the same low water mark, the
// same growth of data and of metadata, nothing at all while there is no need.
func TestThinTwinPolicy(t *testing.T) {
	theirs, ours := twins(t)
	const policy = " --config activation{thin_pool_autoextend_threshold=70}"
	inside.Both(t, theirs, ours,
		"lvcreate -y -T -L 32M -V 64M -n t1 VG/pool"+policy,
		"lvextend --use-policies VG/pool"+policy,
	)
	for _, s := range []inside.Side{theirs, ours} {
		inside.Run(t, "dd", "if=/dev/zero", "of=/dev/"+s.Name+"/t1", "bs=1M", "count=24", "oflag=direct")
	}
	inside.Both(t, theirs, ours, "lvextend --use-policies VG/pool"+policy)
	for _, s := range []inside.Side{theirs, ours} {
		fillPool(t, s, "pool", 76)
	}
	inside.Both(t, theirs, ours,
		"lvextend --use-policies VG/pool"+policy,
		"lvextend --use-policies VG/pool"+policy,
	)
	// Both parts at once. lvm2 2.03.16 takes the percentage of the metadata for a
	// count of extents then, and 2.03.17 does not (lib/metadata/lv_manip.c,
	// lv_resize).
	inside.Run(t, "dd", "if=/dev/zero", "of=/dev/"+ours.Name+"/t1", "bs=1M", "seek=24", "count=8", "oflag=direct")
	fillPool(t, ours, "pool", 76)
	ours.Do(t, "lvextend --use-policies VG/pool"+policy)
	if got := strings.Fields(inside.Run(t, "lvs", "--noheadings", "-o", "lv_size,lv_metadata_size", ours.Name+"/pool")); !slices.Equal(got, []string{"48.00m", "12.00m"}) {
		t.Errorf("the pool has %v, want 48 and 12 MiB", got)
	}
	for _, s := range []inside.Side{theirs, ours} {
		s.Sound(t, "pool")
	}
}

// fillPool makes thin devices that no metadata of LVM's knows, until so much
// of a pool's metadata is in use.
func fillPool(t *testing.T, s inside.Side, pool string, percent float64) {
	t.Helper()
	e := engine(s.Disk)
	vg, err := e.Store.Load(t.Context(), s.Name)
	if err != nil {
		t.Fatal(err)
	}
	fillMetadata(t, e.DM, dmcore.BuildUUID(string(vg.ID), string(vg.LV(pool).ID), "tpool"), percent)
}

func fillMetadata(t *testing.T, dm *dmcore.Client, pool dmcore.UUID, percent float64) {
	t.Helper()
	total := uint64(0)
	for id := uint32(0); ; {
		st, err := dm.ThinPoolStatus(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		if used, _ := st.MetadataPercent(); used > percent || total > 0 && st.TotalMetadata != total { // it was extended meanwhile
			return
		}
		total = st.TotalMetadata
		if id == 0 {
			id = 100_000 + 1000*uint32(st.UsedMetadata) // none that an earlier call made
		}
		for range 16 {
			if err := dm.SendThin(t.Context(), pool, dmcore.CreateThin(id)); err != nil {
				t.Fatal(err)
			}
			id++
		}
	}
}
