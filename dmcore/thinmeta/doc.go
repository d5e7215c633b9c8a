// Package thinmeta is the kernel's dm-thin metadata: which block of a pool's
// data device holds which block of which thin device.
//
// The metadata device is cut into blocks of 4 KiB. Each block begins with a
// checksum, CRC-32C with a salt that tells the kinds of block apart, and knows
// its own number:
//
//	block 0         superblock
//	                  ├─ data mapping root ──▶ top tree:  device id ─▶ root of a
//	                  │                        mapping tree: block of the thin
//	                  │                        device ─▶ block of the pool, time
//	                  ├─ device details root ▶ details tree: device id ─▶ details
//	                  ├─ data space map ─────▶ index tree, bitmaps, count tree
//	                  ├─ metadata space map ─▶ index block, bitmaps, count tree
//	                  └─ held root ──────────▶ copy of an old superblock
//
//	superblock      0 csum   4 flags   8 number   16 uuid   32 magic   40 version   44 time
//	                48 transaction id   56 held root   64, 192 roots of the data's and
//	                the metadata's space map   320 mapping root   328 details root
//	                336 data block size   340 metadata block size   344 metadata blocks
//	                352, 356, 360 compatible, read-only compatible, incompatible flags
//	space map root  0 blocks   8 of them in use   16 index   24 count tree
//	node            0 csum   4 flags: 1 internal, 2 leaf   8 number   16 entries
//	                20 room for entries   24 bytes of a value   32 keys, then values
//	index block     0 csum   8 number   16 index entries, 255 of them
//	index entry     0 bitmap   8 free counts in it   12 none is free before
//	bitmap          0 csum   8 number   16 counts, 2 bits each: 0, 1, 2, or 3: look
//	                in the count tree. The lower bit is the higher digit.
//	details         0 mapped blocks   8 transaction id   16 time made   20 time of the
//	                last snapshot
//
// All numbers are little-endian. Trees share nodes and devices share blocks; the
// space maps count who refers to each. A snapshot is a second reference to the
// root of its origin's mapping tree.
//
// Nothing that the superblock on disk leads to is ever overwritten. A change
// copies the nodes on its way, to blocks that were free in the last transaction,
// and a commit makes all copies durable before it writes the superblock, whose
// used part is one sector. What a power cut leaves is thus the old transaction
// or the new one, space maps included.
//
// [Reader] looks at one transaction, [Check] finds what is wrong with it, and
// [Pool] changes it.
//
// Pool has two locks. The writer's is held for a whole change or commit, the
// state's only while what is in memory changes, so that lookups do not wait for
// the I/O of a commit. It is taken after the writer's.
//
// The format is that of Linux 6.1, drivers/md/dm-thin-metadata.c and
// drivers/md/persistent-data.
package thinmeta
