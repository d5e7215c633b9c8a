package nbd

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// newWire takes over a connection that was negotiated. A unix socket is taken
// away from the runtime's poller and from nc, which is closed; if that fails, nc
// is used as it is.
func newWire(nc net.Conn) wire {
	u, ok := nc.(*net.UnixConn)
	if !ok {
		return &polled{Conn: nc}
	}
	s, err := newSocket(u)
	if err != nil {
		return &polled{Conn: nc}
	}
	nc.Close() // takes it out of the poller, whose threads would be woken with ours
	return s
}

// socket is a unix socket whose reader and writer each sleep in their system
// call, on a thread of their own as long as it lasts. The poller would have
// another thread wake up for every request and then pass it on, and with one
// request at a time that is most of the time it takes.
//
// Nothing but shutdown(2) wakes who sleeps there: there are no deadlines.
type socket struct {
	f    *os.File
	raw  syscall.RawConn // of f
	deaf atomic.Bool

	// Of whoever writes: what sendFunc, which is send, is called with and ends
	// with.
	iov      []syscall.Iovec
	err      error
	sendFunc func(fd uintptr) bool
}

func newSocket(u *net.UnixConn) (*socket, error) {
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd uintptr
	var errno syscall.Errno
	err = raw.Control(func(theirs uintptr) {
		fd, _, errno = syscall.Syscall(syscall.SYS_FCNTL, theirs, syscall.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, errno
	}
	// Blocking before it is a file: of those that are not the poller takes hold.
	if err := syscall.SetNonblock(int(fd), false); err != nil {
		syscall.Close(int(fd))
		return nil, err
	}
	s := &socket{f: os.NewFile(fd, "nbd client")}
	s.sendFunc = s.send
	s.raw, err = s.f.SyscallConn()
	return s, err
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.f.Read(p)
	if s.deaf.Load() { // shutdown leaves what was there before to be read
		return 0, os.ErrDeadlineExceeded
	}
	return n, err
}

func (s *socket) writev(bufs net.Buffers) error {
	s.iov = s.iov[:0]
	for _, b := range bufs {
		v := syscall.Iovec{Base: unsafe.SliceData(b)}
		v.SetLen(len(b))
		s.iov = append(s.iov, v)
	}
	err := s.raw.Write(s.sendFunc)
	clear(s.iov)
	if err == nil {
		err = s.err
	}
	return err
}

// send writes all of iov. It is a callback of RawConn, which keeps the
// descriptor open meanwhile.
func (s *socket) send(fd uintptr) bool {
	left := s.iov
	for s.err = nil; len(left) > 0; {
		n, _, errno := syscall.Syscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&left[0])), uintptr(len(left)))
		switch {
		case errno == syscall.EINTR:
		case errno != 0:
			s.err = os.NewSyscallError("writev", errno)
			return true
		case n == 0:
			s.err = io.ErrShortWrite
			return true
		default:
			left = sent(left, uint64(n))
		}
	}
	return true
}

// sent is what is left of iov when n bytes of it were written: a signal may have
// ended a write half-way.
func sent(iov []syscall.Iovec, n uint64) []syscall.Iovec {
	for len(iov) > 0 && uint64(iov[0].Len) <= n {
		n -= uint64(iov[0].Len)
		iov = iov[1:]
	}
	if n > 0 {
		iov[0].Base = (*byte)(unsafe.Add(unsafe.Pointer(iov[0].Base), n))
		iov[0].SetLen(int(uint64(iov[0].Len) - n))
	}
	return iov
}

func (s *socket) deafen() {
	s.deaf.Store(true)
	s.shutdown(syscall.SHUT_RD)
}

func (s *socket) Close() error {
	s.shutdown(syscall.SHUT_RDWR)
	return s.f.Close()
}

// shutdown fails only where there is nothing left to be shut down.
func (s *socket) shutdown(how int) {
	s.raw.Control(func(fd uintptr) { syscall.Shutdown(int(fd), how) })
}
