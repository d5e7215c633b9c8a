package thinmeta

import "math"

// cursor walks the entries of a tree in the order of their keys. What is below
// an entry has to be within its keys, so that a walk ends: no node is met twice.
type cursor struct {
	c     *cache
	size  int
	stack []frame
	tall  int // levels of nodes
}

// frame is a node on the way and where in it the way goes on. All its keys are
// to be at most last.
type frame struct {
	n    node
	i    int
	last uint64
}

// newCursor stands at the first entry under which a key of at least from may
// be, in the root of the tree.
func newCursor(c *cache, root uint64, size int, from uint64) (*cursor, error) {
	k := &cursor{c: c, size: size}
	for nr := root; ; k.tall++ {
		if k.tall == maxDepth {
			return nil, corrupt(root, "a tree more than %d nodes deep", maxDepth)
		}
		n, err := c.node(nr, size)
		if err != nil {
			return nil, err
		}
		if nr == root {
			k.stack = append(k.stack, frame{n, n.start(from), math.MaxUint64})
		}
		if n.leaf() {
			k.tall++
			return k, nil
		}
		nr = n.child(0)
	}
}

// start is the first entry under which a key of at least from may be.
func (n node) start(from uint64) int {
	if n.leaf() {
		return n.search(from)
	}
	return n.below(from)
}

func (k *cursor) top() *frame { return &k.stack[len(k.stack)-1] }

// level is how many nodes there are from the present entry down, that of the
// entry included, if the tree is as tall everywhere as in front.
func (k *cursor) level() int { return k.tall - len(k.stack) + 1 }

// done reports whether the cursor is past the last entry, and leaves nodes that
// are done.
func (k *cursor) done() bool {
	for len(k.stack) > 0 && k.top().i >= k.top().n.len() {
		k.stack = k.stack[:len(k.stack)-1]
		if len(k.stack) > 0 {
			k.top().i++
		}
	}
	return len(k.stack) == 0
}

// The present entry; done was false.
func (k *cursor) leaf() bool    { return k.top().n.leaf() }
func (k *cursor) key() uint64   { return k.top().n.key(k.top().i) }
func (k *cursor) value() []byte { return k.top().n.value(k.top().i) }
func (k *cursor) child() uint64 { return k.top().n.child(k.top().i) }

// skip goes past an entry and all that is below it.
func (k *cursor) skip() { k.top().i++ }

// descend goes into the node below an internal entry, to the first entry under
// which a key of at least from may be.
func (k *cursor) descend(from uint64) error {
	f := k.top()
	nr, first, last := k.child(), k.key(), f.last
	if f.i+1 < f.n.len() {
		last = f.n.key(f.i+1) - 1
	}
	if len(k.stack) == maxDepth {
		return corrupt(nr, "a tree more than %d nodes deep", maxDepth)
	}
	n, err := k.c.node(nr, k.size)
	if err != nil {
		return err
	}
	if err := n.within(nr, first, last); err != nil {
		return err
	}
	k.stack = append(k.stack, frame{n, n.start(from), last})
	return nil
}

// within refuses a node that is not a root and has keys of others.
func (n node) within(nr, first, last uint64) error {
	switch l := n.len(); {
	case l == 0:
		return corrupt(nr, "a node below another is empty")
	case n.key(0) < first || n.key(l-1) > last:
		return corrupt(nr, "keys %d to %d are not within %d to %d", n.key(0), n.key(l-1), first, last)
	}
	return nil
}

// next stands at the next value whose key is at least from; false if there is
// none.
func (k *cursor) next(from uint64) (bool, error) {
	for !k.done() {
		switch {
		case k.leaf() && k.key() >= from:
			return true, nil
		case k.leaf():
			k.skip()
		default:
			if err := k.descend(from); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// each calls f with the values of a tree from a key on, until it returns false.
func (c *cache) each(root uint64, size int, from uint64, f func(key uint64, value []byte) bool) error {
	k, err := newCursor(c, root, size, from)
	if err != nil {
		return err
	}
	for {
		ok, err := k.next(from)
		if !ok || err != nil || !f(k.key(), k.value()) {
			return err
		}
		k.skip()
	}
}

// last is the highest key of a tree.
func (c *cache) last(root uint64, size int) (key uint64, ok bool, err error) {
	nr := root
	for range maxDepth {
		n, err := c.node(nr, size)
		if err != nil {
			return 0, false, err
		}
		switch l := n.len(); {
		case l == 0:
			return 0, false, nil
		case n.leaf():
			return n.key(l - 1), true, nil
		default:
			nr = n.child(l - 1)
		}
	}
	return 0, false, corrupt(root, "a tree more than %d nodes deep", maxDepth)
}
