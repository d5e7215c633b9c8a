package engine

import (
	"bytes"
	"path/filepath"
	"syscall"
	"testing"

	"cowhand/dmcore"
)

// A thin device of an engine that is killed holds all that was acknowledged, also
// what nobody flushed: who writes to it goes on with the next engine, and does not
// write it again.
func TestKillWithThin(t *testing.T) {
	dir := filepath.Join(shortDir(t), "run")
	stopEngine(t, dir)
	ensure := func() *Client { return ensured(t, dir) }
	const blocks, block = 64, 64 << 10
	meta, data := disk(t, 1<<20), disk(t, blocks*block)
	conn := ensure()
	pool := create(t, conn, "pool", dmcore.Table{{Length: blocks * block / dmcore.SectorSize,
		Target: dmcore.ThinPool{Metadata: meta, Data: data, BlockSize: block / dmcore.SectorSize}}})
	if err := dmcore.NewClient(conn).SendThin(t.Context(), pool.UUID, dmcore.CreateThin(1)); err != nil {
		t.Fatal(err)
	}
	create(t, conn, "thin", dmcore.Table{{Length: blocks * block / dmcore.SectorSize,
		Target: dmcore.Thin{Pool: pool.Dev.Dev(), DeviceID: 1}}})

	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, 4096) }
	done := 0
	for round := range 3 {
		info, err := conn.Engine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		nc := dialNBD(t, dir, "vg/thin")
		for i := range done {
			got := make([]byte, 4096)
			if err := nc.read(got, place(i)); err != nil || !bytes.Equal(got, value(i)) {
				t.Fatalf("round %d: write %d is gone: %v", round, i, err)
			}
		}
		ended := make(chan int)
		many := make(chan struct{})
		go func() {
			i := done
			for ; nc.write(value(i), place(i)) == nil; i++ {
				if i == done+8 {
					close(many)
				}
				if i == blocks*16-1 {
					break
				}
			}
			ended <- i
		}()
		<-many
		if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		done = <-ended
		conn = ensure()
	}
	if done == 0 {
		t.Error("nothing was written")
	}
}

// place scatters pages over blocks.
func place(i int) int64 { return int64(i*17%1024) * 4096 }
