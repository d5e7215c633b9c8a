package thinmeta

// open makes room for count entries before entry at.
func (n node) open(at, count int) {
	l := n.len()
	keys, values := n.b[nodeHeader:], n.b[nodeHeader+8*n.room():]
	copy(keys[8*(at+count):8*(l+count)], keys[8*at:8*l])
	size := n.size()
	copy(values[size*(at+count):size*(l+count)], values[size*at:size*l])
	n.setLen(l + count)
}

// cut takes count entries from entry at away.
func (n node) cut(at, count int) {
	l := n.len()
	keys, values := n.b[nodeHeader:], n.b[nodeHeader+8*n.room():]
	copy(keys[8*at:], keys[8*(at+count):8*l])
	size := n.size()
	copy(values[size*at:], values[size*(at+count):size*l])
	n.setLen(l - count)
}

// insert adds an entry before entry at.
func (n node) insert(at int, key uint64, value []byte) {
	n.open(at, 1)
	n.setKey(at, key)
	copy(n.value(at), value)
}

// take adds count entries of another node, from its entry from on, before entry
// at, and leaves them there.
func (n node) take(at int, src node, from, count int) {
	n.open(at, count)
	copy(n.b[nodeHeader+8*at:nodeHeader+8*(at+count)], src.b[nodeHeader+8*from:])
	size := n.size()
	copy(n.b[nodeHeader+8*n.room()+size*at:][:size*count], src.b[nodeHeader+8*src.room()+size*from:])
}

// shift moves entries between neighbours until the left one has leftLen.
func shift(left, right node, leftLen int) {
	switch l := left.len(); {
	case l < leftLen:
		left.take(l, right, 0, leftLen-l)
		right.cut(0, leftLen-l)
	case l > leftLen:
		right.take(0, left, leftLen, l-leftLen)
		left.cut(leftLen, l-leftLen)
	}
}
