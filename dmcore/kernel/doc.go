// Package kernel is the kernel's device mapper: a [dmcore.Control] that speaks
// the ioctls of /dev/mapper/control (include/uapi/linux/dm-ioctl.h, interface
// 4.x, as of Linux 6.1 drivers/md/dm-ioctl.c).
//
// Every command is one buffer, read by the kernel and overwritten with the
// answer:
//
//	0        12          16           20             24           28      32         40    48     176    305
//	┌────────┬───────────┬────────────┬──────────────┬────────────┬───────┬──────────┬─────┬──────┬──────┬───┐
//	│version │ data_size │ data_start │ target_count │ open_count │ flags │ event_nr │ dev │ name │ uuid │   │
//	└────────┴───────────┴────────────┴──────────────┴────────────┴───────┴──────────┴─────┴──────┴──────┴───┘
//	312 = data_start, what the command is about:
//	┌───────────────┬────────┬────────┬──────┬─────────────┬─────────────┐
//	│ sector_start  │ length │ status │ next │ target_type │ params… NUL │ …   a table: load, table, status
//	├──────┬────────┴──┬─────┴────────┴──────┴──────┬──────┴─────────────┤
//	│ dev  │ next      │ name… NUL  event_nr  flags │ …                      list
//	├──────┴┬──────────┼──────┬──────┬──────────────┘
//	│ count │          │ dev  │ dev  │ …                                       deps
//	├───────┴──────────┼──────┴──────┴──────┐
//	│ sector           │ text… NUL          │                                  message
//	└──────────────────┴────────────────────┘
//
// `next` counts from the record it stands in, except in the answer to table and
// status, where it counts from the first.
//
// # Nodes and links
//
// The kernel makes devices, not names: /dev/mapper/NAME and /dev/VG/LV are made
// by udev from the events that resume, rename and remove send, and they are
// there some time later. To wait for udev while devices are suspended is to
// wait for ever, should it read one of them. So commands only note whom they
// concern, and [dmcore.Settle] waits for all of them at once. Where there is no
// udev, or none of lvm2's rules, Settle makes and removes the names itself.
//
// The semaphore on which udev counts is System V's, because lvm2's rules count
// on one; the kernel keeps it if this process is killed before Settle
// (`dmsetup udevcomplete_all` removes such). Nothing waits for it then.
//
// # Read-ahead
//
// is left to the kernel: since Linux 5.10 a striped device has, unasked, the two
// stripes that lvm2 sets for "auto" (block/blk-settings.c). Volumes whose
// metadata asks for another value get the same.
package kernel
