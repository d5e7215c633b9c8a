package rules

import "testing"

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
