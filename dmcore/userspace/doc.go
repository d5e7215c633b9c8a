// Package userspace is a device mapper in pure Go: a [dmcore.Control] whose
// targets work on [blockdev.Device], so that LVM snapshots and merges need no
// kernel device mapper and no root.
//
// Its rules are those of Linux 6.1, drivers/md, and it uses the kernel's
// on-disk formats: what one of them wrote, the other can use.
package userspace
