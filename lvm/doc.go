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
// A thin pool is three volumes, and what is in it are numbers in the pool's
// metadata; a thin snapshot needs its origin no more than its origin needs it:
//
//	pool        [READ WRITE VISIBLE]   thin-pool                metadata = pool_tmeta, pool = pool_tdata
//	pool_tmeta  [READ WRITE]           striped
//	pool_tdata  [READ WRITE]           striped
//	t1          [READ WRITE VISIBLE]   thin                     thin_pool = pool, device_id = 1
//	ts1         [READ WRITE VISIBLE]   thin                     thin_pool = pool, device_id = 2, origin = t1
//
// Their devices share what is below them (see [VG.UnitDevices]); the pool's own is
// but the sign that it is active:
//
//	vg-t1    thin 1 ───┬─▶ vg-pool-tpool  thin-pool ──┬─▶ vg-pool_tmeta  linear ──▶ physical volumes
//	vg-ts1   thin 2 ───┤                              └─▶ vg-pool_tdata  linear ──▶ physical volumes
//	vg-pool  linear ───┘
//
// The pool's transaction_id, in the metadata and in the kernel, tells whether both
// know the same (see [VG.PendingThin]).
//
// The rules are those of lvm2 2.03.16 and Linux 6.1; what each is taken from is
// said where it is used.
package lvm
