package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cowhand/dmcore"
)

// tool skips the test where a program is not installed.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// Other NBD clients find a volume under its URI, also in a directory whose name
// needs escaping, and the list of exports tells of volumes only.
func TestOtherClients(t *testing.T) {
	nbdinfo, qemuImg := tool(t, "nbdinfo"), tool(t, "qemu-img")
	e := run(t, Config{RunDir: filepath.Join(shortDir(t), "a b+c")})
	conn := e.dial()
	pv := disk(t, 4<<20)
	create(t, conn, "root", linear(pv, 0, 2048))
	create(t, conn, "a-b", linear(pv, 2048, 4096))
	c := dmcore.NewClient(conn)
	real := uuid("root") + "-real"
	if _, err := c.Create(t.Context(), "vg-root-real", real); err != nil {
		t.Fatal(err)
	}
	if err := c.Load(t.Context(), real, linear(pv, 0, 2048), false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resume(t.Context(), real); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), "vg-empty", uuid("empty")); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]string{"vg/root": "1048576", "vg/a-b": "2097152"} {
		if out, err := exec.Command(nbdinfo, "--size", URI(e.dir, name)).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != size {
			t.Errorf("nbdinfo of %s: %s, %v; want %s", name, out, err, size)
		}
		if out, err := exec.Command(qemuImg, "info", URI(e.dir, name)).CombinedOutput(); err != nil || !strings.Contains(string(out), size+" bytes") {
			t.Errorf("qemu-img info of %s: %s, %v; want %s bytes", name, out, err, size)
		}
	}
	out, err := exec.Command(nbdinfo, "--list", URI(e.dir, "")).CombinedOutput()
	var exports []string
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "export="); ok {
			exports = append(exports, strings.Trim(name, `":`))
		}
	}
	if got := strings.Join(exports, " "); err != nil || got != "vg/a-b vg/root" || !strings.Contains(string(out), "linear, 2 MiB") {
		t.Errorf("nbdinfo --list: %q, %v\n%s", got, err, out)
	}
	for _, name := range []string{"vg/none", "vg/root-real", "vg/empty", "vg-root", "", "/", "vg/", "vg/root/x"} {
		if nc, err := tryNBD(e.dir, name); err == nil {
			t.Errorf("export %q opened with %d bytes", name, nc.size)
			nc.Close()
		}
	}
}

// QEMU goes on by itself when its engine was killed and another started.
func TestQEMUReconnects(t *testing.T) {
	qemuIO, stdbuf := tool(t, "qemu-io"), tool(t, "stdbuf")
	dir := filepath.Join(shortDir(t), "run")
	stopEngine(t, dir)
	ensure := func() *Client { return ensured(t, dir) }
	conn := ensure()
	create(t, conn, "a", linear(disk(t, 4<<20), 0, 8192))
	info, err := conn.Engine(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it waits for ever if it is wrong
	defer cancel()
	cmd := exec.CommandContext(ctx, stdbuf, "-oL", qemuIO, "--image-opts",
		fmt.Sprintf("driver=nbd,server.type=unix,server.path=%s,export=vg/a,reconnect-delay=60", filepath.Join(dir, nbdName)))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	do := func(command, want string) {
		t.Helper()
		fmt.Fprintln(in, command)
		for {
			line, err := out.ReadString('\n')
			if strings.Contains(line, want) {
				return
			}
			if err != nil || strings.Contains(line, "rror") || strings.Contains(line, "failed") {
				t.Fatalf("%s: %q, %v", command, line, err)
			}
		}
	}
	do("write -f -P 0x11 0 64k", "wrote 65536") // FUA: it has to survive
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	conn = ensure()
	do("write -P 0x22 64k 64k", "wrote 65536")
	do("read -P 0x11 0 64k", "read 65536")
	do("read -P 0x22 64k 64k", "read 65536")
	if info, err := conn.Engine(t.Context()); err != nil || len(info.Open) != 1 || info.Open[0] != (OpenDevice{Name: "vg-a", Clients: 1}) {
		t.Errorf("engine: %+v, %v; want vg-a open by one client", info, err)
	}
	in.Close()
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("qemu-io: %v\n%s", err, rest)
	}
}
