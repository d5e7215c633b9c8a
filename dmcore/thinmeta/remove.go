package thinmeta

// remove takes the keys from first to last out of a tree, and returns the new
// root and how many they were.
func (p *Pool) remove(root uint64, vs *values, first, last uint64) (newRoot, n uint64, err error) {
	for {
		k, err := newCursor(p.c, root, vs.size, first)
		if err != nil {
			return 0, 0, err
		}
		ok, err := k.next(first)
		if err != nil {
			return 0, 0, err
		}
		if !ok || k.key() > last {
			return root, n, nil
		}
		first = k.key()
		var removed int
		if root, removed, err = p.removeSome(root, vs, first, last, 0); err != nil {
			return 0, 0, err
		}
		n += uint64(removed)
		if root, err = p.lower(root, vs); err != nil {
			return 0, 0, err
		}
		if err := p.relieve(); err != nil {
			return 0, 0, err
		}
	}
}

// lower takes roots with one child away, or with none.
func (p *Pool) lower(root uint64, vs *values) (uint64, error) {
	for {
		n, err := p.c.node(root, vs.size)
		if err != nil || n.leaf() || n.len() > 1 {
			return root, err
		}
		if err := p.meta.dec(root); err != nil {
			return 0, err
		}
		if n.len() == 0 {
			return p.addTree(vs)
		}
		root = n.child(0)
	}
}

// removeSome takes the keys from first, which is there, to last out of the leaf
// that first is in.
func (p *Pool) removeSome(nr uint64, vs *values, first, last uint64, depth int) (to uint64, removed int, err error) {
	if depth == maxDepth {
		return 0, 0, corrupt(nr, "a tree more than %d nodes deep", maxDepth)
	}
	to, n, err := p.shadowNode(nr, vs)
	if err != nil {
		return 0, 0, err
	}
	if n.leaf() {
		i, j := n.search(first), n.len()
		if last+1 > last {
			j = n.search(last + 1)
		}
		for e := i; e < j && vs.dec != nil; e++ {
			if err := vs.dec(p, n.value(e)); err != nil {
				return 0, 0, err
			}
		}
		n.cut(i, j-i)
		return to, j - i, nil
	}
	i := n.below(first)
	child, err := p.c.node(n.child(i), vs.size)
	if err != nil {
		return 0, 0, err
	}
	if l := child.len(); l > 0 && child.leaf() && child.key(0) >= first && child.key(l-1) <= last {
		// All of it goes; no need for a copy.
		if err := p.del(n.child(i), vs, depth); err != nil {
			return 0, 0, err
		}
		n.cut(i, 1)
		return to, l, nil
	}
	below, removed, err := p.removeSome(n.child(i), vs, first, last, depth+1)
	if err != nil {
		return 0, 0, err
	}
	n.setChild(i, below)
	return to, removed, p.mend(n, i, vs)
}

// mend gives a child that has lost entries enough of them: from a neighbour, or
// together with it.
func (p *Pool) mend(n node, i int, vs *values) error {
	child, err := p.c.node(n.child(i), vs.size)
	if err != nil {
		return err
	}
	if child.len() == 0 {
		err := p.meta.dec(n.child(i))
		n.cut(i, 1)
		return err
	}
	if child.len() >= child.least() || n.len() == 1 {
		return nil
	}
	if i > 0 {
		i--
	}
	_, left, err := p.neighbour(n, i, child, vs)
	if err != nil {
		return err
	}
	nr, right, err := p.neighbour(n, i+1, child, vs)
	if err != nil {
		return err
	}
	if total := left.len() + right.len(); total > 2*left.least() {
		shift(left, right, total/2)
		n.setKey(i+1, right.key(0))
		return nil
	}
	left.take(left.len(), right, 0, right.len())
	n.cut(i+1, 1)
	return p.meta.dec(nr)
}

// del lets a tree go: with it what nobody else refers to.
func (p *Pool) del(root uint64, vs *values, depth int) error {
	count, err := p.meta.count(root)
	if err != nil {
		return err
	}
	if count > 1 {
		return p.meta.dec(root)
	}
	if depth == maxDepth {
		return corrupt(root, "a tree more than %d nodes deep", maxDepth)
	}
	n, err := p.c.node(root, vs.size)
	if err != nil {
		return err
	}
	for i := range n.len() {
		switch {
		case !n.leaf():
			err = p.del(n.child(i), vs, depth+1)
		case vs.dec != nil:
			err = vs.dec(p, n.value(i))
		}
		if err != nil {
			return err
		}
	}
	if err := p.relieve(); err != nil {
		return err
	}
	return p.meta.dec(root)
}
