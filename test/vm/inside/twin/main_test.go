package twin

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) { inside.Main(m) }

// maker is a program that knows LVM2's commands.
type maker func(t testing.TB, words ...string) string

func lvm2(t testing.TB, words ...string) string { t.Helper(); return inside.Run(t, words...) }

func cowhand(t testing.TB, words ...string) string {
	t.Helper()
	return inside.Run(t, append([]string{inside.Cowhand, "--engine", "kernel", "lvm"}, words...)...)
}

// group is a group on a disk, and who works on it.
type group struct {
	name, disk string
	make       maker
}

// do runs a command in which VG stands for the group.
func (g group) do(t testing.TB, command string) string {
	t.Helper()
	return g.make(t, strings.Fields(strings.ReplaceAll(command, "VG", g.name))...)
}

// twins are two groups, one made by lvm2 and one by cowhand. Names are of one
// length, so that columns are as wide.
func twins(t *testing.T) (theirs, ours group) {
	t.Helper()
	disks := inside.Disks(t, 2)
	os.Setenv("COWHAND_DEVICES", strings.Join(disks, ","))
	theirs, ours = group{"vgl", disks[0], lvm2}, group{"vgc", disks[1], cowhand}
	for _, g := range []group{theirs, ours} {
		g.make(t, "vgcreate", g.name, g.disk)
		t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", g.name) })
	}
	return theirs, ours
}

var (
	numbers = regexp.MustCompile(`\b(\d+):(\d+)\b`)
	uuids   = regexp.MustCompile(`LVM-[[:alnum:]]{64}`)
)

// picture is all that can be seen of a group: what lvm2 reports of it, its
// devices with states, tables and UUIDs, and the links in /dev. Numbers of devices
// are turned into names, the group's and the disk's own names into VG and DISK.
func (g group) picture(t *testing.T) string {
	t.Helper()
	name := map[string]string{}
	for line := range strings.Lines(inside.Run(t, "dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "name,major,minor")) {
		if f := strings.Fields(line); len(f) == 3 {
			name[f[1]+":"+f[2]] = "<" + f[0] + ">"
		}
	}
	disk, err := os.ReadFile("/sys/class/block/" + filepath.Base(g.disk) + "/dev")
	if err != nil {
		t.Fatal(err)
	}
	name[strings.TrimSpace(string(disk))] = "<DISK>"
	plain := func(s string) string {
		s = numbers.ReplaceAllStringFunc(s, func(n string) string {
			if to, ok := name[n]; ok {
				return to
			}
			return n
		})
		s = uuids.ReplaceAllString(s, "LVM-ID")
		return strings.NewReplacer(g.name, "VG", g.disk, "DISK").Replace(s)
	}
	var b strings.Builder
	b.WriteString(plain(inside.Run(t, "lvs", "-a", "--noheadings", "-o", "+devices,origin,data_percent,seg_monitor,chunk_size,lv_size,lv_kernel_read_ahead", g.name)))
	b.WriteString(plain(inside.Run(t, "vgs", "--noheadings", g.name)))
	for _, words := range [][]string{{"info", "-c", "--noheadings", "-o", "name,attr,open,segments,uuid,subsystem"}, {"table"}, {"status"}} {
		var lines []string
		for line := range strings.Lines(plain(inside.Run(t, append([]string{"dmsetup"}, words...)...))) {
			if strings.HasPrefix(line, "VG-") {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		fmt.Fprintf(&b, "dmsetup %s\n%s", words[0], strings.Join(lines, ""))
	}
	for _, pattern := range []string{"/dev/mapper/" + g.name + "-*", "/dev/" + g.name + "/*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			fmt.Fprintln(&b, plain(l))
		}
	}
	return b.String()
}

// same fails the test if the pictures of both groups differ.
func same(t *testing.T, when string, theirs, ours group) {
	t.Helper()
	want, got := theirs.picture(t), ours.picture(t)
	if want == got {
		return
	}
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		line := func(s []string) string {
			if i < len(s) {
				return s[i]
			}
			return ""
		}
		if line(w) != line(g) {
			t.Errorf("%s:\nlvm2    %q\ncowhand %q", when, line(w), line(g))
		}
	}
}
