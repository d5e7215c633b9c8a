// Package devscan says which of a host's block devices may be physical volumes,
// by the rules of lvm2 2.03.16: what lvm2 would not look at must not be looked at
// here, as a guest may write what looks like a physical volume into its own disk.
//
//	/dev, /sys, /proc/devices ─▶ [ReadSystem] ─▶ System ─┐
//	lvm.conf ─▶ lvmconf.Conf ─▶ [NewRules] ──────────────┼─▶ [Rules.Scan] ─▶ Result
//	system.devices ─▶ [ParseDevicesFile] ────────────────┘
//
// The rules are applied in lvm2's order (lib/commands/toolcontext.c,
// _init_filter_chain), and the first that a device fails is why it is skipped:
//
//	filter        global_filter, then filter, unless a devices file is in use
//	type          its kind of device is known (/proc/devices, devices/types)
//	devices file  it is listed, if a devices file is in use
//	sysfs         the kernel knows it
//	usable        no volume of LVM, nor private to dm-crypt or Stratis; has a table, is not suspended
//	size          at least pv_min_size
//	multipath     no path of a multipath device
//	partitioned   without a partition table      (from here on it is read)
//	signature     no LVM1 or GFS pool
//	md            no component of an md array
//
// Some rules are stricter than lvm2's: a suspended device is skipped (lvm2 waits
// for it, devices/ignore_suspended_devices=0); so is what an md array holds,
// wherever its superblock is; and so are partitions of a logical volume that
// kpartx or a loop device shows (lvm2 looks only at the volume itself). Not
// there are firmware RAID (off by default), what only udev knows
// (external_device_info_source), DASDs without a partition table, and the state
// of the pool below a thin volume.
package devscan
