package vm

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cowhand/test/lab"
)

//go:embed keeper
var keeper []byte

// Deadlines, for a busy machine without KVM. What is quick takes a tenth of that.
const (
	bootDeadline = 3 * time.Minute
	runDeadline  = 5 * time.Minute // of a command whose context has none
	endDeadline  = 10 * time.Second
)

// The programs whose absence means that there can be no VM.
const (
	qemuProgram = "qemu-system-x86_64"
	virtiofsd   = "/usr/libexec/virtiofsd|/usr/lib/qemu/virtiofsd|virtiofsd"
)

// Need skips the test, and says what is missing, where no VM can run.
func Need(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		// overlayfs opens files with O_NOATIME, which virtiofsd may pass on for files of its own user only.
		lab.Skip(t, "the VM's root can be shown to it by root only")
	}
	lab.Need(t, "go", qemuProgram, virtiofsd, "bash", "unshare", "findmnt", "modprobe", "udevadm", "lvm", "dmsetup")
	mount := exec.Command("unshare", "--mount", "--propagation", "private", "mount", "--bind", "/", os.TempDir())
	if out, err := mount.CombinedOutput(); err != nil {
		lab.Skip(t, "no mounts of its own for virtiofsd: "+strings.TrimSpace(string(out)))
	}
}

// Machine is a VM and its disks. It ends when its test does.
type Machine struct {
	Config Config

	t      testing.TB
	dir    string
	linux  string
	power  *power // nil when off
	caches *caches
}

// power is one life of a machine, from boot to its end.
type power struct {
	*session
	cmd  *exec.Cmd
	pipe *os.File // the keeper ends when this is closed
	end  chan struct{}
}

// Boot starts a machine with new, empty disks and returns when commands can be run in it. Where there
// can be none, the test is skipped. Of a test that fails, console and logs are kept.
func Boot(t testing.TB, c Config) *Machine {
	t.Helper()
	m := boot(t, c)
	t.Cleanup(m.close)
	return m
}

// boot is Boot for a machine that outlives the test.
func boot(t testing.TB, c Config) *Machine {
	t.Helper()
	Need(t)
	linux, err := lab.Kernel(t.Context())
	if err != nil {
		lab.Skip(t, "no kernel for the VM: "+err.Error())
	}
	if _, err := os.Stat(filepath.Join(linux, "vm")); err != nil {
		lab.Skip(t, "the kernel in "+linux+" has no virtiofs, overlay or device mapper")
	}
	m, err := prepare(c, linux)
	if err != nil {
		t.Fatal(err)
	}
	m.t = t
	if err := m.Start(t.Context()); err != nil {
		t.Error(err)
		m.close()
		t.FailNow()
	}
	return m
}

// prepare makes the machine's folder, with all that QEMU reads.
func prepare(c Config, linux string) (*Machine, error) {
	b, err := programs()
	if err != nil {
		return nil, err
	}
	m := &Machine{Config: c.withDefaults(), linux: linux}
	initrd, err := initramfs(b, linux, m.Config)
	if err != nil {
		return nil, err
	}
	r, err := run()
	if err != nil {
		return nil, err
	}
	if m.dir, err = r.machine(); err != nil {
		return nil, err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(m.dir, "initrd"), initrd, 0o644),
		os.WriteFile(filepath.Join(m.dir, "keeper"), keeper, 0o644),
		os.Mkdir(filepath.Join(m.dir, "root"), 0o755), // what the keeper makes virtiofsd see
	)
	for i, d := range m.Config.Disks {
		if !d.Cache {
			err = errors.Join(err, makeDisk(m.Disk(i), int64(d.MiB)<<20))
		}
	}
	if err == nil {
		m.caches, err = newCaches(m.Config.Disks, filepath.Join(m.dir, cacheSocket))
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(m.dir))
	}
	return m, nil
}

func makeDisk(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// Disk is the file on the host that is the i-th disk, from 0, if that has no cache.
func (m *Machine) Disk(i int) string { return filepath.Join(m.dir, diskName(i)) }

// Start starts a machine that is off, with the disks as they are, and returns when commands can be
// run in it. Changes to m.Config.Disks[i].WriteMiB take effect.
func (m *Machine) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootDeadline)
	defer cancel()
	if m.power != nil {
		return errors.New("vm: started while it runs")
	}
	begun := time.Now()
	root, err := listen(filepath.Join(m.dir, "root.sock"))
	if err != nil {
		return err
	}
	defer root.Close()
	agent, err := listen(filepath.Join(m.dir, "agent.sock"))
	if err != nil {
		return err
	}
	defer agent.Close()
	if err := m.launch(root); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { agent.Close() })
	defer stop()
	go func(end <-chan struct{}) { <-end; agent.Close() }(m.power.end)
	conn, err := agent.Accept()
	if err == nil {
		m.power.session, err = greet(ctx, conn)
	}
	if err != nil {
		select {
		case <-ctx.Done():
			err = fmt.Errorf("no word from it: %w", ctx.Err())
		case <-m.power.end:
			err = errors.New("QEMU or virtiofsd ended")
		default:
		}
		return errors.Join(fmt.Errorf("vm: boot: %w", err), m.Kill())
	}
	m.t.Logf("vm: booted in %.1f s", time.Since(begun).Seconds())
	return nil
}

// launch starts the keeper, with QEMU and virtiofsd.
func (m *Machine) launch(root *net.UnixListener) error {
	qemu, err := lab.Look(qemuProgram)
	if err != nil {
		return err
	}
	fsd, err := lab.Look(virtiofsd)
	if err != nil {
		return err
	}
	socket, err := root.File()
	if err != nil {
		return err
	}
	defer socket.Close()
	input, pipe, err := os.Pipe()
	if err != nil {
		return err
	}
	defer input.Close()
	line := append([]string{filepath.Join(m.dir, "keeper"), m.dir, fsd}, m.Config.command(qemu, m.dir, m.linux, lab.BootWords)...)
	cmd := exec.Command("bash", line...)
	cmd.Dir = m.dir
	cmd.Stdin, cmd.ExtraFiles = input, []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // one group to kill, and ^C is not for it
	if err := cmd.Start(); err != nil {
		pipe.Close()
		return fmt.Errorf("vm: %w", err)
	}
	p := &power{cmd: cmd, pipe: pipe, end: make(chan struct{})}
	go func() {
		cmd.Wait() // however it ended: it is off
		close(p.end)
	}()
	m.power = p
	return nil
}

// listen makes a socket at path, on which the first that connects is heard.
func listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("vm: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// Kill cuts the machine's power and returns when it is off. Commands that ran end with [ErrGone].
func (m *Machine) Kill() error {
	p := m.power
	if p == nil {
		return nil
	}
	m.power = nil
	err := p.cmd.Process.Signal(syscall.SIGTERM) // the keeper kills the others
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	select {
	case <-p.end:
	case <-time.After(endDeadline):
		err = errors.Join(err, fmt.Errorf("vm: still there %v after it was killed", endDeadline),
			syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL))
	}
	if p.session != nil {
		p.close()
	}
	return errors.Join(err, p.pipe.Close())
}

// Cut is Kill for a machine whose disks have caches: of each sector that was written to them and not
// flushed, either is there, what was written or what had been there before.
func (m *Machine) Cut(rng *rand.Rand) error {
	if err := m.Kill(); err != nil {
		return err
	}
	m.caches.lose(rng, []int{0, 50, 100}[rng.IntN(3)])
	return nil
}

// PowerOff writes back what is in the machine's memory and switches it off, without asking what runs
// in it. lvm2's volumes are not deactivated.
func (m *Machine) PowerOff(ctx context.Context) error {
	if _, err := m.Run(ctx, "sync"); err != nil {
		return err
	}
	return m.Kill()
}

// close ends the machine with its test. Of a test that failed, it shows the console and keeps the logs.
func (m *Machine) close() {
	if m.t.Failed() {
		m.keepLogs()
	}
	if err := m.Kill(); err != nil {
		m.t.Error(err)
	}
	if err := m.caches.close(); err != nil {
		m.t.Error(err)
	}
	if err := os.RemoveAll(m.dir); err != nil {
		m.t.Error(err)
	}
}

var logs = []string{"console.log", "commands.log", "qemu.log", "virtiofsd.log"}

// lastWords is what the machine said last; of one that never ran, what QEMU and virtiofsd said.
func (m *Machine) lastWords() string {
	var words []string
	for _, name := range []string{"qemu.log", "console.log", "virtiofsd.log"} {
		b, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil || len(b) == 0 || name == "virtiofsd.log" && len(words) > 0 {
			continue
		}
		const enough = 4000
		words = append(words, "== "+name+"\n"+strings.TrimSpace(string(b[max(0, len(b)-enough):])))
	}
	return strings.Join(words, "\n")
}
