package nbd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestEveryOrder lets a connection meet everything that can happen to it in
// every order there is: the client's bytes arrive, the device ends what it was
// asked, the client takes a reply, or all of them take too long for a reader.
// Whatever the order, each request is answered once, and the reply is sent
// before the connection stands still.
//
//	run: wait until all stand still ─▶ what may happen next? ─▶ one of it ─▶ …
//	     the next run takes the last choice that had another possibility there
func TestEveryOrder(t *testing.T) {
	for _, tt := range []struct {
		script string // W write, R read, L large write, F flush, S status; a space is a pause, ' the payload's
		limit  int    // of requests
		slow   int32  // quick requests until the device counts as quick
		ticks  int    // how often it takes too long
	}{
		{"W R W", 64, 0, 1},
		{"WRF", 64, 0, 2},
		{"RW'R", 64, 0, 1},
		{"R FR", 2, 0, 2},
		{"WW F", 1, 0, 1},
		{"RSR", 64, 0, 2},
		{"R SRF", 2, 1, 1},
		{"L'RL", 2, 0, 1},
		{"RLF", 64, 0, 1},
		{"WR FS", 64, probation, 0},
		{"RR R", 2, 1, 1},
	} {
		t.Run(strings.ReplaceAll(tt.script, " ", "_"), func(t *testing.T) {
			t.Parallel()
			var choices choices
			for runs := 1; ; runs++ {
				synctest.Test(t, func(t *testing.T) {
					o := &order{T: t, limit: tt.limit, slow: tt.slow, ticks: tt.ticks, choices: &choices}
					o.run(tt.script)
				})
				if t.Failed() {
					t.Fatalf("run %d: %s", runs, choices.told)
				}
				if !choices.next() {
					t.Logf("%d orders", runs)
					return
				}
			}
		})
	}
}

// choices are the choices of a run: which one of how many.
type choices struct {
	taken, of []int
	told      []string
	at        int
}

// choose takes the next of the choices. What is possible may differ a little
// from the run before, because the order of what goes on at once is not ours.
func (c *choices) choose(events []event) event {
	if c.at == len(c.taken) {
		c.taken, c.of, c.told = append(c.taken, 0), append(c.of, 0), append(c.told, "")
	}
	i := min(c.taken[c.at], len(events)-1)
	c.taken[c.at], c.of[c.at], c.told[c.at] = i, len(events), events[i].name
	c.at++
	return events[i]
}

// next prepares the choices of the next run, if there is one.
func (c *choices) next() bool {
	c.at = 0
	for n := len(c.taken) - 1; n >= 0; n-- {
		if c.taken[n]++; c.taken[n] < c.of[n] {
			return true
		}
		c.taken, c.of, c.told = c.taken[:n], c.of[:n], c.told[:n]
	}
	return false
}

// order is one run. It is the client's end of the connection, too.
type order struct {
	*testing.T
	limit, ticks int
	slow         int32
	choices      *choices

	mu      sync.Mutex
	blocked []event
	sent    chan []byte
	rest    []byte
	got     bytes.Buffer

	net.Conn // what is not here is not needed
}

// event is something that waits for its time to happen.
type event struct {
	name string
	do   func()
}

// block waits until the run chooses that it goes on.
func (o *order) block(name string) {
	done := make(chan struct{})
	o.mu.Lock()
	o.blocked = append(o.blocked, event{name, func() { close(done) }})
	o.mu.Unlock()
	<-done
}

func (o *order) Read(p []byte) (int, error) {
	if len(o.rest) == 0 {
		b, ok := <-o.sent
		if !ok {
			return 0, io.EOF
		}
		o.rest = b
	}
	n := copy(p, o.rest)
	o.rest = o.rest[n:]
	return n, nil
}

func (o *order) Write(p []byte) (int, error) {
	o.block("send")
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.got.Write(p)
}

func (o *order) Close() error { return nil }

func (o *order) run(script string) {
	o.sent = make(chan []byte, len(script)+1)
	dev := newDevice(1 << 20)
	dev.setHook(func(cmd uint16, off int64) error { o.block(fmt.Sprint("end ", cmd, off)); return nil })
	x := &export{dev: dev, mapper: dev, size: 1 << 20, minBlock: 512, structured: true, meta: true}
	c := newConn(&Server{MaxRequests: o.limit}, o.Context(), &polled{Conn: o}, newInput(o), x)
	c.slow.Store(o.slow)
	served := make(chan error, 1)
	go func() { served <- c.serve() }()

	pieces := orderScript(script)
	var asked []header
	for {
		synctest.Wait()
		if len(o.blocked) == 0 {
			o.answered(asked)
		}
		events := o.possible(&pieces, &asked)
		if len(events) == 0 {
			break
		}
		o.choices.choose(events).do()
	}
	close(o.sent)
	if err := <-served; !errors.Is(err, io.EOF) {
		o.Errorf("served: %v", err)
	}
}

// possible tells what may happen next.
func (o *order) possible(pieces *[]piece, asked *[]header) []event {
	o.mu.Lock()
	defer o.mu.Unlock()
	events := make([]event, 0, len(o.blocked)+2)
	slices.SortFunc(o.blocked, func(a, b event) int { return strings.Compare(a.name, b.name) })
	for i, s := range o.blocked {
		events = append(events, event{s.name, func() {
			o.blocked = append(o.blocked[:i:i], o.blocked[i+1:]...)
			s.do()
		}})
	}
	if o.ticks > 0 && len(events) > 0 {
		events = append(events, event{"tick", func() {
			o.ticks--
			time.Sleep(3 * patience)
		}})
	}
	if len(*pieces) > 0 {
		events = append(events, event{"arrive", func() {
			o.sent <- (*pieces)[0].b
			*asked = append(*asked, (*pieces)[0].whole...)
			*pieces = (*pieces)[1:]
		}})
	}
	return events
}

// answered compares the replies with what was asked.
func (o *order) answered(asked []header) {
	c := &client{r: bufio.NewReader(bytes.NewReader(o.got.Bytes())), structured: true}
	left := map[uint64]header{}
	for _, h := range asked {
		left[h.cookie] = h
	}
	for range asked {
		cookie, err := c.nextCookie()
		if err != nil {
			o.Errorf("no reply to %v", left)
			return
		}
		h, ok := left[cookie]
		r, err := c.receive(make([]byte, h.length), h.offset)
		if !ok || err != nil || r.err != 0 {
			o.Errorf("reply to %d, which was asked (%v): %v, %v", cookie, ok, r.err, err)
			return
		}
		delete(left, cookie)
	}
	if n, _ := io.Copy(io.Discard, c.r); n > 0 {
		o.Errorf("%d bytes more than was asked for", n)
	}
}

// piece is what arrives at a time, and which requests are whole with it.
type piece struct {
	b     []byte
	whole []header
}

// orderScript makes requests of a script, in the pieces in which they arrive.
func orderScript(script string) (pieces []piece) {
	pieces = []piece{{}}
	var h header
	var payload []byte
	for _, r := range script {
		last := &pieces[len(pieces)-1]
		switch r {
		case '\'':
			last.b = last.b[:len(last.b)-len(payload)]
			last.whole = last.whole[:len(last.whole)-1]
			pieces = append(pieces, piece{payload, []header{h}})
			continue
		case ' ':
			pieces = append(pieces, piece{})
			continue
		}
		h = header{cookie: h.cookie + 1, offset: h.cookie << 17, length: 512}
		payload = nil
		switch r {
		case 'W':
			h.cmd, payload = cmdWrite, make([]byte, h.length)
		case 'L':
			h.cmd, h.length = cmdWrite, inlineMax+512
			payload = make([]byte, h.length)
		case 'R':
			h.cmd = cmdRead
		case 'S':
			h.cmd = cmdBlockStatus
		case 'F':
			h.cmd, h.offset, h.length = cmdFlush, 0, 0
		}
		last.b = append(appendRequest(last.b, h), payload...)
		last.whole = append(last.whole, h)
	}
	return pieces
}
