//go:build race

package nbd

// raceDetector says that sync.Pool forgets things on purpose.
const raceDetector = true
