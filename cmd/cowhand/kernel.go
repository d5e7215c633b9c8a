package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"cowhand/configs"
	"cowhand/dmcore"
	"cowhand/dmcore/engine"
	"cowhand/dmcore/guardian"
	"cowhand/dmcore/kernel"
	"cowhand/hypervisor"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// onKernel decides which device mapper this run drives. Without being told it is
// the kernel's, unless there is none or a daemon of ours has volumes.
func (h *host) onKernel() (bool, error) {
	if h.Engine == configs.EngineAuto {
		onKernel, err := h.kernelServes()
		if err != nil {
			return false, err
		}
		h.Engine = configs.EngineUserspace // for all of this run, whoever starts a daemon meanwhile
		if onKernel {
			h.Engine = configs.EngineKernel
		}
	}
	return h.Engine == configs.EngineKernel, nil
}

func (h *host) kernelServes() (bool, error) {
	c, err := engine.Dial(h.RunDir)
	if err == nil {
		return false, c.Close()
	}
	if !errors.Is(err, dmcore.ErrUnavailable) {
		return false, err
	}
	_, err = dmcore.NewClient(h.kernel()).Version(context.Background())
	return err == nil, nil
}

// kernel is the kernel's device mapper.
func (h *host) kernel() *kernel.Control {
	if h.dm == nil {
		udev := kernel.Auto
		if os.Getenv("DM_DISABLE_UDEV") != "" {
			udev = kernel.Off
		}
		h.dm = kernel.New(kernel.Config{Dir: h.devDir(), Udev: udev})
		h.onClose(h.dm.Close)
	}
	return h.dm
}

// kernelVolumes is the engine for changes of volumes, on the devices of the
// kernel.
func (h *host) kernelVolumes() (*lvm.Engine, error) {
	paths, err := h.devicePaths()
	if err != nil {
		return nil, err
	}
	e := h.newEngine(dmcore.NewClient(h.kernel()), paths)
	e.Elsewhere = h.daemonDevices
	e.Node = h.node
	e.Guard = h.guard
	e.Probed = h.kernel().Probed
	e.ReadAheads = h.kernel()
	e.Store.Lists = h.lvm2.lists()
	return e, nil
}

// daemonDevices lists LVM's devices that our daemon has, if one runs.
func (h *host) daemonDevices() (map[dmcore.UUID]bool, error) {
	c, err := engine.Dial(h.RunDir)
	if errors.Is(err, dmcore.ErrUnavailable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	infos, err := dmcore.NewClient(c).List(context.Background())
	if err = errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	devices := map[dmcore.UUID]bool{}
	for _, i := range infos {
		devices[i.UUID] = true
	}
	return devices, nil
}

// guardLimit is how long devices may stay suspended: the engine gives up by
// itself before.
const guardLimit = lvm.DefaultWindow + 10*time.Second

// guard has another process of this program stand by while devices of groups
// are suspended.
func (h *host) guard(ctx context.Context, groups []lvm.ID) (lvm.Guardian, error) {
	words := []string{"engine", "guard", strconv.Itoa(os.Getpid())}
	for _, id := range groups {
		words = append(words, string(id))
	}
	cmd, err := h.another(words...)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	return guardian.Start(ctx, cmd)
}

// guardPatience is how long the guardian waits for the group's lock when its
// worker is dead. Who has it then is lvm2, or another of us, at work; unless that
// waits for the very devices that are suspended.
const guardPatience = 30 * time.Second

// engineGuard is the process that stands by: it puts the devices of the groups
// in order when the one that suspended them cannot.
func (h *host) engineGuard(ctx context.Context, c *cli.Context) error {
	args, err := arguments(c, 2, -1, "PID and the groups' IDs")
	if err != nil {
		return err
	}
	worker, err := strconv.Atoi(args[0])
	if err != nil {
		return usagef("%q is no process", args[0])
	}
	e, err := h.kernelVolumes()
	if err != nil {
		return err
	}
	e.Guard, e.Trace = nil, nil
	e.Elsewhere = nil      // the worker asked, and nobody must be waited for that may hang as well
	e.Store.Archive = nil  // its file system may be on a device that is suspended
	e.Locks.NoWait = false // who died may have left it to a child that goes in a moment
	e.LockPatience = guardPatience
	why := guardian.Watch(worker, os.Stdin, os.Stdout, guardLimit)
	if !errors.Is(why, guardian.ErrDied) && !errors.Is(why, guardian.ErrHung) {
		return why
	}
	left, err := e.Unsettled(ctx, func(group lvm.ID) bool { return slices.Contains(args[1:], string(group)) })
	if err == nil {
		err = e.Reconcile(ctx, left)
	}
	err = errors.Join(err, e.Release(ctx, left))
	fmt.Fprintf(h.stderr, "cowhand: %s; %d devices were put in order\n", why, len(left))
	return err
}

// another is a process of this program with our settings and these words.
func (h *host) another(words ...string) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	paths, err := h.devicePaths()
	if err != nil {
		return nil, err
	}
	args, err := h.globals(paths)
	if err != nil {
		return nil, err
	}
	return exec.Command(exe, append(args, words...)...), nil
}

// globals are the flags with which another process of this program has our
// settings.
func (h *host) globals(paths []string) ([]string, error) {
	onKernel, err := h.onKernel()
	if err != nil {
		return nil, err
	}
	engine := configs.EngineUserspace
	if onKernel {
		engine = configs.EngineKernel
	}
	args := []string{"--engine", engine, "--run-dir", h.RunDir, "--lock-dir", h.lockDir}
	if !h.lvm2Copies { // else the defaults are what they are here
		args = append(args, "--state-dir", h.StateDir, "--lvm-dir", h.Archive.Dir)
	}
	if h.configFile != "" {
		args = append(args, "--config", h.configFile)
	}
	for _, p := range paths {
		args = append(args, "--devices", p)
	}
	return args, nil
}

// blockAddresses is how guests reach volumes of the kernel's device mapper.
type blockAddresses struct{ dir string }

// Source is the volume's block device.
func (a *blockAddresses) Source(r lvm.Ref) hypervisor.DiskSource {
	return hypervisor.DiskSource{Device: filepath.Join(a.dir, r.VG, r.LV)}
}

// Locate knows block devices: by what the kernel says they are, if they are
// there, otherwise by their names.
func (a *blockAddresses) Locate(d hypervisor.Disk) (lvm.Ref, bool) {
	if d.Kind != hypervisor.Block && d.Kind != hypervisor.File || d.Format != "raw" && d.Format != "" {
		return lvm.Ref{}, false
	}
	if ref, isDM := mappedVolume(d.Source); isDM {
		return ref, ref != lvm.Ref{}
	}
	if _, err := os.Stat(d.Source); err == nil { // something else
		return lvm.Ref{}, false
	}
	path, ok := strings.CutPrefix(filepath.Clean(d.Source), filepath.Clean(a.dir)+"/")
	if !ok {
		return lvm.Ref{}, false
	}
	vg, lv, err := lvm.SplitName("/dev/" + path)
	return lvm.Ref{VG: vg, LV: lv}, err == nil && lv != ""
}

// mappedVolume tells whose volume a block device of the device mapper is; none
// if it is another's or below a volume.
func mappedVolume(path string) (ref lvm.Ref, isDM bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return lvm.Ref{}, false
	}
	dir := fmt.Sprintf("/sys/dev/block/%d:%d/dm", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	name, err := os.ReadFile(filepath.Join(dir, "name"))
	if err != nil {
		return lvm.Ref{}, false
	}
	uuid, err := os.ReadFile(filepath.Join(dir, "uuid"))
	if err != nil || !strings.HasPrefix(string(uuid), "LVM-") {
		return lvm.Ref{}, true
	}
	vg, lv, layer, ok := dmcore.Name(strings.TrimSpace(string(name))).Split()
	if !ok || layer != "" {
		return lvm.Ref{}, true
	}
	return lvm.Ref{VG: vg, LV: lv}, true
}

var _ orchestrator.Addresses = (*blockAddresses)(nil)
