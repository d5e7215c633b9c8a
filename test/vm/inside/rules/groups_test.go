package rules

import (
	"os"
	"strings"
	"testing"

	"cowhand/test/vm/inside"
)

// changes are commands that want to change the group.
var changes = []string{
	"lvcreate -y -L 4M -n new vg", "lvcreate -y -s -L 4M -n new vg/one", "lvextend -L +4M vg/one", "lvrename vg/one vg/uno",
	"lvremove -y vg/one", "lvchange --addtag x vg/one", "lvchange -pr vg/one", "vgchange --addtag x vg",
}

// looks are commands that only look.
var looks = []string{"lvs", "lvs vg", "lvs vg/one", "vgs", "vgs vg", "pvs", "vgchange -ay", "vgchange -ay vg", "lvchange -ay vg/one", "lvchange -an vg/one"}

func TestRulesReadOnlyGroup(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	w := start(t, 1, "one")
	w.edit(`"READ", "WRITE"]`, `"READ"]`)
	w.remove("vgcfgbackup -f /tmp/back vg", `sed -i s/"READ"]/"READ","WRITE"]/ /tmp/back`, "vgcfgrestore -f /tmp/back vg", down)
	for _, c := range append(looks[:len(looks):len(looks)], "vgchange -an vg", "lvchange --refresh vg/one") {
		w.same(c, "")
	}
	for _, c := range changes {
		w.same(c, "vg: volume group is read-only")
	}
}

func TestRulesExported(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	w := start(t, 1, "one")
	w.lvm2("vgexport", "vg")
	w.remove("vgimport vg")
	for _, c := range looks {
		w.same(c, "")
	}
	for _, report := range []string{"lvs", "vgs", "vgs vg", "pvs"} {
		w.reports(report)
	}
	for _, c := range changes {
		w.same(c, "vg: volume group is exported")
	}
}

func TestRulesForeign(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	w := start(t, 2, "one")
	w.lvm2("vgreduce", "vg", w.disks[1])
	w.settings(`global { system_id_source = "lvmlocal" } local { system_id = "here" extra_system_ids = ["there"] }`)
	w.remove()
	w.lvm2("vgchange", "-y", "--systemid", "elsewhere", "vg")
	for _, c := range looks {
		w.same(c, "")
	}
	for _, c := range changes {
		w.same(c, "elsewhere")
	}
	for _, report := range []string{"lvs", "lvs vg", "vgs", "vgs vg", "pvs"} {
		w.reports(report + " --foreign")
	}
	for _, c := range [][]string{{"here"}, {"there", "--systemid", "there"}, {"", "--systemid", ""}} {
		words := append(append([]string{"vgcreate"}, c[1:]...), "new", w.disks[1])
		inside.Run(t, append([]string{inside.Cowhand, "lvm"}, words...)...)
		if id := strings.TrimSpace(w.lvm2("vgs", "--noheadings", "-o", "systemid", "new")); id != c[0] {
			t.Errorf("%q: a new group has the system ID %q", words, id)
		}
		w.lvm2("vgremove", "new")
	}
	w.lvm2("vgchange", "-y", "--systemid", "there", "--config", `local/extra_system_ids=["elsewhere","there"]`, "vg")
	w.same("lvs vg", "one")
	for _, c := range []string{"lvchange -ay vg/one", "vgchange -ay vg"} {
		w.same(c, "there", down)
	}
	w.same("lvchange --addtag x vg/one", "", "lvchange --deltag x vg/one")
	w.same("lvcreate -y -L 4M -n new vg", "", "lvremove -y vg/new")
}

func TestRulesShared(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	w := start(t, 1, "one")
	w.edit("extent_size = 2048", "lock_type = \"sanlock\"\nlock_args = \"1.0.0:lvmlock\"\nextent_size = 2048")
	for _, c := range looks {
		w.same(c, "")
	}
	for _, report := range []string{"lvs", "vgs", "pvs", "lvs --shared", "vgs --shared vg", "pvs --shared"} {
		w.reports(report)
	}
	for _, c := range changes {
		w.same(c, "sanlock")
	}
}

// A PV that is not there: what lies on others may be activated, nothing changed.
func TestRulesPartial(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	w := start(t, 2)
	w.lvm2("lvcreate", "-y", "-an", "-Zn", "-Wn", "-L", "8M", "-n", "one", "vg", w.disks[0])
	w.lvm2("lvcreate", "-y", "-an", "-Zn", "-Wn", "-L", "8M", "-n", "lost", "vg", w.disks[1])
	w.lvm2("lvcreate", "-y", "-an", "-Zn", "-Wn", "-i", "2", "-L", "8M", "-n", "half", "vg")
	w.lvm2("lvcreate", "-y", "-s", "-L", "4M", "-n", "snap", "vg/one", w.disks[1])
	w.lvm2("lvcreate", "-y", "-an", "-Zn", "-Wn", "-L", "8M", "-n", "whole", "vg", w.disks[0])
	w.lvm2("vgchange", "-an", "vg")
	before, err := os.ReadFile(w.dir + "/lvmlocal.conf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(w.dir+"/lvmlocal.conf", before, 0o600); err != nil {
			t.Error(err)
		}
		inside.Run(t, "vgremove", "-ff", "-y", "vg")
	})
	w.settings(`devices { global_filter = ["r|` + w.disks[1] + `|"] }`)
	for _, c := range []string{"lvs vg", "vgs", "lvchange -an vg/whole", "lvs vg/lost"} {
		w.same(c, "")
	}
	for _, c := range []string{"lvchange -ay vg/whole", "lvchange -ay --activationmode degraded vg/whole"} {
		w.same(c, "", down)
	}
	w.same("vgchange -ay vg", "missing", down)
	for _, c := range []string{"lvchange -ay vg/lost", "lvchange -ay vg/half", "lvchange -ay vg/one",
		"lvcreate -y -L 4M -n new vg", "lvcreate -y -s -L 4M -n new vg/whole", "lvextend -L +4M vg/whole", "lvrename vg/whole vg/uno"} {
		w.same(c, "missing")
	}
	// lvm2 would do these.
	same, _ := w.outcome("true")
	same.status = 5
	for _, c := range [][2]string{
		{"lvremove -y vg/whole", "missing"}, {"lvchange --addtag x vg/whole", "missing"},
		{"lvchange -ay --activationmode partial vg/lost", "partial"}, {"lvchange -ay -P vg/lost", "missing"},
	} {
		after, said := w.outcome(append([]string{inside.Cowhand, "lvm"}, strings.Fields(c[0])...)...)
		if after != same || !strings.Contains(said, c[1]) {
			t.Errorf("%s: %s\nwant %+v\ngot %+v", c[0], said, same, after)
		}
	}
}

// A PV that is there twice: nobody knows which of the two is right.
func TestRulesDuplicate(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	w := start(t, 1, "one")
	second := strings.Replace(w.disks[0], "vda", "vdb", 1)
	inside.Run(t, "blkdiscard", "-f", second)
	inside.Run(t, "dd", "if="+w.disks[0], "of="+second, "bs=1M", "count=8", "conv=fsync")
	w.remove()
	t.Cleanup(func() { inside.Run(t, "blkdiscard", "-f", second) })
	for _, c := range append([]string{"lvchange -ay vg/one", "vgchange -ay vg"}, changes...) {
		w.same(c, "twice")
	}
}
