package nbd

import (
	"math/bits"
	"sync"
)

// Payload buffers come in powers of two, so that one returned fits the next
// request of its kind.
const (
	minBufferBits = 12
	maxBufferBits = 26 // a sparse reply is its payload and chunk headers
)

// buffers lends payload buffers and takes them back.
type buffers struct {
	pools [maxBufferBits - minBufferBits + 1]sync.Pool
}

type buffer struct {
	b     []byte
	class int
}

// get lends a buffer of n bytes; its content is arbitrary.
func (p *buffers) get(n int) *buffer {
	class := max(bits.Len(uint(max(n, 1)-1))-minBufferBits, 0)
	if v := p.pools[class].Get(); v != nil {
		buf := v.(*buffer)
		buf.b = buf.b[:n]
		return buf
	}
	return &buffer{b: make([]byte, n, 1<<(class+minBufferBits)), class: class}
}

func (p *buffers) put(b *buffer) {
	if b != nil {
		p.pools[b.class].Put(b)
	}
}
