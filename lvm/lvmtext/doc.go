// Package lvmtext is LVM2's text format as a tree that forgets nothing: what
// is not edited prints byte for byte as it was read.
//
//	root
//	 └ vg {                              section: head, items, tail
//	     id = "iql4DZ-…"                 value: lead, key, " = ", value, trail
//	     extent_size = 8192  # 4 MiB     (trail: the rest of the line)
//	                                     (lead: blank lines and comments before)
//	     logical_volumes {
//	     }
//	   }
//
// The grammar is libdm's (lvm2 2.03.40, libdm/libdm-config.c): values are
// "…" with \" and \\, '…' without escapes, decimal integers, floats, bare words,
// and arrays of these; # comments to the end of the line; a NUL ends the text
// (what follows it is kept and printed). Where libdm would take one of two
// entries of the same name, Parse refuses.
//
// lvm2 writes two flavours: raw, on disk, without indentation and with the
// header last; and file, in /etc/lvm/backup and archive, with tabs, comments and
// the header first. [Reflow] prints either.
//
// A tree may be read by several goroutines at once, but not while one edits it.
package lvmtext
