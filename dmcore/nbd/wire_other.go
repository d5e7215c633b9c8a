//go:build !linux

package nbd

import "net"

func newWire(nc net.Conn) wire { return &polled{Conn: nc} }
