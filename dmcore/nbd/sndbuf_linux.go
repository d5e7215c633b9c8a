package nbd

import (
	"net"
	"syscall"
)

// enlargeSendBuffer makes the socket take a whole reply of the size clients
// like best (256 KiB), several of them even, without waiting for the client in
// between: a unix socket takes 208 KiB by default, with bookkeeping. More than
// net.core.wmem_max is for the privileged; less is slower and no error.
func enlargeSendBuffer(nc net.Conn) {
	c, ok := nc.(*net.UnixConn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		forced := false
		raw.Control(func(fd uintptr) {
			forced = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUFFORCE, sendBuffer) == nil
		})
		if forced {
			return
		}
	}
	c.SetWriteBuffer(sendBuffer)
}

const sendBuffer = 1 << 20
