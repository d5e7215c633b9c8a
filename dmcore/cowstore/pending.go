package cowstore

// pending is the chunks that were allocated and are not committed yet. They are
// given out in ascending order and committed nearly so, which makes them a
// window over the chunks of the device.
type pending struct {
	first uint64 // the chunk of marks[0]
	marks []mark
	n     int // marks that are not none
}

// mark is how far a chunk of the window has come.
type mark uint8

const (
	none      mark = iota // not pending: metadata, or committed
	allocated             // its data may have been written
	settled               // its data is durable
	taken                 // named by the commit that is being checked
)

func (p *pending) at(chunk uint64) mark {
	if i := chunk - p.first; chunk >= p.first && i < uint64(len(p.marks)) {
		return p.marks[i]
	}
	return none
}

// below counts the pending chunks before one.
func (p *pending) below(chunk uint64) (n uint64) {
	for i, m := range p.marks {
		if p.first+uint64(i) >= chunk {
			break
		}
		if m != none {
			n++
		}
	}
	return n
}

// add appends a chunk behind all others.
func (p *pending) add(chunk uint64) {
	if p.n == 0 {
		p.first, p.marks = chunk, p.marks[:0]
	}
	for p.first+uint64(len(p.marks)) < chunk {
		p.marks = append(p.marks, none)
	}
	p.marks = append(p.marks, allocated)
	p.n++
}

// set changes the mark of a pending chunk; with none it is pending no more.
func (p *pending) set(chunk uint64, m mark) {
	p.marks[chunk-p.first] = m
	if m != none {
		return
	}
	p.n--
	gone := 0
	for gone < len(p.marks) && p.marks[gone] == none {
		gone++
	}
	p.first, p.marks = p.first+uint64(gone), p.marks[gone:]
}
