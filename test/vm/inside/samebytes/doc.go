// Package samebytes shows that the kernel and the userspace machine use one
// format: a COW store that one filled is used, and merged, by the other.
package samebytes
