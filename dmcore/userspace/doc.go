// Package userspace is a device mapper in pure Go: a [dmcore.Control] whose
// targets work on [blockdev.Device], so that LVM snapshots and merges need no
// kernel device mapper and no root.
//
//	Handle ──▶ gate ──▶ live table ──▶ target ──▶ gate of a device below ──▶ …
//	            │                                └──▶ backing: what the Opener gave
//	            └ shut while suspended
//
// The layers of one volume with a snapshot, as lvm2 makes them, and the way of
// a write to its origin:
//
//	origin (snapshot-origin) ─1─▶ exceptions of s ──copy──▶ s-cow (linear)
//	        │                      │   ▲ batch, commit           │
//	        └──2──▶ real (linear) ─┼───┘                         │
//	snapshot s ────────────────────┘                             ▼
//	                                                           files
//
// Its rules are those of Linux 6.1, drivers/md, and it uses the kernel's
// on-disk formats: what one of them wrote, the other can use.
//
// # What is durable when
//
// An acknowledged write is in the files below, where the death of this process
// does not touch it; [Handle.Sync] makes it durable. The origin is overwritten
// only after the old contents and their exceptions are durable in every
// snapshot; an exception is dropped by a merge only after the origin chunk is.
//
// # Locks
//
// In the order in which they are taken. I/O takes the gates and what is below
// them, commands the rest:
//
//	device.ctl       a command that changes the device; held over I/O and waiting.
//	                 Of two devices at once only from a table down to what it gives back.
//	gate             (shared) I/O, from above to below; closed by suspend
//	origin.io        shared: a write on its way to the origin, a batch of a merge;
//	                 exclusive: to change which snapshots are owed copies
//	Machine.opening  opening and closing backings
//	origins.mu       which snapshots exist, and who hands over to whom
//	exceptions.mu    the queue of a store
//	merge.mu         the batch of a merge and the writers it waits for
//	Machine.mu       names, slots, counts, events; held for no I/O
//
// No I/O is done under any of the last five but Machine.opening.
package userspace
