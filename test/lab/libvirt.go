package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cowhand/hypervisor"
)

//go:embed private-libvirt
var privateLibvirt string

// namespaces runs a command in namespaces of its own, and kills all in them when it dies itself.
var namespaces = []string{"unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"}

// Libvirt is a libvirt daemon of our own. URI reaches it; no other client does by accident.
//
//	as root       libvirtd in its own mount, process and network namespaces: /run, /etc/libvirt,
//	              /var/lib/libvirt, /var/log/libvirt and /var/cache/libvirt are empty file systems
//	              in memory there, so it neither sees nor changes the host's libvirt. QEMU runs as
//	              the distribution's user for it (libvirt-qemu), as under the host's libvirt.
//	as another    a session daemon whose XDG folders lie in Dir
//
// The daemon lives as long as a pipe to it is open, which the kernel closes when this process dies
// in whatever way: daemon and guests then die too.
type Libvirt struct {
	Dir string // socket, log and configuration of the daemon; QEMU's user may enter it
	URI string

	cmd  *exec.Cmd
	pipe io.Closer
	done chan error // the daemon's end
}

// StartLibvirt starts a daemon that keeps all its files in dir, and returns when it answers.
func StartLibvirt(ctx context.Context, dir string) (*Libvirt, error) {
	daemon, err := Look("libvirtd|virtqemud")
	if err != nil {
		return nil, fmt.Errorf("lab: libvirt: %w", err)
	}
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	cache = filepath.Join(cache, "libvirt")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	l := &Libvirt{Dir: dir, done: make(chan error, 1)}
	socket := strings.TrimSuffix(filepath.Base(daemon), "d") + "-sock"
	shell := []string{"sh", "-c", privateLibvirt, "private-libvirt", daemon, dir, cache}
	if os.Geteuid() == 0 {
		l.URI = "qemu:///system?socket=" + filepath.Join(dir, socket)
		shell = slices.Concat(namespaces, shell)
	} else {
		l.URI = "qemu:///session?socket=" + filepath.Join(dir, "run", "libvirt", socket)
	}

	l.cmd = exec.Command(shell[0], shell[1:]...)
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for us, who then stop it in order
	if l.pipe, err = l.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "daemon.out"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	l.cmd.Stdout, l.cmd.Stderr = log, log
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("lab: libvirt: %w", err)
	}
	go func() { l.done <- l.cmd.Wait() }()
	if err := l.ready(ctx); err != nil {
		return nil, errors.Join(err, l.Stop(), l.lastWords())
	}
	return l, nil
}

// Stop ends the daemon and its guests, pulling their plug, and returns when all are gone.
func (l *Libvirt) Stop() error {
	if err := l.pipe.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	select {
	case err := <-l.done:
		l.done <- err
		return nil // it was killed or said why in daemon.out
	case <-time.After(10 * time.Second):
		return errors.Join(errors.New("lab: libvirt: still there 10 s after its end was asked for"), l.cmd.Process.Kill())
	}
}

// Virsh runs virsh on the daemon and returns what it printed; an error holds what it complained of.
func (l *Libvirt) Virsh(ctx context.Context, args ...string) (string, error) {
	return virsh(ctx, l.URI, args...)
}

// Answers tells whether a libvirt is to be had at uri.
func Answers(ctx context.Context, uri string) bool {
	_, err := virsh(ctx, uri, "version")
	return err == nil
}

// AppArmor tells whether the libvirt at uri confines its guests with AppArmor.
func AppArmor(ctx context.Context, uri string) (bool, error) {
	capabilities, err := virsh(ctx, uri, "capabilities")
	return strings.Contains(capabilities, "<model>apparmor</model>"), err
}

// Reconnects tells whether the libvirt at uri has QEMU reconnect to an NBD server that went away,
// when a disk's definition asks for it.
func Reconnects(ctx context.Context, uri string) (bool, error) {
	said, err := virsh(ctx, uri, "version", "--daemon")
	if err != nil {
		return false, err
	}
	_, daemon, _ := strings.Cut(said, "Running against daemon:")
	var major, minor, release hypervisor.Version
	if _, err := fmt.Sscanf(strings.TrimSpace(daemon), "%d.%d.%d", &major, &minor, &release); err != nil {
		return false, fmt.Errorf("lab: virsh version: no version of the daemon in %q: %w", said, err)
	}
	return hypervisor.ReconnectSupported(major*1_000_000 + minor*1_000 + release), nil
}

func virsh(ctx context.Context, uri string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "virsh", append([]string{"--quiet", "--connect", uri}, args...)...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("lab: virsh %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}

// ready asks until the daemon answers. Its first answer takes a second or two: it looks at every
// QEMU first.
func (l *Libvirt) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var unanswered error
	err := Poll(ctx, func() (bool, error) {
		if _, unanswered = l.Virsh(ctx, "version"); unanswered == nil {
			return true, nil
		}
		select {
		case end := <-l.done:
			l.done <- end
			return false, fmt.Errorf("it ended at once: %w", end)
		default:
			return false, nil
		}
	})
	if err != nil {
		return fmt.Errorf("lab: libvirt at %s: %w: %w", l.URI, err, unanswered)
	}
	return nil
}

func (l *Libvirt) lastWords() error {
	var words []string
	for _, name := range []string{"daemon.out", "libvirtd.log"} {
		if b, err := os.ReadFile(filepath.Join(l.Dir, name)); err == nil {
			words = append(words, strings.TrimSpace(string(b)))
		}
	}
	return errors.New(strings.Join(words, "\n"))
}
