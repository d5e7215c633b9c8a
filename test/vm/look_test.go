package vm

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// volume is what lvs tells of one.
type volume struct{ name, attr, pool, origin, thinID, transaction string }

func (r *rig) volumes() (all []volume) {
	r.Helper()
	for line := range strings.Lines(r.m.Must("lvs", "-a", "--noheadings", "--separator", "|", "-o", "lv_name,lv_attr,pool_lv,origin,thin_id,transaction_id", "vg0")) {
		if strings.Contains(line, "WARNING: ") || strings.Contains(line, "vgck --updatemetadata") {
			continue // the cut came between the headers of two disks
		}
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 6 {
			r.Fatalf("lvs: %q", line)
		}
		all = append(all, volume{strings.Trim(f[0], "[]"), f[1], f[2], f[3], f[4], f[5]})
	}
	return all
}

// look looks after a cut, with nothing active: the group can be read, the metadata of
// its pools is sound, nobody's help is needed to activate it, and then every volume is
// there that has to be, and nothing else in the kernel's pools. holds looks at the volumes
// that are shown, all of them active.
func (r *rig) look(holds func(there []string)) {
	r.Helper()
	r.m.Must("vgck", "vg0")
	r.m.Must("vgcfgbackup", "-f", "/run/after-the-cut", "vg0")
	for _, v := range r.volumes() {
		if v.attr[0] == 't' && v.transaction != "0" {
			r.thinDump(v.name)
		}
	}
	r.do("vgchange -ay -K vg0")
	r.merged()
	if found := r.m.Must("sh", "-c", "vgcfgbackup -f /run/active vg0 >/dev/null && sed -n /message/,/}/p /run/active"); found != "" {
		r.Errorf("with all active there are still messages:\n%s", found)
	}
	if out := r.m.Must("vgck", "vg0"); out != "" { // a disk has old metadata: the next change mends it
		r.do("vgchange --addtag cut vg0", "vgchange --deltag cut vg0")
		if out := r.m.Must("vgck", "vg0"); out != "" {
			r.Errorf("after a change: %s", out)
		}
	}
	var there []string
	all := r.volumes()
	for _, v := range all {
		switch v.attr[0] {
		case 'V', 'o', 's', '-':
			if v.attr[4] != 'a' {
				r.Errorf("volume %s is not active: %s", v.name, v.attr)
			}
			there = append(there, v.name)
		}
	}
	if r.Failed() {
		return
	}
	holds(there)
	r.do("vgchange -an vg0")
	for _, pool := range all {
		if pool.attr[0] == 't' {
			r.samePool(pool, all)
		}
	}
	r.do("vgchange -ay -K vg0")
}

// merged waits until no merge is under way.
func (r *rig) merged() {
	r.Helper()
	r.m.Must("timeout", "90", "sh", "-c", "while lvs -a --noheadings -o lv_attr vg0 | grep -q '^ *[SO].....s'; do sleep 0.2; done")
}

var (
	dumpTransaction = regexp.MustCompile(`<superblock [^>]*transaction="(\d+)"`)
	dumpDevice      = regexp.MustCompile(`<device dev_id="(\d+)"`)
)

// samePool fails the test unless the pool, which is not active, has the volumes and the
// transaction id that the group's metadata says.
func (r *rig) samePool(pool volume, all []volume) {
	r.Helper()
	dump := r.thinDump(pool.name)
	if id := dumpTransaction.FindStringSubmatch(dump); id == nil || id[1] != pool.transaction {
		r.Errorf("pool %s has the transaction id %q, its metadata says %s", pool.name, id, pool.transaction)
	}
	want, got := map[string]bool{}, map[string]bool{}
	for _, v := range all {
		if v.pool == pool.name {
			want[v.thinID] = true
		}
	}
	for _, d := range dumpDevice.FindAllStringSubmatch(dump, -1) {
		got[d[1]] = true
	}
	if !maps.Equal(want, got) {
		r.Errorf("pool %s has the devices %v, the group's metadata lists %v", pool.name, sorted(got), sorted(want))
	}
}

// thinDump is the metadata of a pool that is not active, after thin_check found nothing
// wrong with it.
func (r *rig) thinDump(pool string) string {
	r.Helper()
	part := "vg0/" + pool + "_tmeta"
	return r.m.Must("sh", "-ec", "lvchange -ay -y "+part+" >&2; thin_check /dev/"+part+"; thin_dump /dev/"+part+"; lvchange -an "+part)
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
