// Package cowstore is the kernel's persistent exception store: the on-disk
// list of the chunks in which a snapshot differs from its origin.
//
// The COW device is cut into chunks. Chunk 0 is the header; from chunk 1 on, a
// metadata area of one chunk is followed by as many data chunks as it has room
// for exceptions, chunk bytes / 16 ("epa", 256 for 4 KiB):
//
//	0        1        2 … 257   258      259 … 514   515
//	┌────────┬────────┬─────────┬────────┬───────────┬────────┬──
//	│ header │ area 0 │ data    │ area 1 │ data      │ area 2 │ …
//	└────────┴────────┴─────────┴────────┴───────────┴────────┴──
//
//	header     0 "SnAp"   4 valid   8 version 1   12 chunk size in sectors
//	exception  0 chunk of the origin    8 chunk of the COW device   (16 bytes)
//
// All numbers are little-endian. An area is a list of exceptions in the order
// they were committed; a new chunk of 0 ends it, and a full area goes on in the
// next. There is no checksum, so everything rests on the order of writes:
//
//   - The data of an exception is durable before the exception is.
//   - What follows a list on disk is zero up to the end of its area, and the
//     next area is zeroed before this one becomes full. The exceptions written
//     in one commit thus appear as a whole, or as the first few of them.
//   - A merge takes exceptions from the end of the list; the areas after it are
//     empty before it stops being full.
//
// After a power cut the list is therefore the old one, the new one, or the new
// one cut short. What a torn write left behind the end of the list is zeroed
// before anything is appended.
//
// The format and the numbers in status lines are those of Linux 6.1,
// drivers/md/dm-snap-persistent.c. The kernel writes a whole area at each
// commit; this package writes the 4 KiB blocks that changed, to the same effect.
package cowstore
