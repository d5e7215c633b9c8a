// Package rules compares what cowhand refuses, and what it does with groups and
// volumes that want special care, with what lvm2 does: the same commands by
// either program, on the same group in the same state, end with the same status,
// devices and metadata. What each says is logged.
package rules
