// Package dmcore is the device-mapper vocabulary: names, tables, targets,
// status lines, and the one interface, [Control], through which devices are
// created, loaded, suspended, resumed and removed.
//
// A device has up to two tables:
//
//	        Load                    Resume
//	table ────────▶ inactive slot ────────▶ live slot ────▶ I/O
//	                     │                     ▲  │
//	                     ▼ Clear               │  ▼ Suspend
//	                  (empty)                 queued I/O
//
// Create makes a device with neither; Load fills the inactive slot and runs the
// targets' constructors; Resume swaps the inactive table in (the old live table
// is destroyed) and releases queued I/O; Suspend waits for the I/O in flight
// and queues what comes after it.
//
// Two implementations exist of one Control: package userspace, a device mapper
// in pure Go, and package kernel, which speaks the ioctl interface. What both
// must do is written down as tests in package dmtest. Tables print and parse
// as `dmsetup table` prints them.
//
// The rules are those of Linux 6.1, drivers/md/dm-ioctl.c and drivers/md/dm.c.
package dmcore
