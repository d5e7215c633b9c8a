package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"cowhand/configs"
	"cowhand/lvm"
	"cowhand/lvm/lvmconf"
)

// lvm2 is what lvm2 is set to on this host: where it keeps its locks and its
// copies of metadata, whose groups are this host's, and which volumes it may
// activate. Both engines share disks with it, and so keep to it.
type lvm2 struct {
	dir string
	lvmconf.Conf
	systemIDs []string
	hostTags  []string
	problems  []error
	told      bool
	err       error // why the settings cannot be used
}

// loadLVM2 reads lvm2's settings from where lvm2 would. Who may not read them is
// no one whom lvm2 would work for: they do not hold him up. over are settings of
// the command line.
func loadLVM2(over ...lvmconf.File) *lvm2 {
	dir, set := os.LookupEnv("LVM_SYSTEM_DIR")
	if !set {
		dir = "/etc/lvm"
	}
	s := &lvm2{dir: dir}
	s.Conf, s.err = lvmconf.Load(dir, over...)
	if errors.Is(s.err, fs.ErrPermission) && os.Geteuid() != 0 {
		s.Conf, s.err = lvmconf.Load("", over...)
	}
	if s.err != nil {
		s.Conf = lvmconf.Default(dir)
	}
	name, err := os.Hostname()
	if err != nil {
		s.problems = append(s.problems, fmt.Errorf("the host's name: %w", err))
	}
	ids, problems := s.SystemIDs(name)
	s.systemIDs, s.hostTags = ids, s.Tags.Of(name)
	s.problems = append(s.problems, problems...)
	return s
}

// lvm2Settings are lvm2's, read once in a run; what is wrong with them is told.
func (h *host) lvm2Settings() (*lvm2, error) {
	s := h.lvm2
	if s == nil {
		s = loadLVM2()
		h.lvm2 = s
	}
	if s.err != nil {
		return nil, s.err
	}
	if !s.told {
		s.told = true
		for _, problems := range [][]error{s.Warnings, s.problems} {
			for _, p := range problems {
				h.note("warning: %s", p)
			}
		}
	}
	return s, nil
}

// archive is where copies of metadata go, nil if none are kept. A directory or a
// number that cowhand is told itself wins over what lvm2 is.
func (h *host) archive() *lvm.Archive {
	ours, usual := h.Archive, configs.Default().Archive
	if !h.lvm2Copies {
		a := lvm.ArchiveIn(ours.Dir)
		a.RetainMin, a.RetainDays = ours.RetainMin, ours.RetainDays
		return a
	}
	b := h.lvm2.Backup
	a := &lvm.Archive{RetainMin: retained(b.RetainMin), RetainDays: retained(b.RetainDays)}
	if b.Archive {
		a.ArchiveDir = b.ArchiveDir
	}
	if b.Backup {
		a.BackupDir = b.BackupDir
	}
	if ours.RetainMin != usual.RetainMin {
		a.RetainMin = ours.RetainMin
	}
	if ours.RetainDays != usual.RetainDays {
		a.RetainDays = ours.RetainDays
	}
	return a
}

// retained is a number of lvm.conf as lvm.Archive takes it.
func retained(n int64) int {
	const most = 1 << 20
	if n <= 0 {
		return -1
	}
	return int(min(n, most))
}

// pools are how thin pools are made.
func (s *lvm2) pools() lvm.PoolSettings {
	a := s.Allocation
	return lvm.PoolSettings{
		CropMetadata: a.ThinPoolCropMetadata, SeparateMetadata: a.ThinPoolMetadataRequireSeparatePVs, KeepMetadata: !a.ZeroMetadata,
		RecordHistory: s.Metadata.RecordLVsHistory,
		WholeExternal: slices.Contains(s.Global.ThinDisabledFeatures, "external_origin_extend"),
	}
}

// lists are which volumes this host activates. The userspace engine has none: what
// it serves is asked for by name, and nothing of the host's uses it by itself.
func (s *lvm2) lists() lvm.Lists {
	a := s.Activation
	return lvm.Lists{Volumes: a.VolumeList, Auto: a.AutoActivationVolumeList, ReadOnly: a.ReadOnlyVolumeList, HostTags: s.hostTags}
}
