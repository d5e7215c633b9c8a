package thinmeta

import (
	"errors"
	"fmt"
	"math"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// maxProblems is how many problems a report holds; the rest is counted.
const maxProblems = 100

// Report is what [Check] found.
type Report struct {
	// Problems are why the metadata cannot be used as it is. Each matches
	// ErrCorrupt.
	Problems []error
	More     int // problems that were not kept

	// Leaks are blocks that are counted more often than they are referred to:
	// lost, but nothing is in danger.
	MetadataLeaks, DataLeaks uint64

	// Underfull are nodes with fewer entries than a third of their room. They
	// do no harm, but thin_check 0.9 refuses them.
	Underfull int

	// Miscounted are the sums of a space map that are not those of its bitmaps.
	// They guide the search for free blocks; thin_restore 0.9 leaves such.
	Miscounted int

	Devices int
	// Unseen says that damaged trees kept the counts from being checked.
	Unseen bool
}

// Err is nil if nothing was found, leaks aside.
func (r Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	return errors.Join(r.Problems...)
}

// Clean reports whether nothing was found, leaks included.
func (r Report) Clean() bool {
	return len(r.Problems) == 0 && r.MetadataLeaks == 0 && r.DataLeaks == 0
}

func (r *Report) problem(err error) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, err)
}

// Check reads all that the last committed transaction refers to, and compares
// the space maps with it, as thin_check does. Metadata that is not in use is as
// it was; that of a pool in use changes under it. The error is of the device;
// what it cannot read as metadata is in the report.
//
// It keeps in memory 24 bytes for each metadata block and 4 for each data block
// in use, or a small multiple where they lie scattered.
func Check(dev blockdev.Device) (Report, error) {
	r, err := Read(dev)
	if err != nil {
		if errors.Is(err, ErrCorrupt) {
			return Report{Problems: []error{err}, Unseen: true}, nil
		}
		return Report{}, err
	}
	c := checker{Reader: r, meta: counts{}, data: counts{}, seen: map[uint64]seen{}}
	c.run()
	return c.report, c.broken
}

type checker struct {
	*Reader
	report     Report
	broken     error // of the device
	meta, data counts
	seen       map[uint64]seen
}

// tree is what the values of a tree are.
type tree uint8

const (
	mappingTree tree = iota + 1
	topTree
	detailsTree
	dataIndexTree
	countTree
)

func (t tree) valueSize() int {
	return [...]int{mappingTree: mappingSize, topTree: rootSize, detailsTree: detailsSize, dataIndexTree: entrySize, countTree: countSize}[t]
}

// seen is a node that was visited, with all that is below it.
type seen struct {
	first, last uint64 // of its keys; first > last if there are none
	tree        tree
	values      uint32 // saturating
}

func (c *checker) run() {
	sb := c.sb
	c.meta.inc(0)
	c.report.Devices = c.devices(c.Reader)
	if sb.HeldRoot != 0 {
		c.meta.inc(sb.HeldRoot)
		held, err := c.Held()
		switch {
		case err == nil:
			c.devices(held)
		case c.found(err):
			c.report.Unseen = true
		}
	}
	dataIndex := c.dataIndex()
	dataCounts := c.countTree(sb.data)
	metaIndex := c.metaIndex()
	metaCounts := c.countTree(sb.meta)
	if c.broken != nil || c.report.Unseen {
		return
	}
	c.report.DataLeaks = c.compare("data", sb.data, dataIndex, dataCounts, c.data)
	c.report.MetadataLeaks = c.compare("metadata", sb.meta, metaIndex, metaCounts, c.meta)
}

// found puts an error into the report if it is of the metadata, and else keeps
// it as the device's.
func (c *checker) found(err error) bool {
	if errors.Is(err, ErrCorrupt) || errors.Is(err, dmcore.ErrNotSupported) {
		c.report.problem(err)
		return true
	}
	if c.broken == nil {
		c.broken = err
	}
	return false
}

// devices visits the trees of a transaction, live or held, and returns how many
// devices it has.
func (c *checker) devices(r *Reader) int {
	c.visitRoot(r.sb.details, detailsTree, func(uint64, []byte) {})
	c.visitRoot(r.sb.mappings, topTree, func(id uint64, value []byte) {
		c.visitRoot(le.Uint64(value), mappingTree, func(v uint64, value []byte) {
			if b := uint64(decodeMapping(value).Data); b < c.sb.data.blocks {
				c.data.inc(b)
			} else {
				c.report.problem(fmt.Errorf("thin device %d: block %d is mapped to %d of %d: %w", id, v, b, c.sb.data.blocks, ErrCorrupt))
			}
		})
	})
	if c.broken != nil || c.report.Unseen {
		return 0
	}
	devices, err := r.Devices()
	if err != nil {
		c.found(err)
	}
	details := map[uint64]Details{}
	for _, d := range devices {
		details[uint64(d.ID)] = d.Details
	}
	err = r.c.each(r.sb.mappings, rootSize, 0, func(id uint64, value []byte) bool {
		n := uint64(c.seen[le.Uint64(value)].values)
		d, ok := details[id]
		switch {
		case !ok:
			c.report.problem(fmt.Errorf("thin device %d: has mappings, but no details: %w", id, ErrCorrupt))
		case n != d.MappedBlocks && n != math.MaxUint32:
			c.report.problem(fmt.Errorf("thin device %d: %d blocks mapped, details say %d: %w", id, n, d.MappedBlocks, ErrCorrupt))
		}
		delete(details, id)
		return true
	})
	if err != nil {
		c.found(err)
	}
	for id := range details {
		c.report.problem(fmt.Errorf("thin device %d: has details, but no mappings: %w", id, ErrCorrupt))
	}
	return len(devices)
}

// visitRoot visits a tree. f gets the values that were not visited before.
func (c *checker) visitRoot(root uint64, t tree, f func(key uint64, value []byte)) seen {
	return c.visit(root, t, 0, math.MaxUint64, 0, f)
}

// visit counts a reference to a node, and looks into it the first time.
func (c *checker) visit(nr uint64, t tree, first, last uint64, depth int, f func(key uint64, value []byte)) seen {
	none := seen{first: 1, tree: t}
	if c.broken != nil {
		return none
	}
	if nr < c.c.blocks {
		c.meta.inc(nr)
	}
	s, again := c.seen[nr]
	if !again {
		s = c.look(nr, t, depth, f)
	}
	switch {
	case s.tree != t:
		c.unseen(corrupt(nr, "is a node of different trees"))
		return none
	case s.first <= s.last && (s.first < first || s.last > last):
		c.unseen(corrupt(nr, "keys %d to %d are not within %d to %d", s.first, s.last, first, last))
	case s.first > s.last && depth > 0 && !c.report.Unseen:
		c.unseen(corrupt(nr, "a node below another is empty"))
	}
	return s
}

func (c *checker) unseen(err error) {
	if c.found(err) {
		c.report.Unseen = true
	}
}

// look visits a node for the first time.
func (c *checker) look(nr uint64, t tree, depth int, f func(key uint64, value []byte)) seen {
	s := seen{first: 1, tree: t}
	c.seen[nr] = s // also while it is visited: a node below itself is empty, and so refused
	n, err := c.c.node(nr, t.valueSize())
	if err == nil && depth == maxDepth {
		err = corrupt(nr, "a tree more than %d nodes deep", maxDepth)
	}
	if err != nil {
		c.unseen(err)
		return s
	}
	l := n.len()
	if depth > 0 && l < n.least() {
		c.report.Underfull++
	}
	if l == 0 {
		return s
	}
	s.first, s.last = n.key(0), n.key(l-1)
	for i := range l {
		if n.leaf() {
			s.add(1)
			f(n.key(i), n.value(i))
			continue
		}
		last := uint64(math.MaxUint64)
		if i+1 < l {
			last = n.key(i+1) - 1
		}
		below := c.visit(n.child(i), t, n.key(i), last, depth+1, f)
		s.add(below.values)
		s.last = max(s.last, below.last)
	}
	c.seen[nr] = s
	return s
}

func (s *seen) add(n uint32) {
	s.values = uint32(min(uint64(s.values)+uint64(n), math.MaxUint32))
}

// dataIndex reads the index tree of the data space map.
func (c *checker) dataIndex() map[uint64]indexEntry {
	index := map[uint64]indexEntry{}
	c.visitRoot(c.sb.data.index, dataIndexTree, func(i uint64, value []byte) {
		index[i] = decodeIndexEntry(value)
		c.meta.inc(index[i].bitmap)
	})
	return index
}

// metaIndex reads the index block of the metadata space map.
func (c *checker) metaIndex() map[uint64]indexEntry {
	index := map[uint64]indexEntry{}
	nr := c.sb.meta.index
	b, err := c.c.get(nr, indexKind)
	if err != nil {
		c.unseen(err)
		return nil
	}
	c.meta.inc(nr)
	for i := range min(bitmaps(c.sb.meta.blocks), indexEntries) {
		e := decodeIndexEntry(b[indexHeader+i*entrySize:])
		index[i] = e
		c.meta.inc(e.bitmap)
	}
	return index
}

// bitmaps is how many bitmaps hold that many counts.
func bitmaps(blocks uint64) uint64 {
	n := blocks / perBitmap
	if blocks%perBitmap > 0 {
		n++
	}
	return n
}

// countTree reads the counts that are too large for a bitmap.
func (c *checker) countTree(root smRoot) map[uint64]uint32 {
	large := map[uint64]uint32{}
	c.visitRoot(root.counts, countTree, func(b uint64, value []byte) {
		large[b] = le.Uint32(value)
	})
	return large
}

// compare compares a space map with the references that were found.
func (c *checker) compare(what string, root smRoot, index map[uint64]indexEntry, large map[uint64]uint32, want counts) (leaks uint64) {
	bad := func(format string, args ...any) {
		c.report.problem(fmt.Errorf("thin metadata: space map of %s: %s: %w", what, fmt.Sprintf(format, args...), ErrCorrupt))
	}
	if n := bitmaps(root.blocks); uint64(len(index)) != n {
		bad("%d bitmaps for %d blocks, want %d", len(index), root.blocks, n)
		return 0
	}
	if what == "metadata" && root.blocks > c.c.blocks {
		bad("%d blocks on a device of %d", root.blocks, c.c.blocks)
	}
	used := uint64(0)
	largeSeen := 0
	twice := map[uint64]bool{}
	for i := range uint64(len(index)) {
		e, ok := index[i]
		if !ok {
			bad("no bitmap %d", i)
			return 0
		}
		if twice[e.bitmap] {
			bad("bitmap %d is in block %d, as another", i, e.bitmap)
			return 0
		}
		twice[e.bitmap] = true
		b, err := c.c.get(e.bitmap, bitmapKind)
		if err != nil {
			c.unseen(err)
			continue
		}
		n := min(root.blocks-i*perBitmap, perBitmap)
		usedHere := uint64(0)
		for j := range n {
			block := i*perBitmap + j
			got := bitmapGet(b, int(j))
			if got > maxInBitmap {
				if got, ok = large[block]; !ok || got <= maxInBitmap {
					bad("block %d: no count above %d in the tree", block, maxInBitmap)
				}
				largeSeen++
			}
			if got > 0 {
				usedHere++
			}
			switch w := want.get(block); {
			case got < w:
				bad("block %d: counted %d times, but referred to %d times", block, got, w)
			case got > w:
				leaks++
			}
		}
		used += usedHere
		// The kernel counts what is past the end of the last bitmap as free,
		// thin_restore 1.x does not.
		if free := uint64(e.free); free != perBitmap-usedHere && free != n-usedHere {
			c.report.Miscounted++
		}
	}
	if used != root.used {
		c.report.Miscounted++
	}
	if largeSeen != len(large) {
		bad("%d counts in the tree, but %d are in use", len(large), largeSeen)
	}
	for page, p := range want {
		for i, w := range p {
			if b := page*perPage + uint64(i); w > 0 && b >= root.blocks {
				bad("block %d of %d is referred to", b, root.blocks)
			}
		}
	}
	return leaks
}
