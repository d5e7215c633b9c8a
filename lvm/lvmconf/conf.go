package lvmconf

import (
	"errors"
	"path/filepath"

	"cowhand/lvm/lvmtext"
)

// Conf is the settings, named as in lvm.conf.
type Conf struct {
	Devices    Devices
	Global     Global
	Local      Local
	Backup     Backup
	Activation Activation
	Allocation Allocation
	Metadata   Metadata
	Tags       Tags

	// Warnings are values that were ignored, each with its file and line.
	Warnings []error

	where map[string]string
}

// Devices says which devices may be physical volumes.
type Devices struct {
	Dir                         string
	Scan                        []string // directories, with all below them
	UseDevicesFile              bool
	DevicesFile                 string // name in the directory devices/
	SearchForDevnames           string // "none", "auto" or "all"
	Filter                      []string
	GlobalFilter                []string
	PreferredNames              []string
	Types                       []Type
	SysfsScan                   bool
	ScanLVs                     bool
	MultipathComponentDetection bool
	MultipathWWIDsFile          string // "": none
	MDComponentDetection        bool
	MDComponentChecks           string // "start", "auto" or "full"
	IgnoreLVMMirrors            bool
	PVMinSize                   int64 // bytes
	Hints                       string
}

// Type is a kind of block devices, as /proc/devices names it, and how many
// minor numbers each has for its partitions.
type Type struct {
	Name       string
	Partitions int
}

// Global is what concerns all commands.
type Global struct {
	LockingDir        string
	WaitForLocks      bool
	SystemIDSource    string // "none", "lvmlocal", "uname", "machineid", "appmachineid" or "file"
	SystemIDFile      string
	Etc               string
	Units             string
	SIUnitConsistency bool
	Suffix            bool

	ThinDisabledFeatures []string
}

// Local is what is this host's alone.
type Local struct {
	SystemID       string
	ExtraSystemIDs []string
	HostID         int64
}

// Backup says where copies of metadata go.
type Backup struct {
	Backup     bool
	BackupDir  string
	Archive    bool
	ArchiveDir string
	RetainMin  int64
	RetainDays int64
}

// Activation says how volumes are activated. A list that is not set is nil;
// one that is set to nothing is not.
type Activation struct {
	UdevSync                    bool
	UdevRules                   bool
	Readahead                   string // "auto" or "none"
	Monitoring                  bool
	SnapshotAutoextendThreshold int64 // percent; 100: never
	SnapshotAutoextendPercent   int64
	ThinPoolAutoextendThreshold int64
	ThinPoolAutoextendPercent   int64
	VolumeList                  []string
	AutoActivationVolumeList    []string
	ReadOnlyVolumeList          []string
}

// Allocation says where extents are taken from.
type Allocation struct {
	ThinPoolMetadataRequireSeparatePVs bool
	ZeroMetadata                       bool
	ThinPoolCropMetadata               bool
	ThinPoolZero                       bool
	ThinPoolDiscards                   string // "passdown", "nopassdown" or "ignore"
	ThinPoolChunkSize                  int64  // KiB; 0: not set
}

// Metadata is what is written of volumes.
type Metadata struct {
	RecordLVsHistory bool
}

// Tags are tags of hosts.
type Tags struct {
	HostTags bool                // the host's name is one
	Hosts    map[string][]string // a tag, and the hosts that have it; nil: all do
}

// Default returns the settings of a host whose lvm.conf sets nothing. dir is
// lvm2's directory, /etc/lvm.
func Default(dir string) Conf {
	return Conf{
		Devices: Devices{
			Dir: "/dev", Scan: []string{"/dev"}, DevicesFile: "system.devices", SearchForDevnames: "auto",
			SysfsScan: true, MultipathComponentDetection: true, MultipathWWIDsFile: "/etc/multipath/wwids",
			MDComponentDetection: true, MDComponentChecks: "auto", IgnoreLVMMirrors: true, PVMinSize: 2 << 20, Hints: "all",
		},
		Global: Global{
			LockingDir: "/run/lock/lvm", WaitForLocks: true, SystemIDSource: "none", Etc: "/etc",
			Units: "r", SIUnitConsistency: true, Suffix: true,
		},
		Backup: Backup{
			Backup: true, BackupDir: filepath.Join(dir, "backup"), Archive: true, ArchiveDir: filepath.Join(dir, "archive"),
			RetainMin: 10, RetainDays: 30,
		},
		Activation: Activation{
			UdevSync: true, UdevRules: true, Readahead: "auto", Monitoring: true,
			SnapshotAutoextendThreshold: 100, SnapshotAutoextendPercent: 20,
			ThinPoolAutoextendThreshold: 100, ThinPoolAutoextendPercent: 20,
		},
		Allocation: Allocation{ZeroMetadata: true, ThinPoolZero: true, ThinPoolDiscards: "passdown"},
	}
}

// Where says where a setting such as "devices/filter" was made, "file:line", or
// "" if it was not.
func (c *Conf) Where(path string) string { return c.where[path] }

// setter stores a value, or says what is wrong with it.
type setter func(lvmtext.Value) error

// settings are the places of all that is known.
func (c *Conf) settings() map[string]setter {
	d, g, l, b, a, al := &c.Devices, &c.Global, &c.Local, &c.Backup, &c.Activation, &c.Allocation
	return map[string]setter{
		"devices/dir":                           text(&d.Dir),
		"devices/scan":                          list(&d.Scan, filled),
		"devices/use_devicesfile":               boolean(&d.UseDevicesFile),
		"devices/devicesfile":                   text(&d.DevicesFile),
		"devices/search_for_devnames":           text(&d.SearchForDevnames, "none", "auto", "all"),
		"devices/filter":                        list(&d.Filter, filled),
		"devices/global_filter":                 list(&d.GlobalFilter, filled),
		"devices/preferred_names":               list(&d.PreferredNames, mayBeEmpty),
		"devices/types":                         types(&d.Types),
		"devices/sysfs_scan":                    boolean(&d.SysfsScan),
		"devices/scan_lvs":                      boolean(&d.ScanLVs),
		"devices/multipath_component_detection": boolean(&d.MultipathComponentDetection),
		"devices/multipath_wwids_file":          anyText(&d.MultipathWWIDsFile),
		"devices/md_component_detection":        boolean(&d.MDComponentDetection),
		"devices/md_component_checks":           text(&d.MDComponentChecks, "none", "start", "auto", "full"),
		"devices/ignore_lvm_mirrors":            boolean(&d.IgnoreLVMMirrors),
		"devices/pv_min_size":                   kibibytes(&d.PVMinSize),
		"devices/hints":                         text(&d.Hints),

		"global/locking_dir":         text(&g.LockingDir),
		"global/wait_for_locks":      boolean(&g.WaitForLocks),
		"global/system_id_source":    text(&g.SystemIDSource),
		"global/system_id_file":      text(&g.SystemIDFile),
		"global/etc":                 text(&g.Etc),
		"global/units":               text(&g.Units),
		"global/si_unit_consistency": boolean(&g.SIUnitConsistency),
		"global/suffix":              boolean(&g.Suffix),

		"global/thin_disabled_features": list(&g.ThinDisabledFeatures, mayBeEmpty),

		"local/system_id":        anyText(&l.SystemID),
		"local/extra_system_ids": list(&l.ExtraSystemIDs, mayBeEmpty),
		"local/host_id":          integer(&l.HostID),

		"backup/backup":      boolean(&b.Backup),
		"backup/backup_dir":  text(&b.BackupDir),
		"backup/archive":     boolean(&b.Archive),
		"backup/archive_dir": text(&b.ArchiveDir),
		"backup/retain_min":  integer(&b.RetainMin),
		"backup/retain_days": integer(&b.RetainDays),

		"activation/udev_sync":                      boolean(&a.UdevSync),
		"activation/udev_rules":                     boolean(&a.UdevRules),
		"activation/readahead":                      text(&a.Readahead, "auto", "none"),
		"activation/monitoring":                     boolean(&a.Monitoring),
		"activation/snapshot_autoextend_threshold":  integer(&a.SnapshotAutoextendThreshold),
		"activation/snapshot_autoextend_percent":    integer(&a.SnapshotAutoextendPercent),
		"activation/thin_pool_autoextend_threshold": integer(&a.ThinPoolAutoextendThreshold),
		"activation/thin_pool_autoextend_percent":   integer(&a.ThinPoolAutoextendPercent),
		"activation/volume_list":                    list(&a.VolumeList, mayBeEmpty),
		"activation/auto_activation_volume_list":    list(&a.AutoActivationVolumeList, mayBeEmpty),
		"activation/read_only_volume_list":          list(&a.ReadOnlyVolumeList, mayBeEmpty),

		"metadata/record_lvs_history": boolean(&c.Metadata.RecordLVsHistory),

		"tags/hosttags": boolean(&c.Tags.HostTags),

		"allocation/thin_pool_metadata_require_separate_pvs": boolean(&al.ThinPoolMetadataRequireSeparatePVs),
		"allocation/zero_metadata":                           boolean(&al.ZeroMetadata),
		"allocation/thin_pool_crop_metadata":                 boolean(&al.ThinPoolCropMetadata),
		"allocation/thin_pool_zero":                          boolean(&al.ThinPoolZero),
		"allocation/thin_pool_discards":                      text(&al.ThinPoolDiscards, "passdown", "nopassdown", "ignore"),
		"allocation/thin_pool_chunk_size":                    integer(&al.ThinPoolChunkSize),
	}
}

// ErrInvalid is a file or a value that cannot be used.
var ErrInvalid = errors.New("invalid lvm2 settings")
