// Package nbd serves any [blockdev.Device] over the network block device
// protocol: fixed newstyle negotiation, simple and structured replies, block
// status, multi-conn.
//
//	client                          server
//	  │ ◀── NBDMAGIC IHAVEOPT flags ──│
//	  │ ─── client flags ───────────▶ │
//	  │ ─── IHAVEOPT option len … ──▶ │  haggling: LIST INFO STRUCTURED_REPLY
//	  │ ◀── magic option reply len … ─│            LIST/SET_META_CONTEXT ABORT …
//	  │ ─── GO name (EXPORT_NAME) ──▶ │
//	  │ ◀── size, flags, block sizes ─│  the export is open from here on
//	  │ ─── request [payload] ──────▶ │  transmission: any number in flight,
//	  │ ◀── reply [payload] ──────────│  answered in any order
//	  │ ─── DISC, or hang up ───────▶ │  in-flight requests end, the export is closed
//
// One goroutine reads a connection. What the device does at once it does
// itself, and it sends the replies when it has no more requests at hand; the
// rest goes to workers. A request that turns out to take long costs the others
// nothing: a deputy takes over the reading.
//
//	         ┌────────── inline: small reads and writes of a quick device ──┐
//	socket ─▶ input ─▶ header ─▶ check ─▶ limits                            ├─▶ outbox ─▶ socket
//	         └────────── workers: flush, FUA, trim, zeroes, status, large ──┘
//
// Who reads or writes a unix socket sleeps in the system call and not in the
// runtime's poller (see socket): each connection holds a thread.
//
// The protocol is doc/proto.md of the NetworkBlockDevice/nbd repository, at
// commit 89ba7b5379.
package nbd
