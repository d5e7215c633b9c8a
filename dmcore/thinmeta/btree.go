package thinmeta

import "bytes"

// values are what the leaves of a tree hold. A value that refers to something
// has inc, called for each copy of it, and dec, for each that goes.
type values struct {
	size     int
	inc, dec func(p *Pool, value []byte) error
}

var (
	indexValues   = &values{size: entrySize}
	countValues   = &values{size: countSize}
	detailsValues = &values{size: detailsSize}
	mappingValues = &values{
		size: mappingSize,
		inc:  func(p *Pool, v []byte) error { return p.data.inc(uint64(decodeMapping(v).Data)) },
		dec:  func(p *Pool, v []byte) error { return p.data.dec(uint64(decodeMapping(v).Data)) },
	}
	topValues = &values{
		size: rootSize,
		inc:  func(p *Pool, v []byte) error { return p.meta.inc(le.Uint64(v)) },
		dec:  func(p *Pool, v []byte) error { return p.del(le.Uint64(v), mappingValues, 0) },
	}
)

// shadow returns a block that may be changed in place of one that may not: the
// same, if nobody else refers to it and it was made in this transaction, or else
// a copy. The reference to nr becomes one to the copy.
func (p *Pool) shadow(nr uint64, k kind) (uint64, []byte, error) {
	to, b, _, err := p.copied(nr, k)
	return to, b, err
}

// copied is shadow, and tells whether others still refer to the block.
func (p *Pool) copied(nr uint64, k kind) (to uint64, b []byte, shared bool, err error) {
	n, err := p.meta.count(nr)
	if err != nil {
		return 0, nil, false, err
	}
	if _, fresh := p.fresh[nr]; fresh && n == 1 {
		b, err = p.c.own(nr, k)
		return nr, b, false, err
	}
	if b, err = p.c.get(nr, k); err != nil {
		return 0, nil, false, err
	}
	b = bytes.Clone(b)
	if to, err = p.add(k, b); err != nil {
		return 0, nil, false, err
	}
	return to, b, n > 1, p.meta.dec(nr)
}

// add allocates a metadata block.
func (p *Pool) add(k kind, b []byte) (uint64, error) {
	nr, err := p.meta.alloc()
	if err != nil {
		return 0, err
	}
	p.fresh[nr] = struct{}{}
	p.c.put(nr, k, b)
	return nr, nil
}

// dropped forgets a metadata block to which nothing refers any more.
func (p *Pool) dropped(nr uint64) {
	if _, ok := p.fresh[nr]; ok {
		delete(p.fresh, nr)
		p.c.drop(nr)
	}
}

// shadowNode is shadow of a node. What it refers to is referred to by the copy
// too.
func (p *Pool) shadowNode(nr uint64, vs *values) (uint64, node, error) {
	if _, err := p.c.node(nr, vs.size); err != nil {
		return 0, node{}, err
	}
	to, b, shared, err := p.copied(nr, nodeKind)
	if err != nil {
		return 0, node{}, err
	}
	n := node{b}
	if !shared {
		return to, n, nil
	}
	for i := range n.len() {
		switch {
		case !n.leaf():
			err = p.meta.inc(n.child(i))
		case vs.inc != nil:
			err = vs.inc(p, n.value(i))
		}
		if err != nil {
			return 0, node{}, err
		}
	}
	return to, n, nil
}

// addTree allocates an empty tree.
func (p *Pool) addTree(vs *values) (uint64, error) {
	return p.add(nodeKind, newNode(flagLeaf, vs.size, p.room).b)
}

// edit returns the value of a key that is in a tree, to be changed in place, and
// the new root.
func (p *Pool) edit(root uint64, vs *values, key uint64) (newRoot uint64, value []byte, err error) {
	newRoot, n, err := p.shadowNode(root, vs)
	for depth := 0; err == nil; depth++ {
		if n.leaf() {
			if i := n.search(key); i < n.len() && n.key(i) == key {
				return newRoot, n.value(i), nil
			}
			return 0, nil, corrupt(root, "no key %d", key)
		}
		if depth == maxDepth {
			return 0, nil, corrupt(root, "a tree more than %d nodes deep", maxDepth)
		}
		_, n, err = p.step(n, n.below(key), vs)
	}
	return 0, nil, err
}

// step goes down to a child that may be changed.
func (p *Pool) step(n node, i int, vs *values) (uint64, node, error) {
	nr, child, err := p.shadowNode(n.child(i), vs)
	if err == nil {
		n.setChild(i, nr)
	}
	return nr, child, err
}

// insert sets the value of a key, and returns the new root and the value that
// was there before, for the caller to count. Nodes that are full get room on the
// way down.
func (p *Pool) insert(root uint64, vs *values, key uint64, value []byte) (newRoot uint64, old []byte, err error) {
	newRoot, n, err := p.shadowNode(root, vs)
	if err != nil {
		return 0, nil, err
	}
	if n.cramped(key) {
		above := newNode(flagInternal, rootSize, p.room)
		above.insert(0, n.key(0), le.AppendUint64(nil, newRoot))
		if newRoot, err = p.add(nodeKind, above.b); err != nil {
			return 0, nil, err
		}
		if err := p.makeRoom(above, 0, n, vs, key); err != nil {
			return 0, nil, err
		}
		n = above
	}
	for depth := 0; !n.leaf(); depth++ {
		if depth == maxDepth {
			return 0, nil, corrupt(root, "a tree more than %d nodes deep", maxDepth)
		}
		i := n.below(key)
		if key < n.key(i) {
			n.setKey(i, key)
		}
		_, child, err := p.step(n, i, vs)
		if err != nil {
			return 0, nil, err
		}
		if child.cramped(key) {
			if err := p.makeRoom(n, i, child, vs, key); err != nil {
				return 0, nil, err
			}
			if _, child, err = p.step(n, n.below(key), vs); err != nil {
				return 0, nil, err
			}
		}
		n = child
	}
	i := n.search(key)
	if i < n.len() && n.key(i) == key {
		old = bytes.Clone(n.value(i))
		copy(n.value(i), value)
		return newRoot, old, nil
	}
	n.insert(i, key, value)
	return newRoot, nil, nil
}

// cramped reports whether an entry for a key, or for a node split below, has no
// room in a node.
func (n node) cramped(key uint64) bool {
	if !n.full() {
		return false
	}
	i := n.search(key)
	return !n.leaf() || i == n.len() || n.key(i) != key
}

// enough is how much room a neighbour has to have for it to be worth while. Of 1
// entry, half is none.
func (n node) enough() int { return max(2, n.room()/32) }

// makeRoom gives a full child of a node that is not full room for a key: entries
// move to a neighbour, or to a new node. Where keys are added in order, nodes
// are left full behind.
func (p *Pool) makeRoom(n node, i int, child node, vs *values, key uint64) error {
	appends := i == n.len()-1 && key > child.key(child.len()-1)
	if i > 0 {
		_, left, err := p.neighbour(n, i-1, child, vs)
		if err != nil {
			return err
		}
		if free := left.room() - left.len(); free >= left.enough() {
			to := (left.len() + child.len()) / 2
			if appends {
				to = left.len() + min(free, child.len()-child.least())
			}
			shift(left, child, to)
			n.setKey(i, child.key(0))
			return nil
		}
	}
	if i+1 < n.len() {
		_, right, err := p.neighbour(n, i+1, child, vs)
		if err != nil {
			return err
		}
		if right.room()-right.len() >= right.enough() {
			shift(child, right, (child.len()+right.len())/2)
			n.setKey(i+1, right.key(0))
			return nil
		}
	}
	right := node{make([]byte, BlockSize)}
	copy(right.b, child.b[:nodeHeader])
	right.setLen(0)
	nr, err := p.add(nodeKind, right.b)
	if err != nil {
		return err
	}
	to := child.len() / 2
	if appends {
		to = child.len() - child.least()
	}
	shift(child, right, to)
	n.insert(i+1, right.key(0), le.AppendUint64(nil, nr))
	return nil
}

// neighbour is step to a child that is to exchange entries with another.
func (p *Pool) neighbour(n node, i int, child node, vs *values) (uint64, node, error) {
	nr := n.child(i)
	if other, err := p.c.node(nr, vs.size); err != nil {
		return 0, node{}, err
	} else if other.leaf() != child.leaf() || other.room() != child.room() {
		return 0, node{}, corrupt(nr, "is not like its neighbours")
	}
	return p.step(n, i, vs)
}
