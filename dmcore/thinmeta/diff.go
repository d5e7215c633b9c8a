package thinmeta

import (
	"fmt"
	"iter"
)

// Side tells where a block is mapped that two thin devices do not share.
type Side int

const (
	LeftOnly Side = iota + 1
	RightOnly
	Different // in both, to different blocks of the pool
)

func (s Side) String() string {
	switch s {
	case LeftOnly:
		return "left only"
	case RightOnly:
		return "right only"
	case Different:
		return "different"
	}
	return fmt.Sprintf("Side(%d)", int(s))
}

// Change is blocks in which two thin devices differ. Where they are in the pool
// is told by Mappings.
type Change struct {
	Begin  VBlock
	Length uint64
	Side   Side
}

// Diff walks what differs between two thin devices, in order. It reads only the
// parts of their trees that they do not share, so that between a device and its
// snapshot it costs as much as was changed. It stops at an error.
func (r *Reader) Diff(left, right uint32) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		var run Change
		err := r.diff(left, right, func(v VBlock, s Side) bool {
			if run.Length > 0 && run.Side == s && v == run.Begin+VBlock(run.Length) {
				run.Length++
				return true
			}
			last := run
			run = Change{v, 1, s}
			if last.Length > 0 && !yield(last, nil) {
				run.Length = 0
				return false
			}
			return true
		})
		if run.Length > 0 && !yield(run, nil) {
			return
		}
		if err != nil {
			yield(Change{}, err)
		}
	}
}

// diff calls f with each block in which two devices differ until it returns
// false.
func (r *Reader) diff(left, right uint32, f func(VBlock, Side) bool) error {
	var side [2]*cursor
	var root [2]uint64
	for i, id := range []uint32{left, right} {
		var err error
		if root[i], err = r.root(id); err != nil {
			return err
		}
		if side[i], err = newCursor(r.c, root[i], mappingSize, 0); err != nil {
			return err
		}
	}
	if root[0] == root[1] {
		return nil
	}
	for {
		more, err := diffStep(side[0], side[1], f)
		if !more || err != nil {
			return err
		}
	}
}

// diffStep goes on by one entry on one side or on both. Of two entries the one
// that may hold the lower key is looked into, of two with one key the one that
// is higher in its tree: so trees of different height meet where they are shared.
func diffStep(l, r *cursor, f func(VBlock, Side) bool) (more bool, err error) {
	ldone, rdone := l.done(), r.done()
	switch {
	case ldone && rdone:
		return false, nil
	case rdone || !ldone && l.key() < r.key():
		return diffOne(l, LeftOnly, f)
	case ldone || r.key() < l.key():
		return diffOne(r, RightOnly, f)
	case !l.leaf() && !r.leaf() && l.child() == r.child():
	case l.leaf() && r.leaf():
		if decodeMapping(l.value()).Data != decodeMapping(r.value()).Data && !f(VBlock(l.key()), Different) {
			return false, nil
		}
	case !l.leaf() && (r.leaf() || l.level() > r.level()):
		return true, l.descend(0)
	case !r.leaf() && (l.leaf() || r.level() > l.level()):
		return true, r.descend(0)
	default:
		if err := l.descend(0); err != nil {
			return false, err
		}
		return true, r.descend(0)
	}
	l.skip()
	r.skip()
	return true, nil
}

// diffOne goes on where one side is behind the other.
func diffOne(k *cursor, s Side, f func(VBlock, Side) bool) (more bool, err error) {
	if !k.leaf() {
		return true, k.descend(0)
	}
	more = f(VBlock(k.key()), s)
	k.skip()
	return more, nil
}
