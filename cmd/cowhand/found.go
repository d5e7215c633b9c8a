package main

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
	"cowhand/lvm"
	"cowhand/lvm/devscan"
)

// devicePaths are the physical volumes to look at: those of the list or, where
// the kernel's engine has none, those that lvm2 would look at and whatever the
// command has named besides.
func (h *host) devicePaths() ([]string, error) {
	if _, err := h.lvm2Settings(); err != nil {
		return nil, err
	}
	if h.found == nil && len(h.Devices) == 0 {
		if err := h.find(); err != nil {
			return nil, err
		}
	}
	if h.found == nil {
		return lvm.FindDevices(h.Devices)
	}
	return lvm.FindDevices(append(slices.Clone(h.found.Devices), h.Devices...))
}

// find looks for devices as lvm2 does, once in a run. The userspace engine does
// not: what it should serve it is told.
func (h *host) find() error {
	onKernel, err := h.onKernel()
	if err != nil || !onKernel {
		return err
	}
	s, err := h.lvm2Settings()
	if err != nil {
		return err
	}
	if h.found, err = lvm.HostDevices(context.Background(), s.dir, s.Conf, dmcore.NewClient(h.kernel())); err != nil {
		return err
	}
	for _, p := range h.found.Problems {
		h.note("warning: %s", p)
	}
	if h.verbose {
		for _, s := range h.found.Skipped {
			h.note("  not looked at: %s", s)
		}
	}
	return nil
}

// ruledOut says why a device that the command names is not to be looked at, nil
// if it is.
func (h *host) ruledOut(path string) error {
	var st unix.Stat_t
	if h.found == nil || unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return nil
	}
	rdev := uint64(st.Rdev)
	dev := devscan.Dev{Major: unix.Major(rdev), Minor: unix.Minor(rdev)}
	i := slices.IndexFunc(h.found.Skipped, func(s devscan.Skip) bool { return s.Dev == dev })
	if i < 0 {
		return nil
	}
	s := h.found.Skipped[i]
	return &lvm.DeviceError{Path: path, Offset: -1, Err: cmp.Or[error](s.Err, skipError(s.Why))}
}

// skipError is why lvm2's rules skip a device.
type skipError string

func (e skipError) Error() string { return string(e) + " (--devices would look at it all the same)" }
func (e skipError) Unwrap() error { return lvm.ErrInvalid }
