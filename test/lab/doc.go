// Package lab gives tests and the demo what cowhand works on: a libvirt of their own, a tiny guest
// that says what its disk holds, and readers of disks that are not cowhand.
//
//	Libvirt   a libvirtd that sees nothing of the host's libvirt and leaves nothing behind
//	Boot      kernel and first root file system of the guest (guest/init is its whole user space)
//	Console   the guest's serial line: commands in, lines that start with COWHAND-GUEST out
//	Image, ReadFile    an ext4 file system made, and read, by e2fsprogs; no mount, no root
//
// Nothing of the product imports this package, and it imports nothing of the product: what is
// checked with it is checked by other programs than the one under test.
package lab
