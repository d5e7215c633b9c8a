// Package twin compares what cowhand makes on the kernel's device mapper with
// what lvm2 makes: the same commands by either program, each on a group and disk
// of its own, have to give the same reports, devices, tables and links. And it
// has both work on one group, in turns.
package twin
