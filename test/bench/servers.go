package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/engine"
	"cowhand/lvm"
)

// place is a disk that a server offers. What answers a flush without syncing anything has a
// durable that does it, in the same time.
type place struct {
	socket, export string
	durable        func() error
}

// server is one of those that are compared. At most one place of it is served at a time.
type server interface {
	// plain serves a volume with nothing above or below it.
	plain(ctx context.Context) (place, error)
	// fresh serves a volume with a new snapshot, or overlay: from the origin's side, from the
	// snapshot's, or a thin one. To the peers that is the same.
	fresh(ctx context.Context, kind int) (place, error)
	stop() error
}

// cowhand is the program itself: its daemon, and its volumes on an image file.
type cowhand struct {
	dir    string
	size   int64
	client *engine.Client
	lvm    *lvm.Engine
	cut    string // the snapshot that there is
	thin   bool   // there is a thin volume
}

const (
	vgName   = "bench"
	origin   = "origin"
	snapshot = "snap"
	pool     = "pool"
	thin     = "thin"
)

func newCowhand(ctx context.Context, dir, program string, size int64) (*cowhand, error) {
	c := &cowhand{dir: dir, size: size}
	pv := filepath.Join(dir, "pv.img")
	// Everything is allocated and written, as on a disk: a file that grows with each sync measures
	// the file system's journal.
	if err := writeFile(pv, 3*size+size/2, make([]byte, large)); err != nil {
		return c, err
	}
	var err error
	c.client, err = engine.EnsureRunning(ctx, c.runDir(), func() *exec.Cmd {
		return exec.Command(program, "--run-dir", c.runDir(), "--devices", pv,
			"--lvm-dir", filepath.Join(dir, "lvm"), "--lock-dir", filepath.Join(dir, "locks"), "engine", "serve")
	})
	if err != nil {
		return c, err
	}
	c.lvm = &lvm.Engine{DM: dmcore.NewClient(c.client), Locks: lvm.Locks{Dir: filepath.Join(dir, "locks")},
		Store: &lvm.Store{Devices: []string{pv}, Open: func(path string, write bool) (blockdev.Device, error) {
			return blockdev.OpenFile(path, !write)
		}}}
	if _, err := c.lvm.CreatePV(ctx, pv, lvm.PVOptions{}); err != nil {
		return c, err
	}
	if _, err := c.lvm.CreateVG(ctx, lvm.VGSpec{Name: vgName, PVs: []string{pv}}); err != nil {
		return c, err
	}
	whole := lvm.LinearSpec{Name: origin, Size: lvm.Size{Bytes: uint64(size)}}
	_, err = c.lvm.Create(ctx, vgName, lvm.StripedSpec{LinearSpec: whole}, true)
	return c, err
}

func (c *cowhand) runDir() string { return filepath.Join(c.dir, "run") }

func (c *cowhand) place(name string) place {
	return place{socket: filepath.Join(c.runDir(), "nbd.sock"), export: vgName + "/" + name}
}

func (c *cowhand) plain(ctx context.Context) (place, error) { return c.place(origin), c.drop(ctx) }

func (c *cowhand) fresh(ctx context.Context, kind int) (place, error) {
	if err := c.drop(ctx); err != nil {
		return place{}, err
	}
	if kind == kindThin {
		return c.place(thin), c.freshThin(ctx)
	}
	// Room for the whole origin, and for the list of its chunks.
	err := c.lvm.Snapshot(ctx, []lvm.SnapshotRequest{{Origin: lvm.Ref{VG: vgName, LV: origin}, Name: snapshot,
		Size: lvm.Size{Bytes: uint64(c.size + c.size/8)}}})
	if err != nil {
		return place{}, err
	}
	c.cut = snapshot
	if kind == kindOrigin {
		return c.place(origin), nil
	}
	return c.place(snapshot), nil
}

// freshThin makes a snapshot of the thin volume, which is made and filled first if
// there is none.
func (c *cowhand) freshThin(ctx context.Context) error {
	if !c.thin {
		size := lvm.Size{Bytes: uint64(c.size)}
		twice := lvm.ThinPoolSpec{Name: pool, Size: lvm.Size{Bytes: 2 * size.Bytes}}
		if _, _, err := c.lvm.CreateThinPool(ctx, vgName, twice, false); err != nil {
			return err
		}
		_, err := c.lvm.CreateThins(ctx, vgName, []lvm.ThinSpec{{Pool: pool, Name: thin, Size: size}}, lvm.ThinOptions{Activate: true})
		if err == nil {
			err = fill(ctx, c.place(thin), c.size)
		}
		if err != nil {
			return err
		}
		c.thin = true
	}
	name := "thin-" + snapshot
	_, err := c.lvm.CreateThins(ctx, vgName, []lvm.ThinSpec{{Pool: pool, Name: name, Origin: thin}}, lvm.ThinOptions{})
	if err == nil {
		c.cut = name
	}
	return err
}

func (c *cowhand) drop(ctx context.Context) error {
	if c.cut == "" {
		return nil
	}
	ref := []lvm.Ref{{VG: vgName, LV: c.cut}}
	c.cut = ""
	if err := c.lvm.WaitClosed(ctx, ref); err != nil {
		return err
	}
	return c.lvm.Remove(ctx, ref)
}

func (c *cowhand) stop() error {
	if c.client == nil {
		return nil
	}
	return tidyUp(func(ctx context.Context) error {
		return errors.Join(c.client.Shutdown(ctx, true), c.client.Close())
	})
}

// process is a peer: a program that serves one file, or an overlay of it, as long as it runs.
type process struct {
	dir   string
	file  string
	raw   func(socket, file string) []string
	over  func(socket, file string) []string // of an overlay
	lazy  bool                               // an overlay is not synced by a flush
	begin func(ctx context.Context) error    // makes a new overlay
	cmd   *exec.Cmd
}

func newQEMU(dir, file string) *process {
	overlay := filepath.Join(dir, "overlay.qcow2")
	return &process{dir: dir, file: file,
		raw: func(socket, file string) []string { return []string{"qemu-nbd", "-t", "-f", "raw", "-k", socket, file} },
		over: func(socket, _ string) []string {
			return []string{"qemu-nbd", "-t", "-f", "qcow2", "-k", socket, overlay}
		},
		begin: func(ctx context.Context) error {
			_, err := output(exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-b", file, "-F", "raw", overlay))
			return err
		}}
}

// newDurableQEMU serves overlays that are durable when a write is answered.
func newDurableQEMU(dir, file string) *process {
	p := newQEMU(dir, file)
	lazy := p.over
	p.over = func(socket, file string) []string { return append(lazy(socket, file), "--cache=writethrough") }
	return p
}

func newNBDKit(dir, file string) *process {
	return &process{dir: dir, file: file, lazy: true,
		raw: func(socket, file string) []string { return []string{"nbdkit", "-f", "-U", socket, "file", file} },
		over: func(socket, file string) []string {
			return []string{"nbdkit", "-f", "-U", socket, "--filter=cow", "file", file}
		},
		begin: func(context.Context) error { return nil }}
}

func (p *process) plain(ctx context.Context) (place, error) { return p.serve(p.raw) }

func (p *process) fresh(ctx context.Context, _ int) (place, error) {
	if err := p.stop(); err != nil {
		return place{}, err
	}
	if err := p.begin(ctx); err != nil {
		return place{}, err
	}
	at, err := p.serve(p.over)
	if p.lazy {
		at.durable = p.syncDeleted
	}
	return at, err
}

// syncDeleted syncs the files that the program has open and has deleted: the overlay of
// nbdkit's cow filter, whose flush does nothing (nbdkit 1.32, filters/cow: no fdatasync is seen).
func (p *process) syncDeleted() error {
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	found := false
	for _, fd := range open {
		name, gone := os.Readlink(fd)
		if gone != nil || !strings.HasPrefix(name, p.dir) || !strings.HasSuffix(name, " (deleted)") {
			continue
		}
		f, openErr := os.Open(fd)
		if openErr != nil {
			return openErr
		}
		found = true
		err = errors.Join(err, unix.Fdatasync(int(f.Fd())), f.Close())
	}
	if !found {
		return errors.Join(err, fmt.Errorf("%s has no deleted file open in %s", p.cmd.Path, p.dir))
	}
	return err
}

func (p *process) serve(args func(socket, file string) []string) (place, error) {
	if err := p.stop(); err != nil {
		return place{}, err
	}
	socket := filepath.Join(p.dir, "nbd.sock")
	line := args(socket, p.file)
	p.cmd = exec.Command(line[0], line[1:]...)
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.dir) // for nbdkit's overlay
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return place{}, err
	}
	return place{socket: socket}, nil
}

// stop ends the program, and waits for it.
func (p *process) stop() error {
	if p.cmd == nil {
		return nil
	}
	cmd := p.cmd
	p.cmd = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		return errors.Join(fmt.Errorf("%s does not end", cmd.Path), err)
	}
	return errors.Join(os.RemoveAll(filepath.Join(p.dir, "nbd.sock")))
}

// writeFile makes a file of n bytes that are written, block after block.
func writeFile(path string, n int64, block []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for done := int64(0); done < n && err == nil; done += int64(len(block)) {
		_, err = f.Write(block[:min(n-done, int64(len(block)))])
	}
	return errors.Join(err, f.Sync(), f.Close())
}
