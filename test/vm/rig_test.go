package vm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// rig is a VM whose power is cut, with a group vg0 in it whose volumes hold records.
type rig struct {
	*testing.T
	m   *Machine
	rng *rand.Rand
	may map[string]held
}

// held is what a volume may be found to hold: a newest record from least to most.
// One that maybe is there may as well not be.
type held struct {
	least, most uint64
	maybe       bool
}

func (h held) String() string {
	s := fmt.Sprintf("%d to %d", h.least, h.most)
	if h.maybe {
		s += ", or is not there"
	}
	return s
}

func newRig(t *testing.T, c Config) *rig {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("COWHAND_SEED=%d", seed)
	return &rig{T: t, m: Boot(t, c), rng: rand.New(rand.NewPCG(seed, 0)), may: map[string]held{}}
}

// lvm2 runs commands of lvm2's.
func (r *rig) lvm2(commands ...string) {
	r.Helper()
	for _, c := range commands {
		r.m.Must(strings.Fields(c)...)
	}
}

// words are a command line of cowhand's that tells its steps.
func (r *rig) words(command string) []string {
	return slices.Concat(cowhandLVM[:1], []string{"--verbose"}, cowhandLVM[1:], strings.Fields(command))
}

// do runs commands of cowhand's.
func (r *rig) do(commands ...string) {
	r.Helper()
	for _, c := range commands {
		r.m.Must(r.words(c)...)
	}
}

// heard is what a program says, by lines.
type heard struct {
	mu      sync.Mutex
	part    string
	last    string
	lines   int
	until   int // lines, when reached is closed
	reached chan struct{}
}

func newHeard(until int) *heard {
	h := &heard{until: until, reached: make(chan struct{})}
	if until <= 0 {
		close(h.reached)
	}
	return h
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.part += string(b)
	for {
		line, rest, whole := strings.Cut(h.part, "\n")
		if !whole {
			return len(b), nil
		}
		h.last, h.part = line, rest
		if h.lines++; h.lines == h.until {
			close(h.reached)
		}
	}
}

func (h *heard) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lines
}

// newest is the last line.
func (h *heard) newest() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// op is a change of the group, by several commands perhaps.
type op struct {
	name     string
	commands [][]string
	// begins notes what may be from the beginning of the first command on, ends what
	// is after the last.
	begins, ends func()
}

// all does the whole change.
func (r *rig) all(o op) {
	r.Helper()
	o.begins()
	for _, c := range o.commands {
		r.m.Must(c...)
	}
	o.ends()
}

// cutIn cuts the power while a change is under way, after some of the lines that it
// says; or after its end, if it says fewer.
func (r *rig) cutIn(o op, after int) {
	r.Helper()
	r.stopIn("the power is cut", o, after)
	if err := r.m.Cut(r.rng); err != nil {
		r.Fatal(err)
	}
}

// dieIn kills the process that makes a change, and its guardian with it.
func (r *rig) dieIn(o op, after int) {
	r.Helper()
	p := r.stopIn("who does it dies", o, after)
	if p == nil {
		return
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		r.Fatal(err)
	}
	<-p.done
}

// stopIn begins a change, and returns the process that makes it after some of the lines
// that it says, nil when all is done.
func (r *rig) stopIn(what string, o op, after int) *Process {
	r.Helper()
	o.begins()
	for i, c := range o.commands {
		h := newHeard(after)
		p, err := r.m.begin(h, c)
		if err != nil {
			r.Fatal(err)
		}
		select {
		case <-h.reached:
			r.Logf("%s in %s, command %d of %d, after %q", what, o.name, i+1, len(o.commands), h.newest())
			return p
		case <-p.done:
		}
		if _, err := p.Wait(r.Context()); err != nil {
			r.Fatal(err)
		}
		after -= h.count()
	}
	r.Logf("%s after %s", what, o.name)
	o.ends()
	return nil
}

// holds fails the test unless the volumes that are there are those that may be, and
// hold what they may. From then on they hold what they hold.
func (r *rig) holds(there []string) {
	r.Helper()
	now := map[string]held{}
	for _, lv := range there {
		if _, ok := r.may[lv]; !ok {
			r.Errorf("volume %s is there: nobody made it, or it was removed", lv)
		}
	}
	argv := []string{"/cowhand/bin/recorder", "read"}
	for _, lv := range there {
		argv = append(argv, "/dev/vg0/"+lv)
	}
	for line := range strings.Lines(r.m.Must(argv...)) {
		f := strings.Fields(line)
		lv := strings.TrimPrefix(f[0], "/dev/vg0/")
		n, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			r.Fatal(err)
		}
		if want := r.may[lv]; n < want.least || n > want.most {
			r.Errorf("volume %s holds record %d, want %s", lv, n, want)
		}
		now[lv] = held{least: n, most: n}
	}
	for lv, want := range r.may {
		if _, ok := now[lv]; !ok && !want.maybe {
			r.Errorf("volume %s is not there, want it with %s", lv, want)
		}
	}
	r.may = now
}

// widen notes that a volume may be there with some more records too, or not at all.
func (r *rig) widen(lv string, least, most uint64, maybe bool) {
	if h, ok := r.may[lv]; ok {
		least, most, maybe = min(least, h.least), max(most, h.most), maybe || h.maybe
	} else {
		maybe = true
	}
	r.may[lv] = held{least, most, maybe}
}

const anything = math.MaxUint64
