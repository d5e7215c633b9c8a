package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/engine"
	"cowhand/hypervisor"
	"cowhand/hypervisor/libvirt"
	"cowhand/lvm"
	"cowhand/orchestrator"
	"cowhand/orchestrator/journal"
)

// dial connects to the engine, which is started if it does not run.
func (h *host) dial(ctx context.Context) (*engine.Client, error) {
	serve, err := h.another("engine", "serve")
	if err != nil {
		return nil, err
	}
	c, err := engine.EnsureRunning(ctx, h.RunDir, func() *exec.Cmd {
		return exec.Command(serve.Path, serve.Args[1:]...)
	})
	if err != nil {
		return nil, err
	}
	h.onClose(c.Close)
	return c, nil
}

// volumes is the engine for changes of volumes.
func (h *host) volumes(ctx context.Context) (*lvm.Engine, error) {
	if h.lvm != nil {
		return h.lvm, nil
	}
	onKernel, err := h.onKernel()
	if err != nil {
		return nil, err
	}
	if onKernel {
		h.lvm, err = h.kernelVolumes()
	} else {
		h.lvm, err = h.daemonVolumes(ctx)
	}
	return h.lvm, err
}

// group is the engine, and a group as it is now.
func (h *host) group(ctx context.Context, name string) (*lvm.Engine, *lvm.VG, error) {
	e, err := h.volumes(ctx)
	if err != nil {
		return nil, nil, err
	}
	vg, err := e.Group(ctx, name)
	return e, vg, err
}

// daemonVolumes is the engine on the devices of our daemon, which is started if
// it does not run.
func (h *host) daemonVolumes(ctx context.Context) (*lvm.Engine, error) {
	c, err := h.dial(ctx)
	if err != nil {
		return nil, err
	}
	paths, err := h.devicePaths()
	if err != nil {
		return nil, err
	}
	e := h.newEngine(dmcore.NewClient(c), paths)
	info, err := c.Engine(ctx)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(info.Open, func(d engine.OpenDevice) bool { return d.Waiting }) {
		e.Patience = reconnectPatience
	}
	return e, nil
}

// reconnectPatience is longer than an engine that was killed keeps devices open
// for clients that may come back (engine.Config.OpenGrace, a minute): until then
// nobody knows that they will not.
const reconnectPatience = 75 * time.Second

func (h *host) newEngine(dm *dmcore.Client, paths []string) *lvm.Engine {
	name, _ := os.Hostname() // a note in the metadata; none is fine
	if h.lvm2 == nil {
		h.lvm2 = loadLVM2()
	}
	e := &lvm.Engine{
		Store: &lvm.Store{Devices: paths, Open: openDevice, Command: h.commandLine(), Host: name, System: system()},
		DM:    dm,
		Locks: lvm.Locks{Dir: h.lockDir, NoWait: !h.lvm2.Global.WaitForLocks},
		Host:  name,
		// Volumes that the host itself uses are the kernel's.
		Elsewhere: lvm.KernelDevices,
		// As with lvm2, whether or not a monitor runs now.
		PoolThreshold: func(vg *lvm.VG, pool *lvm.LV) int { return h.extendPolicy(vg, pool).Threshold },
		Warn:          h.warnOnce(),
	}
	if os.Geteuid() == 0 {
		e.Store.Hints = "/run/lvm/hints" // lvm2's, and root's
	}
	e.Store.Archive = h.archive()
	e.Store.SystemIDs, e.Store.Pools = h.lvm2.systemIDs, h.lvm2.pools()
	if h.verbose {
		e.Trace = h.narrate()
	}
	return e
}

// warnOnce tells each warning once: of a thin pool there may be one for each volume in it.
func (h *host) warnOnce() func(error) {
	var told sync.Map
	return func(err error) {
		if _, again := told.LoadOrStore(err.Error(), true); !again {
			h.note("warning: %s", err)
		}
	}
}

// narrate tells the steps of a change as they are done. It never makes one wait:
// devices may be suspended, and what standard error is written to on one of them.
func (h *host) narrate() func(step string) error {
	steps := make(chan string, 1<<16)
	told := make(chan struct{})
	go func() {
		defer close(told)
		for s := range steps {
			h.note("  %s", s)
		}
	}()
	h.onClose(func() error { close(steps); <-told; return nil })
	return func(step string) error {
		select {
		case steps <- step:
		default: // thousands of volumes: rather untold than stuck
		}
		return nil
	}
}

func openDevice(path string, write bool) (blockdev.Device, error) {
	return blockdev.OpenFile(path, !write)
}

// commandLine is what the metadata says wrote it.
func (h *host) commandLine() string {
	return "cowhand " + strings.Join(h.args, " ")
}

func system() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	text := func(b []byte) string { return unix.ByteSliceToString(b) }
	return strings.Join([]string{text(u.Sysname[:]), text(u.Nodename[:]), text(u.Release[:]), text(u.Version[:]), text(u.Machine[:])}, " ")
}

// devicePath is the file of a table's reference: a path, or "major:minor".
func devicePath(ref dmcore.Dev) string {
	if filepath.IsAbs(string(ref)) {
		return string(ref)
	}
	return filepath.Join("/dev/block", string(ref))
}

// qemuUsers are the numbers of libvirt's QEMU users on this host. The first
// owns the socket.
func qemuUsers(names []string) (owner int, uids []int) {
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		if uid, err := strconv.Atoi(u.Uid); err == nil {
			uids = append(uids, uid)
		}
	}
	if len(uids) > 0 {
		owner = uids[0]
	}
	return owner, uids
}

// orchestrator is the layer of workflows.
func (h *host) orchestrator(ctx context.Context) (*orchestrator.Orchestrator, error) {
	volumes, err := h.volumes(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := journal.Open(filepath.Join(h.StateDir, "runs"))
	if err != nil {
		return nil, err
	}
	conn, err := h.hypervisor(ctx)
	if err != nil {
		return nil, err
	}
	v, err := conn.Version(ctx)
	if err != nil {
		return nil, err
	}
	freshMAC, err := h.freshMACs(ctx, conn)
	if err != nil {
		return nil, err
	}
	addresses, err := h.addresses(v)
	if err != nil {
		return nil, err
	}
	return &orchestrator.Orchestrator{
		World: &orchestrator.World{
			Guests: conn, Volumes: volumes, Disks: addresses,
			Files:     &orchestrator.Files{Dir: h.StateDir},
			FreshMAC:  freshMAC,
			FreshUUID: func() string { return hypervisor.NewUUID(random64) },
			Now:       time.Now, Random: rand.Reader, Progress: h.progress,
		},
		Journal: runs,
	}, nil
}

// addresses is how guests reach volumes.
func (h *host) addresses(v hypervisor.Version) (orchestrator.Addresses, error) {
	onKernel, err := h.onKernel()
	if err != nil {
		return nil, err
	}
	if onKernel {
		return &blockAddresses{h.devDir()}, nil
	}
	a := &nbdAddresses{socket: engine.Socket(h.RunDir)}
	if hypervisor.ReconnectSupported(v) {
		a.reconnect = reconnectSeconds
	}
	return a, nil
}

// reconnectSeconds is how long a guest's disk waits for an engine that was
// killed; one starts within a second of the next command.
const reconnectSeconds = 3600

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.NativeEndian.Uint64(b[:])
}

// freshMACs gives addresses that no guest of the host has.
func (h *host) freshMACs(ctx context.Context, conn *libvirt.Conn) (func() string, error) {
	guests, err := conn.Guests(ctx)
	if err != nil {
		return nil, err
	}
	var taken []string
	for _, g := range guests {
		xml, err := g.XML(ctx)
		if errors.Is(err, hypervisor.ErrNotFound) { // undefined since it was listed
			continue
		}
		if err != nil {
			return nil, err
		}
		macs, err := hypervisor.MACAddresses(xml)
		if err != nil {
			return nil, err
		}
		taken = append(taken, macs...)
	}
	return hypervisor.MACs(random64, taken...), nil
}

// hypervisor connects to libvirt until the command is over.
func (h *host) hypervisor(ctx context.Context) (*libvirt.Conn, error) {
	conn, disconnect, err := h.connect(ctx)
	if err == nil {
		h.onClose(disconnect)
	}
	return conn, err
}

// connect connects to libvirt and runs its events until disconnect is called.
func (h *host) connect(ctx context.Context) (conn *libvirt.Conn, disconnect func() error, err error) {
	if conn, err = libvirt.Open(ctx, h.Libvirt.URI); err != nil {
		return nil, nil, err
	}
	events, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- conn.Run(events) }()
	return conn, func() error {
		stop()
		return errors.Join(<-done, conn.Close())
	}, nil
}

// nbdAddresses is how guests reach volumes of the userspace engine.
type nbdAddresses struct {
	socket    string
	reconnect int
}

// Source is the export of the volume.
func (a *nbdAddresses) Source(r lvm.Ref) hypervisor.DiskSource {
	return hypervisor.DiskSource{Export: r.String(), Socket: a.socket, Reconnect: a.reconnect}
}

// Locate knows the exports of our engine's socket, and block devices that are
// named as volumes.
func (a *nbdAddresses) Locate(d hypervisor.Disk) (lvm.Ref, bool) {
	switch d.Kind {
	case hypervisor.NBD:
		if d.Socket != a.socket || d.Format != "raw" && d.Format != "" {
			return lvm.Ref{}, false
		}
		ref, err := lvm.ParseRef(d.Source)
		return ref, err == nil
	}
	return lvm.Ref{}, false
}

var _ orchestrator.Addresses = (*nbdAddresses)(nil)
