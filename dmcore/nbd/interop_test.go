package nbd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cowhand/dmcore/blockdev"

	"github.com/google/go-cmp/cmp"
)

// Real clients against devices of both kinds. Each test is skipped where its
// program is missing.

const interopSize = 16 << 20

// tool runs a program and returns what it prints; all must be well.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := tryTool(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func tryTool(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	return string(out), err
}

// picture is an image with data, zeroes and holes, and the file it is in.
func picture(t *testing.T) (path string, data []byte) {
	t.Helper()
	data = make([]byte, interopSize)
	rng := rand.NewChaCha8([32]byte{1})
	for _, part := range [][2]int{{0, 100 << 10}, {1 << 20, 3 << 20}, {9<<20 + 4096, 8192}, {interopSize - 4096, 4096}} {
		rng.Read(data[part[0]:][:part[1]])
	}
	path = filepath.Join(t.TempDir(), "picture")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

// onDevices runs a test against a server of an empty device in memory and of
// one in a file.
func onDevices(t *testing.T, test func(t *testing.T, dev able, uri string)) {
	run := func(name string, dev able) {
		t.Run(name, func(t *testing.T) {
			x := exports{
				"vg/root": {dev: keep{dev}, Export: Export{Description: "the root"}},
				"vg/ro":   {dev: keep{dev}, Export: Export{ReadOnly: true}},
			}
			socket := start(t, &Server{Exports: x})
			test(t, dev, "nbd+unix:///vg/root?socket="+socket)
		})
	}
	run("memory", blockdev.NewMem(interopSize))

	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, interopSize); err != nil {
		t.Fatal(err)
	}
	file, err := blockdev.OpenFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	run("file", file)
}

// keep is a device with all its abilities that stays open.
type keep struct{ able }

type able interface {
	blockdev.Device
	blockdev.Discarder
	blockdev.Zeroer
	blockdev.Mapper
}

func (keep) Close() error { return nil }

func content(t *testing.T, dev blockdev.Device) []byte {
	t.Helper()
	b := make([]byte, dev.Size())
	if n, err := dev.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	return b
}

func isZero(b []byte) bool { return bytes.Equal(b, make([]byte, len(b))) }

func put(t *testing.T, dev blockdev.Device, data []byte) {
	t.Helper()
	for off := 0; off < len(data); off += 4096 {
		if page := data[off:min(off+4096, len(data))]; !isZero(page) {
			if _, err := dev.WriteAt(page, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestQEMUImg(t *testing.T) {
	path, data := picture(t)
	onDevices(t, func(t *testing.T, dev able, uri string) {
		if out := tool(t, "qemu-img", "info", uri); !strings.Contains(out, fmt.Sprintf("(%d bytes)", interopSize)) {
			t.Errorf("info: %s", out)
		}
		tool(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", path, uri)
		if !bytes.Equal(content(t, dev), data) {
			t.Error("what was converted onto the device differs")
		}
		tool(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", path, uri)

		back := filepath.Join(t.TempDir(), "back.qcow2")
		tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, back)
		tool(t, "qemu-img", "compare", "-f", "raw", path, back)

		var entries []struct {
			Start, Length int64
			Zero, Data    bool
		}
		out := tool(t, "qemu-img", "map", "--output=json", "-f", "raw", uri)
		if err := json.Unmarshal([]byte(out), &entries); err != nil {
			t.Fatal(err)
		}
		zeroes := int64(0)
		for _, e := range entries {
			if e.Zero {
				zeroes += e.Length
				if !isZero(data[e.Start:][:e.Length]) {
					t.Errorf("map: %+v is not zero", e)
				}
			}
		}
		if zeroes < 10<<20 {
			t.Errorf("map knows of %d zeroes only:\n%s", zeroes, out)
		}
	})
}

func TestQEMUIO(t *testing.T) {
	onDevices(t, func(t *testing.T, dev able, uri string) {
		args := []string{"-f", "raw"}
		for _, c := range []string{
			"write -P 7 0 8M", "read -P 7 0 8M",
			"write -f -P 8 1M 4k", "read -P 8 1M 4k", "flush",
			"write -z 2M 64k", "read -P 0 2M 64k", "write -z -u -f 3M 64k", "read -P 0 3M 64k",
			"discard 4M 1M", "read -P 7 5M 3M",
			"aio_write -P 9 6M 64k", "aio_write -P 10 7M 64k", "aio_flush", "read -P 9 6M 64k", "read -P 10 7M 64k",
			"read -P 0 15M 1M", "write -P 3 16776704 512", "read -P 3 16776704 512",
			"write -P 5 513 100", "read -P 5 513 100", "read -P 7 0 513", // QEMU aligns these
		} {
			args = append(args, "-c", c)
		}
		if out := tool(t, "qemu-io", append(args, uri)...); strings.Contains(out, "failed") {
			t.Error(out)
		}
		out, err := tryTool(t, "qemu-io", "-f", "raw", "-c", "write 0 4k", strings.Replace(uri, "root", "ro", 1))
		if err == nil || !strings.Contains(out, "denied") {
			t.Errorf("write to a read-only export: %v: %s", err, out)
		}
		if out, err := tryTool(t, "qemu-io", "-r", "-f", "raw", "-c", "read -P 7 5M 1M", strings.Replace(uri, "root", "ro", 1)); err != nil || strings.Contains(out, "failed") {
			t.Errorf("read of a read-only export: %v: %s", err, out)
		}
	})
}

func TestNBDInfo(t *testing.T) {
	_, data := picture(t)
	onDevices(t, func(t *testing.T, dev able, uri string) {
		put(t, dev, data)
		type export struct {
			Name        string   `json:"export-name"`
			Size        int64    `json:"export-size"`
			Description string   `json:"description"`
			ReadOnly    bool     `json:"is_read_only"`
			MultiConn   bool     `json:"can_multi_conn"`
			FastZero    bool     `json:"can_fast_zero"`
			FUA         bool     `json:"can_fua"`
			Trim        bool     `json:"can_trim"`
			Contexts    []string `json:"contexts"`
			Min         int      `json:"block_size_minimum"`
			Max         int      `json:"block_size_maximum"`
		}
		rw := export{"vg/root", interopSize, "the root", false, true, true, true, true, []string{"base:allocation"}, 512, 32 << 20}
		ro := export{"vg/ro", interopSize, "", true, true, false, true, false, []string{"base:allocation"}, 512, 32 << 20}
		for _, tt := range []struct {
			args []string
			want []export
		}{
			{[]string{"--json", uri}, []export{rw}},
			{[]string{"--json", "--list", strings.Replace(uri, "vg/root", "", 1)}, []export{ro, rw}},
		} {
			var got struct{ Exports []export }
			if err := json.Unmarshal([]byte(tool(t, "nbdinfo", tt.args...)), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Exports); diff != "" {
				t.Errorf("%v -want +got:\n%s", tt.args, diff)
			}
		}
		var extents []struct {
			Offset, Length int64
			Type           int
		}
		if err := json.Unmarshal([]byte(tool(t, "nbdinfo", "--json", "--map", uri)), &extents); err != nil {
			t.Fatal(err)
		}
		end := int64(0)
		for _, e := range extents {
			if e.Offset != end {
				t.Errorf("map: %+v does not begin at %d", e, end)
			}
			end = e.Offset + e.Length
			if e.Type&stateZero != 0 && !isZero(data[e.Offset:end]) {
				t.Errorf("map: %+v is not zero", e)
			}
		}
		if end != interopSize || len(extents) < 4 {
			t.Errorf("map: %+v", extents)
		}
	})
}

func TestNBDCopy(t *testing.T) {
	path, data := picture(t)
	onDevices(t, func(t *testing.T, dev able, uri string) {
		put(t, dev, bytes.Repeat([]byte{0xaa}, interopSize)) // zeroes must be written
		tool(t, "nbdcopy", "--connections=4", "--flush", "--request-size=262144", path, uri)
		if !bytes.Equal(content(t, dev), data) {
			t.Error("what was copied onto the device differs")
		}
		back := filepath.Join(t.TempDir(), "back")
		tool(t, "nbdcopy", "--connections=4", uri, back)
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, data) {
			t.Errorf("what was copied from the device differs (%v)", err)
		}
		tool(t, "nbdcopy", "--synchronous", "--connections=1", uri, back)
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, data) {
			t.Errorf("what was copied synchronously from the device differs (%v)", err)
		}
	})
}

// nbdkit's client, with other habits than the rest: it tunnels what is asked
// of it to our server.
func TestNBDKitTunnel(t *testing.T) {
	nbdkit, err := exec.LookPath("nbdkit")
	if err != nil {
		t.Skip("nbdkit is not installed")
	}
	path, data := picture(t)
	onDevices(t, func(t *testing.T, dev able, uri string) {
		copyIn := fmt.Sprintf(`nbdcopy %s "$uri" && qemu-img compare -f raw -F raw %s "$uri"`, path, path)
		for _, program := range []string{"nbdcopy", "qemu-img"} {
			if _, err := exec.LookPath(program); err != nil {
				t.Skipf("%s is not installed", program)
			}
		}
		tool(t, nbdkit, "-U", "-", "nbd", "uri="+uri, "--run", copyIn)
		if !bytes.Equal(content(t, dev), data) {
			t.Error("what was copied through nbdkit differs")
		}
	})
}
