// Package window kills a process that has devices suspended, at every step of its
// change, while somebody writes to the origin. The guardian must let the writer go
// on, with the volumes as they were or as they were to be.
package window
