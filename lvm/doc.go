// Package lvm is LVM2's volume groups: as values that are parsed, changed,
// checked and printed without touching the world, and the store and engine that
// carry the changes out.
//
// A snapshot is two volumes, tied together by the helper's only segment; the
// origin's metadata does not mention it:
//
//	root       [READ WRITE VISIBLE]   striped                  the origin
//	nightly    [READ WRITE]           striped                  the COW volume, named as the snapshot
//	snapshot0  [READ WRITE VISIBLE]   snapshot                 the helper, never a device
//	                                  origin = root
//	                                  cow_store = nightly      merging_store, and no VISIBLE, while it merges
//
// Mapped, they are four devices (see [VG.Activations]):
//
//	vg-root     snapshot-origin ──┬─▶ vg-root-real    linear ──▶ physical volumes
//	vg-nightly  snapshot ─────────┴─▶ vg-nightly-cow  linear ──▶ physical volumes
//
// The rules are those of lvm2 2.03.16 and Linux 6.1; what each is taken from is
// said where it is used.
package lvm
