package blockdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Loop is a loop device: an image file that the kernel sees as a block device.
type Loop struct {
	Path         string // "/dev/loop3"
	Major, Minor uint32
}

// AttachLoop returns the loop device of an image file: the one that shows it
// already, or a new one. It asks for direct I/O, so that the file's pages are not
// kept twice; a file system that has none gets along without. The device stays when it is
// closed; losetup -d takes it away.
//
// A file that is shown in part, or read-only while writing is wanted, is
// refused: nobody keeps two devices of one file consistent.
func AttachLoop(image string, readOnly bool) (Loop, error) {
	l, err := attachLoop(image, readOnly)
	if err != nil {
		return Loop{}, fmt.Errorf("%s: loop device: %w", image, err)
	}
	return l, nil
}

// ErrLoopInUse says that an image is on a loop device that shows it otherwise.
var ErrLoopInUse = errors.New("in use")

// loopTries is how often others may be faster to take a free device.
const loopTries = 64

func attachLoop(image string, readOnly bool) (Loop, error) {
	mode := unix.O_RDWR
	if readOnly {
		mode = unix.O_RDONLY
	}
	file, err := os.OpenFile(image, mode|unix.O_NONBLOCK, 0) // a pipe does not block
	if err != nil {
		return Loop{}, err
	}
	defer file.Close()
	if fi, err := file.Stat(); err != nil {
		return Loop{}, err
	} else if !fi.Mode().IsRegular() {
		return Loop{}, fmt.Errorf("is no file: %w", errors.ErrUnsupported)
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return Loop{}, err
	}
	defer control.Close() // and with it, the lock
	// Two of us must not attach a file twice. systemd takes this lock, too.
	if err := retry(func() error { return unix.Flock(int(control.Fd()), unix.LOCK_EX) }); err != nil {
		return Loop{}, err
	}
	if l, err := findLoop(file, readOnly); err != nil || l.Path != "" {
		return l, err
	}
	for range loopTries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return Loop{}, os.NewSyscallError("LOOP_CTL_GET_FREE", err)
		}
		dev, l, err := openLoop(n, mode)
		if err != nil {
			return Loop{}, err
		}
		err = errors.Join(configureLoop(int(dev.Fd()), file), dev.Close())
		if !errors.Is(err, unix.EBUSY) { // else somebody else has taken it
			return l, err
		}
	}
	return Loop{}, fmt.Errorf("none is free for long enough: %w", unix.EBUSY)
}

// retry makes a call again while it is interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func openLoop(n, mode int) (*os.File, Loop, error) {
	l := Loop{Path: fmt.Sprintf("/dev/loop%d", n)}
	dev, err := os.OpenFile(l.Path, mode, 0)
	if err != nil {
		return nil, l, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dev.Fd()), &st); err != nil {
		dev.Close()
		return nil, l, err
	}
	l.Major, l.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	return dev, l, nil
}

// configureLoop attaches a file; at once where the kernel can (Linux 5.8).
func configureLoop(dev int, file *os.File) error {
	config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_DIRECT_IO}}
	// A note for losetup; sysfs has the whole name.
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file.Name())
	err := retry(func() error { return unix.IoctlLoopConfigure(dev, &config) })
	if err != unix.EINVAL && err != unix.ENOTTY {
		return os.NewSyscallError("LOOP_CONFIGURE", err)
	}
	config.Info.Flags = 0
	return setLoop(dev, file, &config.Info)
}

// setLoop attaches a file step by step.
func setLoop(dev int, file *os.File, info *unix.LoopInfo64) error {
	if err := retry(func() error { return unix.IoctlSetInt(dev, unix.LOOP_SET_FD, int(file.Fd())) }); err != nil {
		return os.NewSyscallError("LOOP_SET_FD", err)
	}
	if err := retry(func() error { return unix.IoctlLoopSetStatus64(dev, info) }); err != nil {
		return errors.Join(os.NewSyscallError("LOOP_SET_STATUS64", err), unix.IoctlSetInt(dev, unix.LOOP_CLR_FD, 0))
	}
	_ = unix.IoctlSetInt(dev, unix.LOOP_SET_DIRECT_IO, 1) // it works without
	return nil
}

// findLoop looks at all loop devices for one of the file. It is told by the
// numbers of its file system and inode: the path that sysfs has may be another.
func findLoop(file *os.File, readOnly bool) (Loop, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return Loop{}, err
	}
	attached, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return Loop{}, err
	}
	var numbers []int
	for _, path := range attached {
		name := filepath.Base(filepath.Dir(filepath.Dir(path)))
		if n, err := strconv.Atoi(strings.TrimPrefix(name, "loop")); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		dev, l, err := openLoop(n, os.O_RDONLY)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENXIO) {
			continue
		}
		if err != nil {
			return Loop{}, err
		}
		found, err := sameLoop(int(dev.Fd()), l, &st, readOnly)
		if err = errors.Join(err, dev.Close()); err != nil {
			return Loop{}, err
		}
		if found {
			return l, nil
		}
	}
	return Loop{}, nil
}

// sameLoop reports whether a loop device shows the file, all of it.
func sameLoop(dev int, l Loop, st *unix.Stat_t, readOnly bool) (bool, error) {
	info, err := unix.IoctlLoopGetStatus64(dev)
	if err == unix.ENXIO { // detached since it was listed
		return false, nil
	}
	if err != nil {
		return false, os.NewSyscallError("LOOP_GET_STATUS64", err)
	}
	switch {
	case info.Device != uint64(st.Dev) || info.Inode != st.Ino:
		return false, nil
	case info.Offset != 0 || info.Sizelimit != 0:
		return false, fmt.Errorf("%s shows a part of it: %w", l.Path, ErrLoopInUse)
	case info.Flags&unix.LO_FLAGS_READ_ONLY != 0 && !readOnly:
		return false, fmt.Errorf("%s shows it read-only: %w", l.Path, ErrLoopInUse)
	}
	if info.Flags&unix.LO_FLAGS_AUTOCLEAR != 0 { // it would go with its user, and from under ours
		info.Flags &^= unix.LO_FLAGS_AUTOCLEAR
		if err := retry(func() error { return unix.IoctlLoopSetStatus64(dev, info) }); err != nil {
			return false, os.NewSyscallError("LOOP_SET_STATUS64", err)
		}
	}
	// The file may have grown.
	if size, err := unix.Seek(dev, 0, unix.SEEK_END); err == nil && size < st.Size&^(sectorSize-1) {
		if err := retry(func() error { return unix.IoctlSetInt(dev, unix.LOOP_SET_CAPACITY, 0) }); err != nil {
			return false, os.NewSyscallError("LOOP_SET_CAPACITY", err)
		}
	}
	return true, nil
}
