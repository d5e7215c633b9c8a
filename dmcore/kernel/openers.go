package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// Opener is a process that has a device open.
type Opener struct {
	PID  int
	Name string // its program's, of at most 15 bytes (proc(5), comm)
}

func (o Opener) String() string { return fmt.Sprintf("%s (pid %d)", o.Name, o.PID) }

// Openers lists the processes that have a device open, as far as they may be
// looked into. Who else can hold one is not among them: a mounted file system,
// another device, swap.
func Openers(dev dmcore.DevNo) ([]Opener, error) {
	pids, err := openers("/proc", dev, func(int) bool { return true })
	var list []Opener
	for _, pid := range pids {
		name, _ := comm("/proc", pid)
		list = append(list, Opener{pid, name})
	}
	return list, err
}

// Probed reports a device that nobody has open but udev and what it runs for
// each new device: they read a little and go. (lvm2 waits and tries again where
// it meets a device that is open for no reason to be seen: 2.03.16,
// lib/activate/activate.c, lv_check_not_in_use.)
func (c *Control) Probed(info dmcore.Info) bool {
	return probed("/proc", udevQueue, info.Dev, func() (int, error) {
		a, err := c.ask(&call{num: unix.DM_DEV_STATUS, uuid: string(info.UUID)})
		if err != nil {
			return 0, err
		}
		return int(a.head.Open_count), nil
	})
}

// probedTries is how often udev may open or close the device while it is looked at.
const probedTries = 3

// probed compares the count of openings with the probers that had the device
// open before the count was taken and have it still: one that came later would
// pass for somebody else whom the count has, a guest for instance. While udev has
// nothing to do there are none to look for: a host has many devices that guests
// have open, and many processes.
func probed(proc, queue string, dev dmcore.DevNo, count func() (int, error)) bool {
	if !exists(queue) {
		n, err := count()
		return err == nil && n == 0
	}
	for range probedTries {
		before, err := openers(proc, dev, func(pid int) bool { return prober(proc, pid) })
		if err != nil {
			return false
		}
		n, err := count() // 0: it was closed since info was asked for
		if err != nil {
			return false
		}
		if n > len(before) { // a guest, or udev that came since
			continue
		}
		after, err := openers(proc, dev, func(pid int) bool { return slices.Contains(before, pid) })
		if err != nil || n == 0 || len(after) == len(before) {
			return err == nil
		}
	}
	return false
}

// openers lists the processes that have a device open, of those asked for.
// Those that may not be looked into are left out.
func openers(proc string, dev dmcore.DevNo, which func(pid int) bool) ([]int, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !which(pid) {
			continue
		}
		open, err := hasOpen(filepath.Join(proc, e.Name(), "fd"), unix.Mkdev(dev.Major, dev.Minor))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ESRCH): // gone, or not ours to see
		case err != nil:
			return nil, err
		case open:
			found = append(found, pid)
		}
	}
	return found, nil
}

func hasOpen(dir string, rdev uint64) (bool, error) {
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(fds, func(fd fs.DirEntry) bool {
		var st unix.Stat_t
		return unix.Stat(filepath.Join(dir, fd.Name()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && uint64(st.Rdev) == rdev
	}), nil
}

// prober reports udev's daemon, one of its workers, or a program that a worker
// runs.
func prober(proc string, pid int) bool {
	if name, _ := comm(proc, pid); isUdev(name) {
		return true
	}
	parent, ok := parentOf(proc, pid)
	name, _ := comm(proc, parent)
	return ok && isUdev(name)
}

func isUdev(name string) bool {
	return name == "systemd-udevd" || name == "(udev-worker)" || name == "udevd" || name == "udevadm"
}

func comm(proc string, pid int) (string, error) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "comm"))
	return strings.TrimSuffix(string(b), "\n"), err
}

// parentOf reads the fourth field of stat, behind the name, which may contain
// anything (proc(5)).
func parentOf(proc string, pid int) (int, bool) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 2 {
		return 0, false
	}
	ppid, err := strconv.Atoi(fields[1])
	return ppid, err == nil
}
