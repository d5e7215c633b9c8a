// Package vm gives tests a machine with a real device mapper: a QEMU VM with Debian's kernel, whose
// root is this machine's own, read-only, under a layer in memory. lvm2, udev and whatever else is
// installed here works in it on disks that are files, and nothing it does reaches the host.
//
//	m := vm.Boot(t, vm.Config{Disks: []vm.Disk{{MiB: 256}}})
//	out, err := m.Run(ctx, "pvcreate", "/dev/vda")
//	m.Kill()      // the power goes
//	m.Start(ctx)  // and comes back, with the same disks
//
// A disk with a cache ([Disk].Cache) forgets with [Machine.Cut] what was not flushed.
//
// A scenario that needs no power cut is an ordinary Go test in the folder inside, which runs in the
// VM; TestInside here shows each as a subtest. Others are tests of this package, beside it.
//
//	keeper   runs QEMU and virtiofsd, and ends them when the test does, however it ends
//	agent    the VM's first process: makes root, starts udev, runs commands
//	wire     what agent and host say to each other
//	recorder writes records, so that one can tell later which are there
package vm
