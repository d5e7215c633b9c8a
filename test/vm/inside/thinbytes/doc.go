// Package thinbytes holds dmcore/thinmeta against the kernel's thin pools: each
// takes over a pool that the other made and filled.
package thinbytes
