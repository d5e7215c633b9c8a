package nbd

import (
	"net"
	"time"
)

// wire is the connection in the transmission phase: one at a time reads it, one
// at a time writes, and anybody may end that.
type wire interface {
	Read(p []byte) (int, error)
	// writev writes all of bufs, in one system call where that can be, and may
	// change what bufs holds.
	writev(bufs net.Buffers) error
	// deafen ends reading, now and for good; what is written still arrives.
	deafen()
	// Close ends all of it, also for who reads or writes at the time.
	Close() error
}

// polled is a connection that is waited for by the runtime, as any may be.
type polled struct {
	net.Conn
	vec net.Buffers // of whoever writes; here lest it is allocated each time
}

func (p *polled) writev(bufs net.Buffers) error {
	if len(bufs) == 1 {
		_, err := p.Write(bufs[0])
		return err
	}
	p.vec = bufs
	_, err := p.vec.WriteTo(p.Conn)
	return err
}

func (p *polled) deafen() { p.SetReadDeadline(time.Unix(1, 0)) }
