package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/lvm"
)

// node is how the kernel's tables name a physical volume: by its number. An
// image file gets a loop device. A disk that a userspace engine of this host has
// is refused.
func (h *host) node(path string) (dmcore.Dev, error) {
	if dev, ok := h.nodes[path]; ok { // an image, whose loop device is kept open
		return dev, nil
	}
	if err := newDisks(h.lockDir).unheld(path); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	rdev := uint64(st.Rdev)
	if st.Mode&unix.S_IFMT == unix.S_IFBLK { // asked anew each time: numbers are given to others
		return dmcore.DevNo{Major: unix.Major(rdev), Minor: unix.Minor(rdev)}.Dev(), nil
	}
	l, err := h.attachLoop(path)
	if err != nil {
		return "", err
	}
	dev := dmcore.DevNo{Major: l.Major, Minor: l.Minor}.Dev()
	if h.nodes == nil {
		h.nodes = map[string]dmcore.Dev{}
	}
	h.nodes[path] = dev
	return dev, nil
}

// unheld reports a disk that a userspace engine has, of whichever run directory.
// The lock is not kept: an engine that comes later looks for volumes that the
// kernel has.
func (d *disks) unheld(path string) error {
	lockFile, _, err := d.lockOf(path)
	if err != nil {
		return err
	}
	f, err := os.Open(lockFile)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() // and with it, the lock
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == syscall.EWOULDBLOCK {
		return fmt.Errorf("a userspace engine of this host has it: %w", lvm.ErrInUse)
	} else if err != nil {
		return err
	}
	return nil
}

// attachLoop attaches an image file. A loop device that we attached is detached
// with the last mapping of it, at the latest: it is told so when the command is
// over and its tables are live. Until then it is kept open, because another
// command may tell it in the meantime.
func (h *host) attachLoop(image string) (blockdev.Loop, error) {
	before := loopsThatStay()
	for {
		l, err := blockdev.AttachLoop(image, false)
		if err != nil {
			return l, err
		}
		dev, err := os.Open(l.Path)
		if err != nil {
			return l, err
		}
		// It may have gone between the two.
		if again, err := blockdev.AttachLoop(image, false); err != nil || again != l {
			dev.Close()
			if err != nil {
				return l, err
			}
			continue
		}
		h.onClose(func() error {
			defer dev.Close()
			if before[l.Path] {
				return nil
			}
			return detachWhenUnused(dev)
		})
		return l, nil
	}
}

// loopsThatStay are the loop devices that are attached until somebody detaches
// them.
func loopsThatStay() map[string]bool {
	stay := map[string]bool{}
	flags, _ := filepath.Glob("/sys/block/loop*/loop/autoclear") // the pattern is right
	for _, path := range flags {
		if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(0) {
			stay["/dev/"+strings.Split(path, "/")[3]] = true
		}
	}
	return stay
}

// detachWhenUnused has the kernel detach a loop device when the last who has it
// open, a mapping or us, closes it.
func detachWhenUnused(dev *os.File) error {
	info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if err == unix.ENXIO {
		return nil
	}
	if err == nil {
		info.Flags |= unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopSetStatus64(int(dev.Fd()), info)
	}
	return os.NewSyscallError("loop device "+dev.Name(), err)
}
