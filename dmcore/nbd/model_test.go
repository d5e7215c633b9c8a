package nbd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func seed(t *testing.T) uint64 {
	n := rand.Uint64()
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("COWHAND_SEED=%d", n)
	return n
}

// Several clients with several requests in flight each read what they wrote,
// from a device that is quick at times and slow at others.
func TestModel(t *testing.T) {
	seed := seed(t)
	inWorld(t, &Server{MaxRequests: 12}, func(w *world) {
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(seed, 0))
		slow := 0 // operations still to be slow
		w.dev.setHook(func(uint16, int64) error {
			mu.Lock()
			if rng.IntN(200) == 0 {
				slow = rng.IntN(50)
			}
			slow--
			var d time.Duration
			if slow > 0 {
				d = time.Duration(rng.IntN(5000)) * time.Microsecond
			}
			mu.Unlock()
			time.Sleep(d)
			return nil
		})
		const clients = 3
		var wg sync.WaitGroup
		for i := range clients {
			c := w.open()
			m := &model{client: c, rng: rand.New(rand.NewPCG(seed, uint64(i+1))), base: uint64(i) * modelSlots * modelSlot}
			wg.Go(func() {
				for round := range 60 {
					if err := m.round(); err != nil {
						t.Errorf("client %d, round %d: %v", i, round, err)
						break
					}
				}
				c.Close()
			})
		}
		wg.Wait()
		synctest.Wait()
	})
}

const (
	modelSlot  = 16 << 10
	modelSlots = 20
)

// model is a client and what its part of the device, divided into slots, holds.
type model struct {
	*client
	rng  *rand.Rand
	base uint64
	want [modelSlots][modelSlot]byte
}

type pending struct {
	header
	data []byte
	want []byte // of a READ
}

// round sends a request for each of some slots and takes the replies as they come.
func (m *model) round() error {
	var asks []*pending
	for _, slot := range m.rng.Perm(modelSlots)[:1+m.rng.IntN(modelSlots)] {
		asks = append(asks, m.ask(slot))
	}
	sent := make(chan struct{})
	first := m.cookie + 1
	go func() {
		for _, p := range asks {
			m.send(p.cmd, p.flags, p.offset, p.length, p.data)
		}
		close(sent)
	}()
	left := map[uint64]*pending{}
	for i, p := range asks {
		left[first+uint64(i)] = p
	}
	for len(left) > 0 {
		cookie, err := m.nextCookie()
		if err != nil {
			return err
		}
		p := left[cookie]
		if p == nil {
			return fmt.Errorf("reply to %d, which was not asked", cookie)
		}
		delete(left, cookie)
		got := bytes.Repeat([]byte{0xaa}, len(p.want))
		r, err := m.receive(got, p.offset)
		switch {
		case err != nil || r.err != 0:
			return fmt.Errorf("%+v: %v, %v", p.header, r.err, err)
		case !bytes.Equal(got, p.want):
			return fmt.Errorf("%+v: read something else than was written", p.header)
		}
	}
	<-sent
	return nil
}

// ask makes up a request for a part of a slot and does the same to the model.
func (m *model) ask(slot int) *pending {
	off := m.rng.IntN(modelSlot/512) * 512
	n := (1 + m.rng.IntN((modelSlot-off)/512)) * 512
	part := m.want[slot][off:][:n]
	p := &pending{header: header{offset: m.base + uint64(slot*modelSlot+off), length: uint32(n)}}
	switch m.rng.IntN(8) {
	case 0:
		p.cmd, p.flags = cmdWriteZeroes, uint16(m.rng.IntN(2))*cmdFlagNoHole
		clear(part)
	case 1:
		p.cmd, p.offset, p.length = cmdFlush, 0, 0
	case 2, 3, 4:
		p.cmd, p.flags = cmdWrite, uint16(m.rng.IntN(8)/7)*cmdFlagFUA
		for i := range part {
			part[i] = byte(m.rng.Uint32())
		}
		p.data = bytes.Clone(part)
	default:
		p.cmd, p.want = cmdRead, bytes.Clone(part)
	}
	return p
}

// nextCookie tells whose reply comes next; it is at one place in both kinds.
func (c *client) nextCookie() (uint64, error) {
	b, err := c.peek(simpleSize)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[8:]), nil
}
