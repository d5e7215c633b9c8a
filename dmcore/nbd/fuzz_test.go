package nbd

import (
	"context"
	"io"
	"net"
	"testing"
)

// Whatever a client sends, the server ends when the client does, has closed
// what it opened.
func FuzzConnection(f *testing.F) {
	const newstyle = flagFixedNewstyle | flagNoZeroes
	enter := script(newstyle, option(optStructuredReply, nil),
		option(optSetMetaContext, metaOption("x", contextAllocation)), option(optGo, infoOption("x", infoBlockSize)))
	requests := func(hs ...header) (b []byte) {
		for _, h := range hs {
			b = appendRequest(b, h)
			if h.cmd == cmdWrite {
				b = append(b, make([]byte, h.length)...)
			}
		}
		return b
	}
	f.Add(false, script(newstyle, option(optList, nil), option(optInfo, infoOption("x", 1, 2)), option(optAbort, nil)))
	f.Add(false, script(0, option(optExportName, []byte("x"))))
	f.Add(false, script(newstyle, option(optListMetaContext, metaOption("x"))))
	f.Add(true, requests(header{cmd: cmdRead, length: 4096}, header{cmd: cmdWrite, length: 512}, header{cmd: cmdDisc}))
	f.Add(true, requests(header{cmd: cmdFlush}, header{cmd: cmdTrim, length: 512}, header{cmd: cmdCache, length: 4096}))
	f.Add(true, requests(header{cmd: cmdWriteZeroes, flags: cmdFlagFastZero | cmdFlagNoHole, length: 4096}, header{cmd: cmdBlockStatus, length: 65536}))
	f.Add(true, requests(header{cmd: cmdWrite, length: 512, flags: 0xff}, header{cmd: cmdRead, offset: 1<<64 - 1, length: 1<<32 - 1}))
	f.Fuzz(func(t *testing.T, entered bool, in []byte) {
		if entered {
			in = append(enter[:len(enter):len(enter)], in...)
		}
		dev := newDevice(64 << 10)
		opened := counter{exports: exports{"x": {dev: dev}, "": {dev: plain{dev}, Export: Export{ReadOnly: true}}}}
		near, far := net.Pipe()
		served, read := make(chan struct{}), make(chan struct{})
		go func() {
			(&Server{Exports: &opened}).serveConn(t.Context(), context.Background(), far)
			close(served)
		}()
		go func() { io.Copy(io.Discard, near); close(read) }()
		near.Write(in)
		near.Close()
		<-served
		<-read
		if closed := int(dev.closed.Load()); closed != opened.n {
			t.Errorf("%d devices were opened, %d closed", opened.n, closed)
		}
	})
}
