package inside

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cowhand/lvm/lvmtext"
)

// Side is a group on a disk of its own, and the program that works on it.
type Side struct {
	Name, Disk string
	argv       []string // begins each of the program's commands
}

// Twins are two groups to be, lvm2's and cowhand's. Their names are of one length, so
// that columns are as wide.
func Twins(t *testing.T) (theirs, ours Side) {
	t.Helper()
	disks := Disks(t, 2)
	theirs = Side{"vgl", disks[0], nil}
	ours = Side{"vgc", disks[1], []string{Cowhand, "--engine", "kernel", "--devices", strings.Join(disks, ","), "lvm"}}
	for _, s := range []Side{theirs, ours} {
		t.Cleanup(func() { Run(t, "vgremove", "-ff", "-y", s.Name) })
	}
	return theirs, ours
}

// Try runs a command of LVM2's in which VG and DISK stand for the side's own.
func (s Side) Try(t testing.TB, command string) (string, error) {
	t.Helper()
	words := strings.Fields(strings.NewReplacer("VG", s.Name, "%VG", "%VG", "DISK", s.Disk).Replace(command))
	return Try(t, slices.Concat(s.argv, words)...)
}

// Do is Try for a test that ends when a command fails.
func (s Side) Do(t testing.TB, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if _, err := s.Try(t, c); err != nil {
			t.Fatal(err)
		}
	}
}

// Both runs commands on both sides, and compares after each; with testing.Short, after
// the last.
func Both(t *testing.T, theirs, ours Side, commands ...string) {
	t.Helper()
	for i, c := range commands {
		theirs.Do(t, c)
		ours.Do(t, c)
		if testing.Short() && i < len(commands)-1 {
			continue
		}
		if Same(t, c, theirs, ours); t.Failed() {
			t.FailNow()
		}
	}
}

// Same fails the test if the pictures of both groups differ.
func Same(t *testing.T, when string, theirs, ours Side) {
	t.Helper()
	w, g := strings.Split(theirs.Picture(t), "\n"), strings.Split(ours.Picture(t), "\n")
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

// Picture is all that can be seen of a group: what lvm2 reports of it, its devices with
// states, tables and UUIDs, the links in /dev, and its metadata. Numbers of devices are
// turned into names; the group's and the disk's own names into VG and DISK.
func (s Side) Picture(t *testing.T) string {
	t.Helper()
	plain := s.plain(t)
	var b strings.Builder
	for _, fields := range []string{
		"lv_name,lv_attr,lv_size,lv_metadata_size,pool_lv,origin,data_percent,metadata_percent,data_lv,metadata_lv,lv_tags,lv_role,lv_permissions,kernel_discards,lv_when_full,lv_kernel_read_ahead",
		"lv_name,segtype,chunk_size,thin_count,discards,zero,transaction_id,thin_id,devices,metadata_devices,seg_monitor",
	} {
		lines := strings.Split(plain(Run(t, "lvs", "-a", "--noheadings", "-o", fields, s.Name)), "\n")
		slices.Sort(lines)
		fmt.Fprintf(&b, "lvs %s\n", strings.Join(lines, "\n"))
	}
	b.WriteString(plain(Run(t, "vgs", "--noheadings", "-o", "vg_name,vg_attr,vg_tags,vg_extent_size,lv_count,snap_count,vg_free_count", s.Name)))
	for _, words := range [][]string{{"info", "-c", "--noheadings", "-o", "name,attr,open,segments,uuid,subsystem"}, {"table"}, {"status"}} {
		var lines []string
		for line := range strings.Lines(plain(Run(t, append([]string{"dmsetup"}, words...)...))) {
			// What a pool has used is a matter of moments.
			if strings.HasPrefix(line, "VG-") && !(words[0] == "status" && strings.Contains(line, " thin")) {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		fmt.Fprintf(&b, "dmsetup %s\n%s", words[0], strings.Join(lines, ""))
	}
	for _, pattern := range []string{"/dev/mapper/" + s.Name + "-*", "/dev/" + s.Name + "/*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			fmt.Fprintln(&b, plain(l))
		}
	}
	return b.String() + plain(s.metadata(t))
}

var (
	numbers    = regexp.MustCompile(`\b(\d+):(\d+)\b`)
	uuids      = regexp.MustCompile(`LVM-[[:alnum:]]{64}`)
	emptyLines = regexp.MustCompile(`(?m)^\s*\n`)
	// ownKeys are what differs by nature.
	ownKeys = regexp.MustCompile(`(?m)^\s*(id|seqno|creation_time|creation_host|device_id|device_id_type) = .*\n`)
)

// plain makes what a program says of a side independent of which side it is.
func (s Side) plain(t *testing.T) func(string) string {
	t.Helper()
	name := map[string]string{}
	for line := range strings.Lines(Run(t, "dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "name,major,minor")) {
		if f := strings.Fields(line); len(f) == 3 {
			name[f[1]+":"+f[2]] = "<" + f[0] + ">"
		}
	}
	number, err := os.ReadFile("/sys/class/block/" + filepath.Base(s.Disk) + "/dev")
	if err != nil {
		t.Fatal(err)
	}
	name[strings.TrimSpace(string(number))] = "<DISK>"
	return func(text string) string {
		text = numbers.ReplaceAllStringFunc(text, func(n string) string {
			if to, ok := name[n]; ok {
				return to
			}
			return n
		})
		return strings.NewReplacer(s.Name, "VG", s.Disk, "DISK").Replace(uuids.ReplaceAllString(text, "LVM-ID"))
	}
}

// metadata is the group's text as its program wrote it, without what differs by nature;
// volumes are sorted, for lvm2 sorts them by what it takes for visible.
func (s Side) metadata(t *testing.T) string {
	t.Helper()
	vg, err := Engine(s.Disk).Store.Load(t.Context(), s.Name)
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
	group := root.Section(s.Name)
	var list []string
	if lvs := group.Section("logical_volumes"); lvs != nil {
		for _, lv := range lvs.Sections() {
			list = append(list, lv.Name()+" "+string(lv.Bytes()))
		}
		group.Delete("logical_volumes")
	}
	slices.Sort(list)
	text := ownKeys.ReplaceAllString(string(group.Bytes())+"\n"+strings.Join(list, "\n")+"\n", "")
	return emptyLines.ReplaceAllString(text, "")
}

// Sound takes a group down, and has thin_check look at the metadata of its pools.
func (s Side) Sound(t *testing.T, pools ...string) {
	t.Helper()
	Run(t, "vgchange", "-an", s.Name)
	for _, p := range pools {
		Run(t, "lvchange", "-ay", "-y", s.Name+"/"+p+"_tmeta")
		Run(t, "thin_check", "/dev/"+s.Name+"/"+p+"_tmeta")
		Run(t, "lvchange", "-an", s.Name+"/"+p+"_tmeta")
	}
	Run(t, "vgck", s.Name)
}
