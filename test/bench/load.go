package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// load is what a client asks for: blocks at places, so many of them at a time.
type load struct {
	write bool
	block int
	depth int
	at    []int64
}

// speed is bytes by second, given how long the load took.
func (l load) speed(d time.Duration) float64 {
	return float64(len(l.at)) * float64(l.block) / d.Seconds()
}

const (
	small = 4 << 10
	large = 1 << 20
	apart = 64 << 10 // clusters of qcow2 and blocks of nbdkit's cow filter
)

// scattered is places of small blocks, each in an aligned 64 KiB of its own, so that the first
// write to it is the first touch for everybody.
func scattered(r *rand.Rand, size int64, n int) []int64 {
	at := make([]int64, n)
	for i, k := range r.Perm(int(size / apart))[:n] {
		at[i] = int64(k)*apart + r.Int64N(apart/small)*small
	}
	return at
}

// anywhere is places of small blocks, at random.
func anywhere(r *rand.Rand, size int64, n int) []int64 {
	at := make([]int64, n)
	for i := range at {
		at[i] = r.Int64N(size/small) * small
	}
	return at
}

// inOrder is places of large blocks, one after another from off on.
func inOrder(off int64, n int) []int64 {
	at := make([]int64, n)
	for i := range at {
		at[i] = off + int64(i)*large
	}
	return at
}

// shuffled is the same places in another order.
func shuffled(r *rand.Rand, at []int64) []int64 {
	at = slices.Clone(at)
	r.Shuffle(len(at), func(i, k int) { at[i], at[k] = at[k], at[i] })
	return at
}

// repeated is places out of at, n of them.
func repeated(r *rand.Rand, at []int64, n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = at[r.IntN(len(at))]
	}
	return out
}

// pattern is n bytes that neither compress nor are zero.
func pattern(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}
