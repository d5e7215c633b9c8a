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
// A thin device, as lvm2 makes them, and the way of a write that needs a new block:
//
//	thin ─▶ gate of the pool ─▶ blocks of the device, alone
//	          │                    ├─1─ allocate ──────▶ metadata, in memory
//	          │                    ├─2─ copy or zero ──▶ data
//	          │                    └─3─ map, commit ───▶ sync data ─▶ metadata
//	          └ shut while the pool is suspended; what waits for room waits outside
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
// A new block of a thin device is durable when the write is acknowledged, mapping and
// all: a mapping that were in memory only, as the kernel has it, would die with this
// process. It is mapped only after its data is durable, so that nobody sees what lay
// there before. A block that is let go is allocated again only after that is
// committed, and discarded below only then. A discard is committed within a second,
// by the next sync, or with the next write that needs a block.
//
// # Locks
//
// In the order in which they are taken. I/O takes the gates and what is below
// them, commands the rest:
//
//	device.ctl       a command that changes the device; held over I/O and waiting.
//	                 Of two devices at once only from a table down to what it gives back.
//	gate             (shared) I/O, from above to below; closed by suspend
//	thinDevice.blocks
//	                 blocks of a thin device: shared to read or overwrite them where
//	                 they are, alone to change where that is; one run at a time, and
//	                 held over the I/O of data
//	thinPool.inRow   the blocks of one write are allocated in a row
//	thinPool.tx      commits and the mode of a pool; held over their I/O, not over
//	                 that of data. thinmeta's locks come after it.
//	origin.io        shared: a write on its way to the origin, a batch of a merge;
//	                 exclusive: to change which snapshots are owed copies
//	Machine.opening  opening and closing backings
//	origins.mu       which snapshots exist, and who hands over to whom
//	exceptions.mu    the queue of a store
//	merge.mu         the batch of a merge and the writers it waits for
//	pools.mu         which pools there are and what targets they have
//	thinPool.mu      the mode, the queue of mappings, who waits for room
//	Machine.mu       names, slots, counts, events; held for no I/O
//
// No I/O is done under any of the last seven but Machine.opening.
package userspace
