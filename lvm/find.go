package lvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/lvm/devscan"
	"cowhand/lvm/lvmconf"
)

// FindDevices expands a list of paths and shell patterns into the absolute paths
// to scan for physical volumes. Of several names of one device the first is taken. A
// path that is no pattern stays even if nothing is there, so that the scan can
// say so; of what a pattern finds only block devices and files are taken, and
// no LVs: a guest may write what looks like a label into its own disk (as
// lvm2's devices/scan_lvs=0).
func FindDevices(patterns []string) ([]string, error) {
	var found []string
	seen := map[deviceIdentity]bool{}
	for _, pattern := range patterns {
		pattern, err := filepath.Abs(pattern)
		if err != nil {
			return nil, fmt.Errorf("devices: %w", err)
		}
		if !strings.ContainsAny(pattern, `*?[\`) {
			id, kind := identify(pattern)
			if kind == deviceAbsent || !seen[id] {
				found = append(found, pattern)
			}
			if kind != deviceAbsent {
				seen[id] = true
			}
			continue
		}
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("devices: pattern %q: %w: %w", pattern, ErrInvalid, err)
		}
		for _, path := range paths {
			id, kind := identify(path)
			if kind != deviceUsable || seen[id] || isLV(id) {
				continue
			}
			seen[id] = true
			found = append(found, path)
		}
	}
	return found, nil
}

// HostDevices finds the devices that lvm2 would look at on this host, by the
// rules of package devscan: for who has no list of his own. dir is lvm2's directory
// (/etc/lvm, or "" for none), whose settings conf are, and which may have a devices
// file. dm is the kernel's device mapper, nil if it cannot be asked. Devices are
// read, nothing is changed.
func HostDevices(ctx context.Context, dir string, conf lvmconf.Conf, dm *dmcore.Client) (*devscan.Result, error) {
	root := os.DirFS("/")
	file, problems, err := devscan.LoadDevicesFile(root, dir, conf.Devices)
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	rules, err := devscan.NewRules(conf, file)
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	sys, err := devscan.ReadSystem(root, conf.Devices)
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	for i := range sys.Blocks {
		if d := sys.Blocks[i].DM; d != nil && dm != nil && d.UUID != "" && !strings.HasPrefix(d.UUID, uuidPrefix) {
			d.Targets = targets(ctx, dm, dmcore.UUID(d.UUID))
		}
	}
	found, err := rules.Scan(ctx, sys, func(path string) (devscan.Reader, error) { return blockdev.OpenFile(path, true) })
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	found.Problems = append(problems, found.Problems...)
	return found, nil
}

// targets is the status of a device, nil if it cannot be had: it may be gone.
func targets(ctx context.Context, dm *dmcore.Client, uuid dmcore.UUID) []devscan.Target {
	status, err := dm.Status(ctx, uuid)
	if err != nil {
		return nil
	}
	found := make([]devscan.Target, len(status))
	for i, s := range status {
		found[i] = devscan.Target{Type: s.Type, Status: s.Params}
	}
	return found
}

// deviceIdentity is what two names of one device share: a block device's
// number, or a file's place.
type deviceIdentity struct{ rdev, dev, ino uint64 }

type deviceKind int

const (
	deviceAbsent deviceKind = iota
	deviceUsable
	deviceOther // a directory, a terminal…
)

func identify(path string) (deviceIdentity, deviceKind) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return deviceIdentity{}, deviceAbsent
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return deviceIdentity{rdev: uint64(st.Rdev)}, deviceUsable
	case unix.S_IFREG:
		return deviceIdentity{dev: uint64(st.Dev), ino: st.Ino}, deviceUsable
	}
	return deviceIdentity{dev: uint64(st.Dev), ino: st.Ino}, deviceOther
}

// isLV asks sysfs whether a block device is a device-mapper device of LVM.
func isLV(id deviceIdentity) bool {
	if id.rdev == 0 {
		return false
	}
	uuid, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/dm/uuid", unix.Major(id.rdev), unix.Minor(id.rdev)))
	return err == nil && strings.HasPrefix(string(uuid), "LVM-")
}

// KernelDevices lists the devices of LVM that the kernel's device mapper has.
func KernelDevices() (map[dmcore.UUID]bool, error) {
	paths, err := filepath.Glob("/sys/block/dm-*/dm/uuid")
	if err != nil {
		return nil, err
	}
	devices := map[dmcore.UUID]bool{}
	for _, path := range paths {
		uuid, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // removed since it was listed
			continue
		}
		if err != nil {
			return nil, err
		}
		if u := strings.TrimSpace(string(uuid)); strings.HasPrefix(u, uuidPrefix) {
			devices[dmcore.UUID(u)] = true
		}
	}
	return devices, nil
}

// claimed reports a block device that something holds exclusively: a mounted
// file system, swap, an md array, a device-mapper device.
func claimed(path string) error {
	if id, kind := identify(path); kind != deviceUsable || id.rdev == 0 {
		return nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	switch {
	case err == unix.EBUSY:
		return fmt.Errorf("is held open, as by a mount, swap or another device: %w", ErrInUse)
	case err != nil:
		return err
	}
	return unix.Close(fd)
}
