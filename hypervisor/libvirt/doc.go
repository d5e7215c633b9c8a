// Package libvirt is a [hypervisor.Hypervisor] that speaks to libvirt. It is
// the only package that needs cgo, and even so no header and no library of
// libvirt at build time: with the build tags
//
//	libvirt_dlopen,libvirt_without_lxc
//
// libvirt.so.0 is loaded when the program runs, and [Open] says so if it is
// not there. Without cgo the package builds too; Open then only fails.
//
// libvirt delivers events, and notices that a daemon is gone, in an event loop
// that belongs to the whole process. Open registers it, but somebody has to
// run it as long as the connection is used:
//
//	conn, err := libvirt.Open(ctx, "qemu:///system")
//	…
//	go conn.Run(ctx)
//	defer conn.Close()
//
// A connection whose loop does not run is cut by the daemon after half a
// minute without calls, because nobody answers its keepalive messages; and
// [hypervisor.Guest.Shutdown], which waits for an event, does not begin.
package libvirt
