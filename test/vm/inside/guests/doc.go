// Package guests has the workflows on the kernel's device mapper, with libvirt's
// guests, which run in QEMU in the test VM, on /dev/VG/LV. What must be true after
// each command is read by other programs: dmsetup, lvm2, virsh, and reads of the
// volumes past the page cache.
package guests
