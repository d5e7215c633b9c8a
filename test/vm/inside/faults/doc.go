// Package faults disturbs cowhand on the kernel's device mapper: disks that fail
// in the middle of a change, devices that are in use, a control node that is not
// there or not allowed, a disk that shrank. What comes of it is a clear error,
// metadata that is old or new, and nothing that stays suspended.
package faults
