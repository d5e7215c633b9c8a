package thinmeta

import "sort"

const (
	nodeHeader   = 32
	flagInternal = 1
	flagLeaf     = 2
	maxDepth     = 16 // a tree of all blocks of the largest device has 5
)

// node is a block of a tree.
type node struct{ b []byte }

// roomFor is how many entries a node has with values of a size, a multiple of 3
// (dm-btree.c, calc_max_entries).
func roomFor(size int) int { return (BlockSize - nodeHeader) / (8 + size) / 3 * 3 }

// newNode is an empty node, with room for at most so many entries; 0: as many
// as there can be.
func newNode(flags uint32, size, most int) node {
	room := roomFor(size)
	if most > 0 {
		room = min(room, most)
	}
	n := node{make([]byte, BlockSize)}
	le.PutUint32(n.b[4:], flags)
	le.PutUint32(n.b[20:], uint32(room))
	le.PutUint32(n.b[24:], uint32(size))
	return n
}

func (n node) leaf() bool         { return le.Uint32(n.b[4:])&flagLeaf != 0 }
func (n node) len() int           { return int(le.Uint32(n.b[16:])) }
func (n node) setLen(l int)       { le.PutUint32(n.b[16:], uint32(l)) }
func (n node) room() int          { return int(le.Uint32(n.b[20:])) }
func (n node) size() int          { return int(le.Uint32(n.b[24:])) }
func (n node) full() bool         { return n.len() >= n.room() }
func (n node) least() int         { return n.room() / 3 } // entries, but in a root
func (n node) key(i int) uint64   { return le.Uint64(n.b[nodeHeader+8*i:]) }
func (n node) child(i int) uint64 { return le.Uint64(n.value(i)) }

func (n node) value(i int) []byte {
	at := nodeHeader + 8*n.room() + n.size()*i
	return n.b[at : at+n.size() : at+n.size()]
}

func (n node) setKey(i int, key uint64)  { le.PutUint64(n.b[nodeHeader+8*i:], key) }
func (n node) setChild(i int, nr uint64) { le.PutUint64(n.value(i), nr) }

// validate refuses a node whose entries are not all in it, or not in order.
// Everything else relies on that.
func (n node) validate(nr uint64) error {
	flags, l, room, size := le.Uint32(n.b[4:]), le.Uint32(n.b[16:]), le.Uint32(n.b[20:]), le.Uint32(n.b[24:])
	switch {
	case flags != flagInternal && flags != flagLeaf:
		return corrupt(nr, "flags of a node are %#x", flags)
	case size == 0 || size > BlockSize || room > BlockSize/8 || nodeHeader+(8+size)*room > BlockSize:
		return corrupt(nr, "a node has no room for %d values of %d bytes", room, size)
	case room == 0 || room%3 != 0:
		return corrupt(nr, "a node with room for %d entries", room)
	case l > room:
		return corrupt(nr, "%d entries in a node with room for %d", l, room)
	case flags == flagInternal && size != rootSize:
		return corrupt(nr, "values of an internal node have %d bytes", size)
	case flags == flagInternal && l == 0:
		return corrupt(nr, "an internal node is empty")
	}
	for i := 1; i < int(l); i++ {
		if n.key(i-1) >= n.key(i) {
			return corrupt(nr, "key %d follows %d", n.key(i), n.key(i-1))
		}
	}
	return nil
}

// search is the first entry whose key is not below a key.
func (n node) search(key uint64) int {
	return sort.Search(n.len(), func(i int) bool { return n.key(i) >= key })
}

// below is the entry of an internal node under which a key is; the first if it
// is before all.
func (n node) below(key uint64) int {
	i := n.search(key)
	if i == n.len() || n.key(i) != key && i > 0 {
		i--
	}
	return i
}

// node returns a node of a tree whose leaves have values of a size.
func (c *cache) node(nr uint64, size int) (node, error) {
	b, err := c.get(nr, nodeKind)
	if err != nil {
		return node{}, err
	}
	n := node{b}
	if n.leaf() && n.size() != size {
		return node{}, corrupt(nr, "values have %d bytes, want %d", n.size(), size)
	}
	return n, nil
}

// lookup finds the value of a key in a tree. It is not to be changed.
func (c *cache) lookup(root uint64, size int, key uint64) (value []byte, ok bool, err error) {
	nr := root
	for range maxDepth {
		n, err := c.node(nr, size)
		if err != nil {
			return nil, false, err
		}
		if n.leaf() {
			if i := n.search(key); i < n.len() && n.key(i) == key {
				return n.value(i), true, nil
			}
			return nil, false, nil
		}
		nr = n.child(n.below(key))
	}
	return nil, false, corrupt(root, "a tree more than %d nodes deep", maxDepth)
}
