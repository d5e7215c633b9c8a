package nbd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cowhand/dmcore/blockdev"
)

// TestStress has clients on sockets keep 32 requests of all kinds and sizes in
// flight each, to a device that is slow now and then; a reply that does not come
// ends it. COWHAND_STRESS says for how long (1 s).
func TestStress(t *testing.T) {
	length := time.Second
	if s := os.Getenv("COWHAND_STRESS"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	dev := newDevice(64 << 20)
	dev.setHook(func(uint16, int64) error {
		if rand.IntN(1000) == 0 {
			time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
		}
		return nil
	})
	socket := start(t, &Server{Exports: exports{"x": {dev: dev}}})
	end := time.Now().Add(length)
	var clients sync.WaitGroup
	for i := range 4 {
		c := dial(t, socket, "x", clientOptions{})
		clients.Go(func() {
			if err := stress(c, end); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	clients.Wait()
}

// stress keeps c busy until end.
func stress(c *client, end time.Time) error {
	const depth = 32
	var mu sync.Mutex
	asked := map[uint64]header{}
	room := make(chan struct{}, depth)
	sent := make(chan struct{})
	buf := make([]byte, requestSize+1<<20)
	go func() {
		defer close(sent)
		for cookie := uint64(1); time.Now().Before(end); cookie++ {
			room <- struct{}{}
			h := header{cookie: cookie, length: 512 << rand.IntN(12)}
			h.cmd = []uint16{cmdRead, cmdRead, cmdRead, cmdWrite, cmdWrite, cmdFlush, cmdBlockStatus, cmdWriteZeroes, cmdTrim}[rand.IntN(9)]
			if rand.IntN(2) == 0 {
				h.length = 4096
			}
			h.offset = rand.Uint64N((64<<20-uint64(h.length))/512+1) * 512
			n := requestSize
			switch h.cmd {
			case cmdFlush:
				h.offset, h.length = 0, 0
			case cmdWrite:
				h.flags = uint16(rand.IntN(8) / 7 * cmdFlagFUA)
				n += int(h.length)
			}
			mu.Lock()
			asked[cookie] = h
			mu.Unlock()
			appendRequest(buf[:0], h)
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	answer := func() error {
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		cookie, err := c.nextCookie()
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			return fmt.Errorf("no reply to %v: %w", asked, err)
		}
		h, ok := asked[cookie]
		delete(asked, cookie)
		if r, err := c.receive(make([]byte, h.length), h.offset); !ok || err != nil || r.err != 0 {
			return fmt.Errorf("reply to %+v, which was asked (%v): %v, %v", h, ok, r.err, err)
		}
		return nil
	}
	for {
		mu.Lock()
		left := len(asked)
		mu.Unlock()
		if left == 0 {
			select {
			case <-sent:
				return nil
			default:
				runtime.Gosched()
				continue
			}
		}
		if err := answer(); err != nil {
			c.Close()
			<-room
			return err
		}
		<-room
	}
}

// Whenever a client leaves, nothing of it stays open.
func TestNothingLeaks(t *testing.T) {
	dev := newDevice(1 << 20)
	var opened atomic.Int32
	socket := start(t, &Server{Exports: counting{exports{"x": {dev: dev}}, &opened}})
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	greeting := append([]byte{0, 0, 0, flagFixedNewstyle | flagNoZeroes}, option(optStructuredReply, nil)...)
	greeting = append(greeting, option(optSetMetaContext, metaOption("x", contextAllocation))...)
	greeting = append(greeting, option(optInfo, infoOption("x"))...)
	greeting = append(greeting, option(optGo, infoOption("x"))...)
	for _, h := range []header{{cmd: cmdRead, length: 4096}, {cmd: cmdFlush}, {cmd: cmdWrite, length: 8192}} {
		greeting = appendRequest(greeting, h)
	}
	greeting = append(greeting, make([]byte, 8192)...)
	before := open()
	for n := range len(greeting) {
		if n > 300 && n%61 != 0 {
			continue
		}
		nc, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		nc.Write(greeting[:n])
		if n%2 == 0 {
			nc.(*net.UnixConn).CloseWrite()
			nc.SetReadDeadline(time.Now().Add(10 * time.Second))
			for p := make([]byte, 4096); err == nil; {
				_, err = nc.Read(p)
			}
		}
		nc.Close()
	}
	deadline := time.Now().Add(10 * time.Second)
	for open() > before || dev.closed.Load() != opened.Load() {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors, %d before; opened %d times, closed %d times", open(), before, opened.Load(), dev.closed.Load())
		}
		runtime.Gosched()
	}
}

// counting counts what was opened.
type counting struct {
	exports
	opened *atomic.Int32
}

func (c counting) Open(ctx context.Context, name string, readOnly bool) (blockdev.Device, Export, error) {
	c.opened.Add(1)
	return c.exports.Open(ctx, name, readOnly)
}
