package thin

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cowhand/lvm/lvmtext"
	"cowhand/test/vm/inside"
)

// side is a group on a disk of its own, and the program that works on it.
type side struct {
	name, disk string
	run        func(t *testing.T, words ...string) (string, error)
}

// twins are two groups, lvm2's and cowhand's. Their names are of one length, so that
// columns are as wide.
func twins(t *testing.T) (theirs, ours side) {
	t.Helper()
	if testing.Short() {
		t.Skip("long")
	}
	disks := inside.Disks(t, 2)
	theirs = side{"vgl", disks[0], func(t *testing.T, words ...string) (string, error) { return inside.Try(t, words...) }}
	ours = side{"vgc", disks[1], func(t *testing.T, words ...string) (string, error) {
		return inside.Try(t, append([]string{inside.Cowhand, "--engine", "kernel", "--devices", disks[1], "lvm"}, words...)...)
	}}
	for _, s := range []side{theirs, ours} {
		inside.Run(t, "vgcreate", s.name, s.disk)
		t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", s.name) })
	}
	return theirs, ours
}

// do runs a command in which VG stands for the group.
func (s side) do(t *testing.T, command string) {
	t.Helper()
	if out, err := s.try(t, command); err != nil {
		t.Fatalf("%s: %s: %v\n%s", s.name, command, err, out)
	}
}

func (s side) try(t *testing.T, command string) (string, error) {
	t.Helper()
	return s.run(t, strings.Fields(strings.ReplaceAll(command, "VG", s.name))...)
}

var (
	twinIDs   = regexp.MustCompile(`LVM-[[:alnum:]]{64}`)
	twinTimes = regexp.MustCompile(`(?m)^\s*(id|seqno|creation_time|creation_host|device|dev_size|device_id|device_id_type|description) = .*\n`)
	twinNums  = regexp.MustCompile(`\b(\d+):(\d+)\b`)
)

// text is the metadata as its program wrote it, without what differs by nature;
// volumes are sorted, for lvm2 sorts them by what it takes for visible.
func (s side) text(t *testing.T) string {
	t.Helper()
	vg, err := engine(s.disk).Store.Load(t.Context(), s.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := vg.Validate(); err != nil {
		t.Error(err)
	}
	raw, err := vg.Text(vg.Header())
	if err != nil {
		t.Fatal(err)
	}
	root, err := lvmtext.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if lvs := root.Section(s.name).Section("logical_volumes"); lvs != nil {
		for _, lv := range lvs.Sections() {
			list = append(list, lv.Name()+" "+string(lv.Bytes()))
		}
	}
	slices.Sort(list)
	return twinTimes.ReplaceAllString(strings.Join(list, "\n")+"\n", "")
}

// picture is all that can be seen of a group.
func (s side) picture(t *testing.T) string {
	t.Helper()
	name := map[string]string{}
	for line := range strings.Lines(inside.Run(t, "dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "name,major,minor")) {
		if f := strings.Fields(line); len(f) == 3 {
			name[f[1]+":"+f[2]] = "<" + f[0] + ">"
		}
	}
	number, err := os.ReadFile("/sys/class/block/" + filepath.Base(s.disk) + "/dev")
	if err != nil {
		t.Fatal(err)
	}
	name[strings.TrimSpace(string(number))] = "<DISK>"
	plain := func(text string) string {
		text = twinNums.ReplaceAllStringFunc(text, func(n string) string {
			if to, ok := name[n]; ok {
				return to
			}
			return n
		})
		return strings.NewReplacer(s.name, "VG", s.disk, "DISK").Replace(twinIDs.ReplaceAllString(text, "LVM-ID"))
	}
	var b strings.Builder
	for _, fields := range []string{
		"lv_name,lv_attr,lv_size,lv_metadata_size,pool_lv,origin,data_percent,metadata_percent,data_lv,metadata_lv,lv_tags,lv_role,kernel_discards,lv_when_full",
		"lv_name,segtype,chunk_size,thin_count,discards,zero,transaction_id,thin_id,devices,metadata_devices",
	} {
		lines := strings.Split(plain(inside.Run(t, "lvs", "-a", "--noheadings", "-o", fields, s.name)), "\n")
		slices.Sort(lines)
		fmt.Fprintf(&b, "lvs %s\n", strings.Join(lines, "\n"))
	}
	b.WriteString(plain(inside.Run(t, "vgs", "--noheadings", "-o", "vg_name,lv_count,snap_count,vg_free_count", s.name)))
	for _, words := range [][]string{{"info", "-c", "--noheadings", "-o", "name,attr,open,segments,uuid,subsystem"}, {"table"}} {
		var lines []string
		for line := range strings.Lines(plain(inside.Run(t, append([]string{"dmsetup"}, words...)...))) {
			if strings.HasPrefix(line, "VG-") {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		fmt.Fprintf(&b, "dmsetup %s\n%s", words[0], strings.Join(lines, ""))
	}
	for _, pattern := range []string{"/dev/mapper/" + s.name + "-*", "/dev/" + s.name + "/*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			fmt.Fprintln(&b, plain(l))
		}
	}
	return b.String() + strings.ReplaceAll(s.text(t), s.name, "VG")
}

// same fails the test if the pictures of both groups differ.
func same(t *testing.T, when string, theirs, ours side) {
	t.Helper()
	w, g := strings.Split(theirs.picture(t), "\n"), strings.Split(ours.picture(t), "\n")
	for _, line := range w {
		if !slices.Contains(g, line) {
			t.Errorf("%s: only lvm2: %q", when, line)
		}
	}
	for _, line := range g {
		if !slices.Contains(w, line) {
			t.Errorf("%s: only cowhand: %q", when, line)
		}
	}
	if !slices.Equal(w, g) && !t.Failed() {
		t.Errorf("%s:\nlvm2\n%s\ncowhand\n%s", when, strings.Join(w, "\n"), strings.Join(g, "\n"))
	}
}

// both runs commands on both sides, and compares after each.
func both(t *testing.T, theirs, ours side, commands ...string) {
	t.Helper()
	for _, command := range commands {
		for _, s := range []side{theirs, ours} {
			s.do(t, command)
		}
		if same(t, command, theirs, ours); t.Failed() {
			t.FailNow()
		}
	}
}

// sound takes a group down, and has thin_check look at the metadata of its pools.
func (s side) sound(t *testing.T, pools ...string) {
	t.Helper()
	inside.Run(t, "vgchange", "-an", s.name)
	for _, p := range pools {
		inside.Run(t, "lvchange", "-ay", "-y", s.name+"/"+p+"_tmeta")
		inside.Run(t, "thin_check", "/dev/"+s.name+"/"+p+"_tmeta")
		inside.Run(t, "lvchange", "-an", s.name+"/"+p+"_tmeta")
	}
	inside.Run(t, "vgck", s.name)
}

// Pools, volumes in them and their snapshots are made as lvm2 makes them.
func TestThinTwinCreate(t *testing.T) {
	theirs, ours := twins(t)
	both(t, theirs, ours,
		"lvcreate -y -T -L 32M VG/pool",
		"lvcreate -y -T -V 40M -n t1 VG/pool",
		"lvcreate -y -V 10M --thinpool pool -n t2 VG",
		"lvcreate -y -s -n s1 VG/t1",
		"lvcreate -y -s -kn -n s2 VG/s1",
		"lvcreate -y -s -K -pr --addtag keep -n s3 VG/t1",
		"lvcreate -y -T -L 20M -V 8M --chunksize 192k -Zn --discards nopassdown --poolmetadatasize 8M -n o1 VG/odd",
		"lvcreate -y -T -l 5 -an --errorwhenfull y --discards ignore -n idle VG",
		"lvcreate -y -V 12M -T -an VG/idle",
		"lvcreate -y -L 8M VG",
	)
	for _, s := range []side{theirs, ours} {
		s.sound(t, "pool", "odd", "idle")
	}
	both(t, theirs, ours,
		"lvcreate -y -V 4M -T -n t3 VG/pool",
		"lvcreate -y -L 8M -an -Zn -pr -n base VG",
		"lvcreate -y -s --thinpool pool -n e1 VG/base",
		"lvcreate -y -s -n e2 VG/e1",
	)
	for _, s := range []side{theirs, ours} {
		s.sound(t, "pool", "odd", "idle")
	}
}
