// Package thin holds cowhand's thin pools against lvm2's: what it would map is
// what lvm2 has mapped, either takes over from the other, and messages that a
// crash kept from the kernel reach it.
package thin
