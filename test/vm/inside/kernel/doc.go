// Package kernel has the scenarios of package dmcore/kernel: the conformance
// suite on a real device mapper, and what only a real one can show.
package kernel
