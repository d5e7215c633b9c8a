// Package lvmconf is the settings of lvm2 that cowhand heeds: lvm.conf and
// lvmlocal.conf, as values.
//
//	defaults ◀── lvm.conf ◀── lvmlocal.conf
//
// A later value replaces an earlier one, but for three lists of lvmlocal.conf,
// which are put before those of lvm.conf: devices/filter, devices/types and
// activation/volume_list (lvm2 2.03.16, lib/config/config.c, _merge_section).
// Whatever is not known is ignored, and a value of a wrong type is warned of and
// ignored, as lvm2 does; only a wrong filter is an error. Files for host tags
// (lvm_TAG.conf) and profiles are not read.
//
// The defaults are those of lvm2 2.03.16 as Debian builds it
// (lib/config/config_settings.h, defaults.h).
package lvmconf
