package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/userspace"
	"cowhand/lvm"
)

// metadataSize has room for two texts of 3,000 volumes, of about 350 bytes each.
const metadataSize = 16 << 20

// change is what one way of changing a group took: by the figure, in changes a second, and in bytes
// written to the device.
type change struct {
	speed figure
	bytes int64
}

func (c change) say() string {
	if len(c.speed) == 0 {
		return "-"
	}
	time := fmt.Sprintf("%.1f ms", 1000/c.speed.median())
	if c.bytes == 0 { // not known of a command on a file
		return time
	}
	return fmt.Sprintf("%s, %.1f KiB", time, float64(c.bytes)/1024)
}

// groups measures and prints what a commit costs.
func groups(ctx context.Context, o options, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fmt.Print("\nVolume groups: a tag is added to one volume; time, and bytes written to the device\n\n")
	t := newPage("row", "cowhand, in a process", "cowhand command", "lvm2 command", "ratio of commands")
	var notes []string
	for _, n := range []int{10, 300, 3000} {
		g, err := newGroup(ctx, o, filepath.Join(dir, strconv.Itoa(n)), n)
		if err == nil {
			err = g.measure(ctx, o)
		}
		if err := errors.Join(err, g.close(o)); err != nil {
			return err
		}
		t.row(fmt.Sprintf("%d volumes", n), g.within.say(), g.ours.say(), g.theirs.say(), ratio(g.ours.speed, g.theirs.speed))
		notes = append(notes, g.note)
	}
	if err := t.print(); err != nil {
		return err
	}
	fmt.Print(`
A change is: lock, scan, read the group, change it, write the text and the precommit, commit, read back, archive and
backup copies. In a process: lvm.Engine.Tag with nothing remembered. A command: the same as a program that is
started for it (lvchange --addtag); lvm2 with its device mapper and udev turned off, on a loop device.
`)
	if notes[0] != "" {
		fmt.Printf("No figures of lvm2: %s.\n", notes[0])
	}
	return nil
}

// group is one group in an image file, and on a loop device where there are some.
type group struct {
	dir, image, loop string
	env              []string // of cowhand
	note             string   // why there is no loop device or no lvm2

	within, ours, theirs change
}

func newGroup(ctx context.Context, o options, dir string, n int) (*group, error) {
	g := &group{dir: dir, image: filepath.Join(dir, "pv.img")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return g, err
	}
	g.env = append(os.Environ(), "COWHAND_DEVICES="+g.image, "COWHAND_ENGINE=userspace",
		"COWHAND_STATE_DIR="+filepath.Join(dir, "state"), "COWHAND_RUN_DIR="+filepath.Join(dir, "run"),
		"COWHAND_LVM_DIR="+filepath.Join(dir, "lvm"), "COWHAND_LOCK_DIR="+filepath.Join(dir, "locks"))
	if err := writeFile(g.image, 64<<20, make([]byte, large)); err != nil {
		return g, err
	}
	if err := os.Truncate(g.image, 512<<20); err != nil {
		return g, err
	}
	if err := g.create(ctx, n); err != nil {
		return g, err
	}
	return g, g.attach(ctx)
}

// create makes a group of n volumes of one extent, in one commit.
func (g *group) create(ctx context.Context, n int) error {
	s := g.store(new(counter))
	if _, err := s.CreatePV(ctx, g.image, lvm.PVOptions{MetadataSize: metadataSize}); err != nil {
		return err
	}
	vg, err := s.CreateVG(ctx, lvm.VGSpec{Name: "bench", ExtentSize: 128, PVs: []string{g.image}})
	if err != nil {
		return err
	}
	next := vg.Clone()
	for i := range n {
		if _, err := next.AddLinear(lvm.LinearSpec{Name: fmt.Sprintf("lv%d", i), Size: lvm.Size{Count: 1}}); err != nil {
			return err
		}
	}
	pending, err := s.Prepare(ctx, next)
	if err != nil {
		return err
	}
	return pending.Commit()
}

func (g *group) store(n *counter) *lvm.Store {
	return &lvm.Store{Devices: []string{g.image}, Command: "bench", Host: "bench", System: "Linux",
		Open: func(path string, write bool) (blockdev.Device, error) {
			d, err := blockdev.OpenFile(path, !write)
			return counted{d, n}, err
		},
		Archive: lvm.ArchiveIn(filepath.Join(g.dir, "lvm"))}
}

// attach makes a loop device of the image, for lvm2.
func (g *group) attach(ctx context.Context) error {
	if os.Geteuid() != 0 {
		g.note = "it needs root"
		return nil
	}
	for _, program := range []string{"lvm", "losetup"} {
		if _, err := exec.LookPath(program); err != nil {
			g.note = program + " is not installed"
			return nil
		}
	}
	out, err := output(exec.CommandContext(ctx, "losetup", "--find", "--show", g.image))
	if err != nil {
		g.note = "no loop device is to be had"
		return nil
	}
	g.loop = strings.TrimSpace(out)
	return os.WriteFile(filepath.Join(g.dir, "lvm.conf"), []byte(`
devices { filter = [ "a|^`+g.loop+`$|", "r|.*|" ] scan_lvs = 0 use_devicesfile = 0 hints = "none" obtain_device_list_from_udev = 0 external_device_info_source = "none" }
global { activation = 0 locking_dir = "`+filepath.Join(g.dir, "lvm2-locks")+`" use_lvmpolld = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
`), 0o600)
}

func (g *group) close(o options) error {
	return tidyUp(func(ctx context.Context) error {
		var errs []error
		if g.loop != "" {
			_, err := output(exec.CommandContext(ctx, "losetup", "--detach", g.loop))
			errs = append(errs, err)
		}
		if _, err := os.Stat(filepath.Join(g.dir, "run")); err == nil {
			errs = append(errs, g.cowhand(ctx, o, "engine", "stop", "--force"))
		}
		return errors.Join(errs...)
	})
}

// measure has every way change the group in turn. Only one of them has it at a time.
func (g *group) measure(ctx context.Context, o options) error {
	for i := range 3 * o.rounds {
		tag := "r" + strconv.Itoa(i)
		for _, way := range []struct {
			c  *change
			do func(ctx context.Context, o options, tag string) (int64, error)
		}{{&g.within, g.tagWithin}, {&g.ours, g.tagOurs}, {&g.theirs, g.tagTheirs}} {
			if err := settle(g.dir); err != nil {
				return err
			}
			start := time.Now()
			n, err := way.do(ctx, o, tag)
			if errors.Is(err, errors.ErrUnsupported) {
				continue
			}
			if err != nil {
				return err
			}
			if i > 0 { // the first starts daemons and warms caches
				way.c.speed = append(way.c.speed, 1/time.Since(start).Seconds())
				way.c.bytes = n
			}
		}
	}
	return nil
}

func (g *group) tagWithin(ctx context.Context, _ options, tag string) (int64, error) {
	var n counter
	m := userspace.New(func(dmcore.Dev) (blockdev.Device, error) { return nil, errors.ErrUnsupported })
	e := &lvm.Engine{Store: g.store(&n), DM: dmcore.NewClient(m), Locks: lvm.Locks{Dir: filepath.Join(g.dir, "locks")}, Host: "bench"}
	err := e.Tag(ctx, lvm.Ref{VG: "bench", LV: "lv5"}, []string{"w" + tag}, nil)
	return n.written.Load(), errors.Join(err, m.Close())
}

func (g *group) cowhand(ctx context.Context, o options, args ...string) error {
	cmd := exec.CommandContext(ctx, o.program, args...)
	cmd.Env = g.env
	_, err := output(cmd)
	return err
}

func (g *group) tagOurs(ctx context.Context, o options, tag string) (int64, error) {
	return 0, g.cowhand(ctx, o, "lvm", "lvchange", "--addtag", "c"+tag, "bench/lv5")
}

func (g *group) tagTheirs(ctx context.Context, _ options, tag string) (int64, error) {
	if g.loop == "" {
		return 0, errors.ErrUnsupported
	}
	before := g.sectors()
	cmd := exec.CommandContext(ctx, "lvm", "lvchange", "--addtag", "l"+tag, "bench/lv5")
	cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+g.dir, "LVM_SUPPRESS_FD_WARNINGS=1")
	_, err := output(cmd)
	return (g.sectors() - before) * dmcore.SectorSize, err
}

// sectors counts what was ever written to the loop device
// (Documentation/admin-guide/iostats.rst, field 7).
func (g *group) sectors() int64 {
	fields := strings.Fields(readLine("/sys/block/" + filepath.Base(g.loop) + "/stat"))
	if len(fields) < 7 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[6], 10, 64) // a note
	return n
}

// counter counts bytes.
type counter struct{ written atomic.Int64 }

// counted is a device that counts what is written to it.
type counted struct {
	blockdev.Device
	n *counter
}

func (c counted) WriteAt(p []byte, off int64) (int, error) {
	n, err := c.Device.WriteAt(p, off)
	c.n.written.Add(int64(n))
	return n, err
}
