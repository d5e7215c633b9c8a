// Package engine is the daemon that keeps userspace devices alive: it answers
// device-mapper commands on one unix socket and serves the volumes over NBD on
// another. One engine serves a run directory; clients start it on demand.
//
//	cowhand ──▶ control.sock ──▶ session ─┐               ┌─▶ devices.json
//	cowhand ──▶              ──▶ session ─┼─▶ host ───────┤   (what was active and open)
//	                                      │    │  ▲       └─▶ Repair
//	QEMU ─────▶ nbd.sock ──▶ nbd.Server ──┘    ▼  └────────── Restore, at the start
//	                                      userspace.Machine ──▶ disks
//
// # Control protocol
//
// Lines of JSON, at most 16 MiB each:
//
//	{"id":7,"cmd":"resume","req":{"uuid":"LVM-…"}}  →  {"id":7,"reply":{"info":{…}}}
//	{"id":8,"cmd":"remove","req":{"name":"a"}}      →  {"id":8,"error":{"codes":["busy"],"text":"…"}}
//	{"id":9,"cmd":"wait","req":{…}}, {"id":9,"cmd":"cancel"}
//	{"id":10,"cmd":"engine"}  {"id":11,"cmd":"stop","force":true}
//
// Requests of a connection are carried out at the same time and answered in any
// order. A line that is no request ends the connection, after a response with
// id 0 that says why. Errors match on the client's side what they match
// here.
//
// # Who may connect
//
// control.sock: root and our own user. nbd.sock: the users of Config.NBDUsers
// too, QEMU's. File modes say so, and the kernel's word on the peer is checked.
// A client in turn believes an engine of root or of its own user only.
//
// # A client that dies with devices suspended
//
// A suspend belongs to the connection that asked for it last. When that ends,
// or has had devices suspended for longer than Config.SuspendLimit, and is then
// ended by us, its devices must flow again: a guest must not stay frozen. Which
// of its two tables a device should go on with depends on whether the client's
// metadata commit is on disk, so Config.Repair, which can read it, decides.
//
// Without an answer the inactive tables are dropped and the live ones resumed.
// The live table feeds every snapshot it fed before, and stands on nothing but
// extents that were allocated before: no acknowledged write is lost and no
// snapshot of earlier becomes wrong, whether the commit was made or not. The
// new table may stand on extents that the metadata calls free, if the commit
// was not made. If it was, the new snapshot is not fed from here on and shows
// later writes of its origin: the device is listed in Info.Torn until it gets
// another table, and the snapshot should be thrown away. The connection is
// ended before its devices are resumed, so that a client which was only slow
// learns of it: whoever gets dmcore.ErrUnavailable between commit and resume
// must take the snapshot for torn.
//
// # The death of an engine
//
//  1. Acknowledged and flushed writes are on disk: a flush is answered after
//     the sync of all that lies below.
//  2. devices.json is replaced before the answer to whatever changes a live
//     table, and before an NBD open is granted. A close is written soon after:
//     until then the file errs towards open, which delays a merge and no more.
//     While a connection has devices suspended, its changes are not written
//     before the last one is resumed; what is on disk decides until then.
//  3. The next engine gives the file to Config.Restore before its sockets are
//     there, and leaves the file alone until all is restored, so that a death
//     during the start changes nothing.
//  4. A device that was open stays open, for the client that will reconnect,
//     for Config.OpenGrace: it cannot be removed, and no merge takes it for
//     closed.
//  5. A device that was open and that Restore could not make is remembered on,
//     until it is made or the machine boots.
//  6. The sockets are replaced by rename; a client that tries meanwhile is
//     refused and tries again.
//
// The file is for the death of the engine, not of the machine: of another boot
// it is forgotten.
//
// # Locks of a run directory
//
//	start.lock    a client starting or stopping an engine
//	 └ change.lock   an engine on its way up or down
//	    └ engine.lock   an engine
//
// An engine that finds another waits until that is ready, or gone, before it
// says so: so the loser of a race can be told to dial.
package engine
