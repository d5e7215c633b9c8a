package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cowhand/dmcore"
)

// stopEngine has no engine left in dir at the end of the test, and tells what
// went wrong in those that were.
func stopEngine(t *testing.T, dir string) {
	t.Cleanup(func() {
		err := Stop(context.Background(), dir, true)
		if err != nil && !errors.Is(err, dmcore.ErrUnavailable) {
			t.Error(err)
		}
		log, err := os.ReadFile(filepath.Join(dir, logName))
		if err != nil {
			t.Error(err)
		}
		if t.Failed() || bytes.Contains(log, []byte("DATA RACE")) || bytes.Contains(log, []byte("goroutine ")) {
			t.Errorf("%s:\n%s", logName, log)
		}
	})
}

func TestStartOnDemand(t *testing.T) {
	dir := filepath.Join(shortDir(t), "deep", "run")
	stopEngine(t, dir)
	pids := make([]int, 8)
	var wg sync.WaitGroup
	for i := range pids {
		wg.Go(func() {
			if i%2 == 0 { // another process
				out, err := role("ensure", dir).Output()
				if err == nil {
					pids[i], err = strconv.Atoi(strings.TrimSpace(string(out)))
				}
				if err != nil {
					t.Errorf("%s: %v", out, err)
				}
				return
			}
			c, err := EnsureRunning(t.Context(), dir, func() *exec.Cmd { return role("serve", dir) })
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			info, err := c.Engine(t.Context())
			if err != nil {
				t.Error(err)
			}
			pids[i] = info.PID
		})
	}
	wg.Wait()
	for _, pid := range pids {
		if pid == 0 || pid != pids[0] {
			t.Fatalf("engines %v; want one", pids)
		}
	}
	if sid, err := getsid(pids[0]); err != nil || sid != pids[0] {
		t.Errorf("the engine is in session %d, %v; want its own, %d", sid, err, pids[0])
	}
	if err := Serve(t.Context(), Config{RunDir: dir, Open: openFile}); !errors.Is(err, ErrRunning) {
		t.Errorf("another engine: %v", err)
	}
}

func getsid(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return strconv.Atoi(strings.Fields(string(rest))[3])
}

func TestEngineThatDoesNotStart(t *testing.T) {
	dir := filepath.Join(shortDir(t), "run")
	for name, c := range map[string]struct {
		cmd  *exec.Cmd
		want string
	}{
		"reports":     {role("fail"), "pv0: no such disk"},
		"says naught": {role("mute"), "exit status 7"},
		"is missing":  {exec.Command("/no/such/engine"), "/no/such/engine"},
	} {
		_, err := EnsureRunning(t.Context(), dir, func() *exec.Cmd { return c.cmd })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	// One that takes too long is told to stop.
	ctx, cancel := context.WithCancel(t.Context())
	slow := role("slow")
	if _, err := EnsureRunning(ctx, dir, func() *exec.Cmd { cancel(); return slow }); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v", err)
	}
	// And the lock is free again.
	stopEngine(t, dir)
	c, err := EnsureRunning(t.Context(), dir, func() *exec.Cmd { return role("serve", dir) })
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// A client that comes while an engine stops gets the next one.
func TestStartWhileStopping(t *testing.T) {
	dir := filepath.Join(shortDir(t), "run")
	stopEngine(t, dir)
	start := func() *exec.Cmd { return role("serve", dir) }
	var last int
	for range 3 {
		c, err := EnsureRunning(t.Context(), dir, start)
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.Engine(t.Context())
		if err != nil || info.PID == last {
			t.Fatalf("engine %+v, %v; the last was %d", info, err, last)
		}
		last = info.PID
		if err := c.Shutdown(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// One that comes while an engine that was killed still has its lock, but answers no
// more, gets the next one, too.
func TestStartWhileDying(t *testing.T) {
	dir := filepath.Join(shortDir(t), "run")
	stopEngine(t, dir)
	if err := makeRunDir(dir); err != nil {
		t.Fatal(err)
	}
	gone, err := tryLockFile(filepath.Join(dir, engineLock))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, gone) // many starts fail in that time
	c, err := EnsureRunning(t.Context(), dir, func() *exec.Cmd { return role("serve", dir) })
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryLockFile(path); !errors.Is(err, ErrRunning) {
		t.Errorf("try: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := lockFile(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
	unlock()
	unlock, err = lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestURI(t *testing.T) {
	for _, c := range []struct{ dir, name, want string }{
		{"/run/cowhand", "vg0/root", "nbd+unix:///vg0/root?socket=/run/cowhand/nbd.sock"},
		{"/tmp/a b+c&d", "vg0/a+b_1.0", "nbd+unix:///vg0/a+b_1.0?socket=/tmp/a%20b%2Bc%26d/nbd.sock"},
		{"/tmp/ü?#%", "v g/l?v", "nbd+unix:///v%20g/l%3Fv?socket=/tmp/%C3%BC%3F%23%25/nbd.sock"},
	} {
		if got := URI(c.dir, c.name); got != c.want {
			t.Errorf("URI(%q, %q) = %s, want %s", c.dir, c.name, got, c.want)
		}
	}
}

// An engine is killed again and again while clients write and flush: what was
// acknowledged and flushed is there, and the devices are found as they were.
func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 0, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("COWHAND_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	dir := filepath.Join(shortDir(t), "run")
	stopEngine(t, dir)
	ensure := func() *Client {
		c, err := EnsureRunning(t.Context(), dir, func() *exec.Cmd { return role("serve", dir) })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	pv := disk(t, 4<<20)
	names := []string{"a", "b"}
	c := ensure()
	for i, n := range names {
		create(t, c, n, linear(pv, dmcore.Sectors(i)*2048, 2048))
	}
	writers := []*writer{{}, {}}
	for round := range 3 {
		info, err := c.Engine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range names {
			writers[i].nc = dialNBD(t, dir, "vg/"+n)
			if err := writers[i].check(); err != nil {
				t.Fatalf("round %d: %s: %v", round, n, err)
			}
		}
		flushed := make(chan struct{})
		var wg sync.WaitGroup
		for _, w := range writers {
			wg.Go(func() { w.write(flushed) })
		}
		for range 1 + rng.IntN(100) {
			<-flushed
		}
		if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		go func() { wg.Wait(); close(flushed) }()
		for range flushed {
		}
		c.Close()
		c = ensure()
		defer c.Close()
		info, err = c.Engine(t.Context())
		if err != nil || len(info.Open) != len(names) || !info.Open[0].Waiting || !info.Open[1].Waiting {
			t.Fatalf("round %d: engine %+v, %v; want both waiting for their clients", round, info, err)
		}
	}
	for i, n := range names {
		writers[i].nc = dialNBD(t, dir, "vg/"+n)
		if err := writers[i].check(); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
}

// writer fills a volume's blocks in turn with a counter.
type writer struct {
	nc               *nbdClient
	written, flushed uint64 // counters; a block holds the last one written to it
}

const writerBlock, writerBlocks = 4096, 256

// write writes and flushes until the connection ends.
func (w *writer) write(flushed chan<- struct{}) {
	b := make([]byte, writerBlock)
	next := w.flushed // what was not flushed is written again
	for {
		for range 3 {
			next++
			for i := 0; i < len(b); i += 8 {
				binary.BigEndian.PutUint64(b[i:], next)
			}
			w.written = max(w.written, next) // even unanswered it may be there
			if w.nc.write(b, int64(next%writerBlocks)*writerBlock) != nil {
				return
			}
		}
		if w.nc.flush() != nil {
			return
		}
		w.flushed = next
		flushed <- struct{}{}
	}
}

// check finds in each block the last flushed counter of that block or a later
// one that was written.
func (w *writer) check() error { return w.checkOver(0) }

// checkOver is check on blocks that were filled with old before.
func (w *writer) checkOver(old uint64) error {
	b := make([]byte, writerBlock)
	for block := range uint64(writerBlocks) {
		if err := w.nc.read(b, int64(block)*writerBlock); err != nil {
			return err
		}
		var least uint64
		if w.flushed >= block {
			least = w.flushed - (w.flushed-block)%writerBlocks
		}
		for i := 0; i < len(b); i += 8 {
			got := binary.BigEndian.Uint64(b[i:])
			if got == old && least == 0 {
				continue
			}
			if got < least || got > w.written || got%writerBlocks != block {
				return fmt.Errorf("block %d, byte %d: counter %d; flushed up to %d, written up to %d", block, i, got, w.flushed, w.written)
			}
		}
	}
	return nil
}

// ensured is a client of the engine in dir, which is started if it does not run.
func ensured(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := EnsureRunning(t.Context(), dir, func() *exec.Cmd { return role("serve", dir) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
