package devscan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cowhand/lvm/lvmconf"
)

// Rules decide which devices may be physical volumes.
type Rules struct {
	filter, global *Filter
	preferred      []*regexp.Regexp
	conf           lvmconf.Devices
	file           *DevicesFile
}

// NewRules takes the settings, and the devices file if one is in use (nil: none).
func NewRules(conf lvmconf.Conf, file *DevicesFile) (*Rules, error) {
	r := &Rules{conf: conf.Devices, file: file}
	for path, f := range map[string]struct {
		patterns []string
		to       **Filter
	}{"devices/global_filter": {conf.Devices.GlobalFilter, &r.global}, "devices/filter": {conf.Devices.Filter, &r.filter}} {
		filter, err := ParseFilter(f.patterns)
		if err != nil {
			return nil, wrongSetting(&conf, path, err)
		}
		*f.to = filter
	}
	for _, expr := range conf.Devices.PreferredNames {
		re, err := compileRegex(expr)
		if err != nil {
			return nil, wrongSetting(&conf, "devices/preferred_names", fmt.Errorf("%q: %w", expr, err))
		}
		r.preferred = append(r.preferred, re)
	}
	return r, nil
}

func wrongSetting(conf *lvmconf.Conf, path string, err error) error {
	if at := conf.Where(path); at != "" {
		path = at + ": " + path
	}
	return fmt.Errorf("%s: %w", path, err)
}

// Rule names the rule by which a device is skipped, as the package's comment
// lists them.
type Rule string

// The rules, in their order.
const (
	RuleFilter      Rule = "filter"
	RuleType        Rule = "type"
	RuleDevicesFile Rule = "devices file"
	RuleSysfs       Rule = "sysfs"
	RuleUsable      Rule = "usable"
	RuleSize        Rule = "size"
	RuleMultipath   Rule = "multipath"
	RulePartitioned Rule = "partitioned"
	RuleSignature   Rule = "signature"
	RuleMD          Rule = "md"
	RuleUnreadable  Rule = "unreadable"
)

// Skip is a device that is not looked at.
type Skip struct {
	Dev
	Path string // its first name
	Rule Rule
	Why  string // to be read behind the path: "is no …"
	Err  error  // RuleUnreadable: why
}

func (s Skip) String() string { return s.Path + " " + s.Why }

// names are a device's names, the one that lvm2 would call it by first.
func (r *Rules) names(b *Block) []string { return order(b.Names, r.conf.Dir, r.preferred) }

// unread applies the rules that need nothing of the device's contents. listed
// says that the devices file in use names it. It returns the path to use, or why
// there is none.
func (r *Rules) unread(b *Block, sys *System, listed bool) (string, *Skip) {
	names := r.names(b)
	skip := func(rule Rule, format string, args ...any) (string, *Skip) {
		return "", &Skip{Dev: b.Dev, Path: names[0], Rule: rule, Why: fmt.Sprintf(format, args...)}
	}
	if r.file == nil {
		for setting, f := range r.filters() {
			ordered, accept, by := f.choose(names)
			if !accept {
				return skip(RuleFilter, "is rejected by %s of %s", by, setting)
			}
			if len(r.preferred) == 0 { // else that order stays (dev_set_preferred_name)
				names = ordered
			}
		}
	}
	if sys.Types.partitions[b.Major] == 0 {
		return skip(RuleType, "is of a kind that holds no physical volumes, major number %d (devices/types may name it)", b.Major)
	}
	if r.file != nil && !listed {
		return skip(RuleDevicesFile, "is not in the devices file")
	}
	if b.Kernel == "" && r.conf.SysfsScan {
		return skip(RuleSysfs, "is a node without a device")
	}
	if !r.conf.ScanLVs && sys.inLV(b) {
		return skip(RuleUsable, "is a logical volume, or in one (devices/scan_lvs=0): what it holds is its user's")
	}
	if sys.Types.is(b.Major, "device-mapper") {
		if rule, why := r.unusable(b.DM); why != "" {
			return skip(rule, "%s", why)
		}
	}
	if b.Size < r.conf.PVMinSize {
		return skip(RuleSize, "has %d bytes, less than devices/pv_min_size, %d", b.Size, r.conf.PVMinSize)
	}
	if r.conf.MultipathComponentDetection {
		if why := r.multipath(b, sys, names); why != "" {
			return skip(RuleMultipath, "%s", why)
		}
	}
	return names[0], nil
}

// filters are the two in their order.
func (r *Rules) filters() func(yield func(string, *Filter) bool) {
	return func(yield func(string, *Filter) bool) {
		_ = yield("devices/global_filter", r.global) && yield("devices/filter", r.filter)
	}
}

// idLen is the length of a UUID of LVM without hyphens.
const idLen = 32

// unusable says what is wrong with a device of the device mapper
// (lib/activate/dev_manager.c, device_is_usable).
func (r *Rules) unusable(dm *DM) (Rule, string) {
	switch {
	case dm == nil:
		return RuleUsable, "is unknown to the device mapper"
	case strings.HasPrefix(dm.UUID, "LVM-"):
		if len(dm.UUID) > len("LVM-")+2*idLen || internalName(dm.Name) {
			return RuleUsable, "is internal to a logical volume"
		}
	case strings.HasPrefix(dm.UUID, "CRYPT-TEMP"), strings.HasPrefix(dm.UUID, "CRYPT-SUBDEV"):
		return RuleUsable, "is private to dm-crypt"
	case strings.HasPrefix(dm.UUID, "stratis-"):
		return RuleUsable, "is private to Stratis"
	}
	if dm.Suspended {
		return RuleUsable, "is suspended"
	}
	if dm.Targets == nil {
		return "", ""
	}
	nothing := true // but errors and zeroes
	for _, t := range dm.Targets {
		switch {
		case t.Type == "mirror" && r.conf.IgnoreLVMMirrors:
			return RuleUsable, "is a mirror, which may block (devices/ignore_lvm_mirrors=1)"
		case t.Type == "snapshot" && strings.HasPrefix(t.Status, "Invalid"):
			return RuleUsable, "is an invalid snapshot"
		case t.Type == "raid" && slices.Contains(strings.Fields(t.Status), "frozen"):
			return RuleUsable, "is a frozen RAID device"
		}
		nothing = nothing && (t.Type == "error" || t.Type == "zero")
	}
	if nothing {
		return RuleUsable, "has a table of nothing but errors and zeroes"
	}
	return "", ""
}

// internalName recognizes internal volumes whose UUID has no suffix, by the
// names that nobody else may use (lib/misc/lvm-string.c, is_reserved_lvname).
func internalName(name string) bool {
	lv := dmLVName(name)
	for _, prefix := range []string{"pvmove", "snapshot"} {
		if strings.HasPrefix(lv, prefix) {
			return true
		}
	}
	for _, part := range []string{"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mimage", "_mlog", "_pmspare",
		"_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_imeta", "_iorig"} {
		if strings.Contains(lv, part) {
			return true
		}
	}
	return false
}

// dmLVName is the volume in a name such as vg--0-lv--1; hyphens within a name
// are doubled.
func dmLVName(name string) string {
	for i := 0; i < len(name); i++ {
		if name[i] != '-' {
			continue
		}
		if i+1 < len(name) && name[i+1] == '-' {
			i++
			continue
		}
		return strings.ReplaceAll(name[i+1:], "--", "-")
	}
	return ""
}

// multipath says why a device is a path of a multipath device
// (lib/device/dev-mpath.c, dev_is_mpath_component).
func (r *Rules) multipath(b *Block, sys *System, names []string) string {
	whole := b
	if b.Partition > 0 {
		if p := sys.At(b.Parent); p != nil {
			whole = p
		}
	}
	nvme := slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "/dev/nvme") })
	if sys.Types.scsi[b.Major] || nvme {
		for _, h := range whole.Holders {
			if strings.HasPrefix(h.DMUUID, "mpath-") {
				return "is a path of multipath device " + h.Kernel
			}
		}
	}
	if _, wwid, ok := strings.Cut(b.DeviceWWID, "."); ok && sys.MultipathWWIDs[wwid] {
		return "has a WWID of " + r.conf.MultipathWWIDsFile
	}
	return ""
}

// partitionable reports whether the kernel would look for partitions
// (lib/device/dev-type.c, _is_partitionable).
func partitionable(b *Block, types *Types, nvme bool) bool {
	switch {
	case types.is(b.Major, "device-mapper"), types.is(b.Major, "md"):
		return true
	case types.is(b.Major, "loop") && b.PartScan:
		return true
	case nvme:
		return b.Partition == 0
	}
	n := types.partitions[b.Major]
	return n > 1 && b.Minor%uint32(n) == 0
}

// read applies the rules that look at what the device holds.
func (r *Rules) read(b *Block, sys *System, path string, c content) *Skip {
	skip := func(rule Rule, format string, args ...any) *Skip {
		return &Skip{Dev: b.Dev, Path: path, Rule: rule, Why: fmt.Sprintf(format, args...)}
	}
	nvme := slices.ContainsFunc(b.Names, func(n Name) bool { return strings.HasPrefix(n.Path, "/dev/nvme") })
	if c.partTable && partitionable(b, &sys.Types, nvme) {
		return skip(RulePartitioned, "has a partition table")
	}
	if c.foreign != "" {
		return skip(RuleSignature, "is %s", c.foreign)
	}
	if !r.conf.MDComponentDetection {
		return nil
	}
	if i := slices.IndexFunc(b.Holders, func(h Holder) bool { return strings.HasPrefix(h.Kernel, "md") }); i >= 0 {
		return skip(RuleMD, "is a component of %s", b.Holders[i].Kernel)
	}
	found := c.mdAtStart
	if !found && r.mdMayBeAtEnd(sys, c) {
		var err error
		if found, err = c.mdAtEnd(); err != nil {
			return &Skip{b.Dev, path, RuleUnreadable, fmt.Sprintf("cannot be read: %v", err), err}
		}
	}
	if found {
		return skip(RuleMD, "is a component of an md array, or was")
	}
	return nil
}

// mdMayBeAtEnd says whether to look for superblocks at the end: where
// md_component_checks asks for it; or, by "auto", if the host has arrays that keep them there,
// or the volume has another size than the device, as it would have in an array
// (lib/cache/lvmcache.c, lvmcache_extra_md_component_checks).
func (r *Rules) mdMayBeAtEnd(sys *System, c content) bool {
	switch r.conf.MDComponentChecks {
	case "full":
		return true
	case "auto":
		return c.pvSize != 0 && c.pvSize != uint64(c.deviceSize) || slices.ContainsFunc(sys.Blocks, func(b Block) bool {
			return b.MD != nil && (b.MD.MetadataVersion == "1.0" || b.MD.MetadataVersion == "0.90")
		})
	}
	return false
}
