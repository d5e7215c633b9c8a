package badpools

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/thinmeta"
	"cowhand/lvm"
	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) { inside.Main(m) }

// lab is a group with a pool, whose volume t1 has a snapshot s1.
type lab struct {
	*testing.T
	disk string
	e    *lvm.Engine
}

func newLab(t *testing.T, pool string) *lab { return newLabOn(t, inside.Disks(t, 1)[0], pool) }

func newLabOn(t *testing.T, disk, pool string) *lab {
	t.Helper()
	l := &lab{T: t, disk: disk}
	l.e = inside.Engine(l.disk)
	inside.Run(t, "vgcreate", "vg0", l.disk)
	t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", "vg0") })
	l.do("lvcreate -y -T " + pool + " -V 24M -n t1 vg0/pool")
	inside.Run(t, "dd", "if=/dev/urandom", "of=/dev/vg0/t1", "bs=64k", "count=4", "oflag=direct")
	l.do("lvcreate -y -s -kn -n s1 vg0/t1")
	return l
}

// try runs a command of LVM2's on cowhand's engine.
func (l *lab) try(command string) (string, error) {
	l.Helper()
	return inside.Try(l.T, append([]string{inside.Cowhand, "--engine", "kernel", "--devices", l.disk, "lvm"}, strings.Fields(command)...)...)
}

func (l *lab) do(commands ...string) {
	l.Helper()
	for _, c := range commands {
		if _, err := l.try(c); err != nil {
			l.Fatal(err)
		}
	}
}

var notes = regexp.MustCompile(`(?m)^(#.*|description = .*|creation_time = .*)$`)

// state is the group's metadata as lvm2 writes it, and its devices.
func (l *lab) state() string {
	l.Helper()
	file := l.TempDir() + "/vg0"
	inside.Run(l.T, "vgcfgbackup", "-f", file, "vg0")
	b, err := os.ReadFile(file)
	if err != nil {
		l.Fatal(err)
	}
	return notes.ReplaceAllString(string(b), "") + inside.Run(l.T, "dmsetup", "table")
}

// refuses fails the test unless commands are refused, with words that say why, and
// change nothing.
func (l *lab) refuses(why string, commands ...string) {
	l.Helper()
	before := l.state()
	for _, c := range commands {
		if out, err := l.try(c); err == nil || !strings.Contains(out, why) {
			l.Errorf("%s: %v: %q, want it refused, for %q", c, err, out, why)
		}
		if after := l.state(); after != before {
			l.Errorf("%s was refused and changed\n%s\nto\n%s", c, before, after)
			before = after
		}
	}
}

// sameReports fails the test unless lvm2 and cowhand tell the same of the group.
func (l *lab) sameReports() {
	l.Helper()
	words := []string{"lvs", "-a", "--noheadings", "--separator", "|", "-o",
		"lv_name,lv_attr,lv_size,data_percent,metadata_percent,lv_health_status,lv_when_full,lv_check_needed,lv_active", "vg0"}
	for {
		theirs := inside.Run(l.T, words...)
		ours, err := l.try(strings.Join(words, " "))
		if err != nil {
			l.Fatal(err)
		}
		if slices.Equal(strings.Fields(theirs), strings.Fields(ours)) {
			return
		}
		if theirs == inside.Run(l.T, words...) { // and it was no commit of the kernel's in between
			l.Errorf("lvm2 tells\n%s\ncowhand\n%s", theirs, ours)
			return
		}
	}
}

// area is where on the disk the pool's metadata is, in sectors.
func (l *lab) area() (begin, length dmcore.Sectors) {
	l.Helper()
	vg, err := l.e.Store.Load(l.Context(), "vg0")
	if err != nil {
		l.Fatal(err)
	}
	lv := vg.LV("pool_tmeta")
	s := lv.Segments[0]
	return vg.PV(s.Stripes[0].PV).PEStart + vg.Sectors(s.Stripes[0].Start), vg.Sectors(s.Count)
}

// metadata calls f with the metadata of the pool, which is not active.
func (l *lab) metadata(f func(meta blockdev.Device) error) {
	l.Helper()
	disk, err := blockdev.OpenFile(l.disk, false)
	if err != nil {
		l.Fatal(err)
	}
	begin, length := l.area()
	meta, err := blockdev.NewSection(disk, begin.Bytes(), length.Bytes())
	if err == nil {
		err = f(meta)
	}
	if err := errors.Join(err, disk.Sync(), disk.Close()); err != nil {
		l.Fatal(err)
	}
	inside.Run(l.T, "blockdev", "--flushbufs", l.disk)
}

// change changes the metadata of the pool, which is not active.
func (l *lab) change(f func(p *thinmeta.Pool) error) {
	l.Helper()
	l.metadata(func(meta blockdev.Device) error {
		p, err := thinmeta.Open(meta, nil)
		if err == nil {
			err = f(p)
		}
		return err
	})
}

// dump is what is in the metadata of the pool, which is not active.
func (l *lab) dump() (dump string) {
	l.Helper()
	l.metadata(func(meta blockdev.Device) error {
		rep, err := thinmeta.Check(meta)
		if err != nil {
			return err
		}
		if err := rep.Err(); err != nil {
			return err
		}
		r, err := thinmeta.Read(meta)
		if err != nil {
			return err
		}
		devices, err := r.Devices()
		if err != nil {
			return err
		}
		sb := r.Superblock()
		dump = fmt.Sprintln(sb.TransactionID, sb.NeedsCheck, r.Usage())
		for _, d := range devices {
			dump += fmt.Sprintln(d)
			for run, err := range r.Mappings(d.ID, 0, 1<<30) {
				if err != nil {
					return err
				}
				dump += fmt.Sprintln(run)
			}
		}
		return nil
	})
	return dump
}
