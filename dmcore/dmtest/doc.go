// Package dmtest says, as tests, what a [dmcore.Control] must do. [Run] is the
// same for every implementation; what differs comes in a [Lab].
//
// Beside it are wrappers of a Control for tests of what is built on one:
// [Trace] writes down the commands, [FailAt] fails the n-th, and [StopAt] stops
// the world before it, as if the process had died there.
package dmtest
