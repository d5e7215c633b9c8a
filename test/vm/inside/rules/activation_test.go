package rules

import (
	"testing"

	"cowhand/test/vm/inside"
)

const down = "vgchange -an vg"

// Flags of volumes: skipped, not by itself, read-only.
func TestRulesFlags(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	w := start(t, 1, "plain", "skip", "noauto", "fixed")
	w.remove(down)
	w.lvm2("lvchange", "-ky", "vg/skip")
	w.lvm2("lvchange", "--setautoactivation", "n", "vg/noauto")
	w.lvm2("lvchange", "-pr", "vg/fixed")
	for _, c := range []struct{ command, says string }{
		{"lvchange -ay vg/skip", "-K activates it"},
		{"lvchange -ay -K vg/skip", ""},
		{"lvchange -aay vg/noauto", "flagged"},
		{"lvchange -ay vg/noauto", ""},
		{"lvchange -ay vg/fixed", ""},
		{"vgchange -ay vg", "3 logical volume(s)"},
		{"vgchange -aay -K vg", "3 logical volume(s)"},
	} {
		w.same(c.command, c.says, down)
	}
	w.lvm2("lvcreate", "-y", "-s", "-L", "4M", "-n", "snap", "vg/fixed")
	w.lvm2("vgchange", "-an", "vg")
	w.same("lvchange -ay vg/fixed", "", down)
}

// Device numbers that stay, and how much is read in advance.
func TestRulesNumbers(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	w := start(t, 2, "one")
	w.remove(down)
	const back = "lvremove -y vg/new"
	w.same("lvcreate -y --minor 2345 -L 4M -n new vg", "", back)
	w.same("lvcreate -y -My --minor 2345 --major 99 -L 4M -n new vg", "Ignoring supplied major number 99", back)
	w.same("lvcreate -y -i 2 -I 1M -L 8M -n new vg", "", back)
	for _, refused := range []string{"-My --major 9", "-Mn --minor 9", "--minor 9999999", "-Mn --major 9"} {
		w.same("lvcreate -y "+refused+" -L 4M -n new vg", "")
	}
	w.same("lvchange -y -My --minor 300 vg/one", "", "lvchange -Mn vg/one")
	w.same("lvchange -Mn vg/one", "not fixed")
	w.lvm2("lvchange", "-ay", "vg/one")
	w.same("lvchange -y -My --minor 300 vg/one", "", "lvchange -Mn vg/one")
	w.same("lvchange -r 100 vg/one", "Overriding readahead to 96 sectors", "lvchange -r auto vg/one")
	w.same("lvchange -r auto vg/one", "already auto")
	w.lvm2("lvcreate", "-y", "-i", "2", "-I", "1M", "-r", "2M", "-L", "8M", "-n", "striped", "vg")
	w.lvm2("lvcreate", "-y", "-i", "2", "-I", "1M", "--minor", "2346", "-L", "8M", "-n", "auto", "vg")
	for _, by := range [][]string{{"vgchange"}, {inside.Cowhand, "lvm", "vgchange"}} {
		w.lvm2(append(by, "-an", "vg")...)
		w.lvm2(append(by, "-ay", "vg")...)
		w.reports("lvs -o name,lv_major,lv_minor,lv_kernel_minor,lv_fixed_minor,lv_read_ahead,lv_kernel_read_ahead vg")
		w.reports("lvdisplay vg")
	}
}

// volume_list and its like.
func TestRulesLists(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	for name, c := range map[string]struct {
		settings string
		commands [][2]string
	}{
		"names and tags": {`activation { volume_list = ["vg/one", "@blue"] read_only_volume_list = ["vg/two"] }`, [][2]string{
			{"lvchange -ay vg/one", ""},
			{"lvchange -ay vg/two", ""},
			{"lvchange -ay vg/three", "volume_list"},
			{"vgchange -ay vg", "2 logical volume(s)"},
			{"lvcreate -y -L 4M -n one4 vg", "volume_list"},
			{"lvcreate -y -s -L 4M -n snap vg/three", "volume_list"},
		}},
		"host tags": {`tags { hosttags = 1 red { } } activation { volume_list = ["@*"] }`, [][2]string{
			{"lvchange -ay vg/one", "volume_list"},
			{"lvchange -ay vg/three", ""},
		}},
		"host tags and no list": {`tags { green { } }`, [][2]string{
			{"lvchange -ay vg/one", "tags"},
			{"vgchange -ay vg", "0 logical volume(s)"},
		}},
		"automatic": {`activation { auto_activation_volume_list = ["vg/one", "vg/three"] read_only_volume_list = ["@red"] }`, [][2]string{
			{"lvchange -aay vg/two", "auto_activation_volume_list"},
			{"lvchange -ay vg/two", ""},
			{"vgchange -aay vg", "2 logical volume(s)"},
			{"vgchange -ay vg", "3 logical volume(s)"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, 1, "one", "two", "three")
			w.remove(down)
			w.lvm2("lvchange", "--addtag", "blue", "vg/two")
			w.lvm2("lvchange", "--addtag", "red", "vg/three")
			w.settings(c.settings)
			for _, command := range c.commands {
				w.same(command[0], command[1], down)
			}
		})
	}
}

// A device that is mapped read-only by the settings stays so when its table is
// loaded anew.
func TestRulesReadOnlyStays(t *testing.T) {
	w := start(t, 1, "one")
	w.remove(down)
	w.settings(`activation { read_only_volume_list = ["vg/one"] }`)
	w.lvm2("lvchange", "-ay", "vg/one")
	w.same("lvextend -L +4M vg/one", "", "vgchange -an vg", "lvreduce -f -L 8M vg/one", "lvchange -ay vg/one")
	w.same("lvchange --refresh vg/one", "")
}
