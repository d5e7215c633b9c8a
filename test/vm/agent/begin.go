package main

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cowhand/test/vm/wire"
)

// environ is what every command in the VM has.
var environ = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb", "COWHAND_VM=1",
}

// begin brings the machine from the kernel's first process to one where lvm2 works.
func begin() error {
	setup, err := readSetup()
	if err != nil {
		return err
	}
	for _, step := range []func(wire.Setup) error{mountKernel, loadFirst, mountRoot, enterRoot, configure} {
		if err := step(setup); err != nil {
			return err
		}
	}
	say("root is there")
	// What systemd would have made device nodes of: kmod's static nodes.
	if err := run("modprobe", "-a", "dm-mod", "loop"); err != nil {
		return err
	}
	if !setup.Udev {
		return nil
	}
	return startUdev()
}

func readSetup() (setup wire.Setup, err error) {
	f, err := os.Open(wire.SetupFile)
	if err != nil {
		return setup, err
	}
	defer f.Close()
	return setup, gob.NewDecoder(f).Decode(&setup)
}

func mountKernel(wire.Setup) error {
	return errors.Join(
		mount("dev", "/dev", "devtmpfs", 0, ""),
		mount("proc", "/proc", "proc", 0, ""),
		mount("sys", "/sys", "sysfs", 0, ""),
	)
}

// loadFirst loads the modules without which there is no root, in the order of their names.
func loadFirst(wire.Setup) error {
	modules, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	for _, path := range modules {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("module %s: %w", path, err)
		}
	}
	return nil
}

// mountRoot makes /root of the host's root below and memory above.
func mountRoot(setup wire.Setup) error {
	if err := mount("root", "/lower", "virtiofs", unix.MS_RDONLY, ""); err != nil {
		return err
	}
	if err := mount("upper", "/memory", "tmpfs", 0, "size=75%"); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir("/memory/upper", 0o755), os.Mkdir("/memory/work", 0o755)); err != nil {
		return err
	}
	if err := mount("root", "/root", "overlay", 0, "lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work"); err != nil {
		return err
	}
	for _, b := range setup.Binds {
		if err := mount("/lower"+b.Host, "/root"+b.Inside, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// enterRoot makes /root the root. Not by chroot alone: udev's tools do nothing where they see one.
func enterRoot(wire.Setup) error {
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if err := mount(dir, "/root"+dir, "", unix.MS_MOVE, ""); err != nil {
			return err
		}
	}
	if err := os.Chdir("/root"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := errors.Join(unix.Chroot("."), os.Chdir("/")); err != nil {
		return err
	}
	for _, dir := range []string{"/run", "/tmp", "/dev/shm", "/var/log", "/var/lib/libvirt", "/var/cache/libvirt"} {
		if err := mount("memory", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
	}
	return errors.Join(
		os.Chmod("/tmp", 0o1777), os.Chmod("/dev/shm", 0o1777),
		os.MkdirAll("/run/lock", 0o755),
		mount("devpts", "/dev/pts", "devpts", 0, ""),
		mount("cgroup", "/sys/fs/cgroup", "cgroup2", 0, ""),
	)
}

// configure puts away what the host's lvm2 knows of the host's disks, and names the machine.
func configure(setup wire.Setup) error {
	for k, v := range map[string]string{"hung_task_timeout_secs": "30", "panic_on_oops": "1", "sysrq": "1"} {
		if err := os.WriteFile("/proc/sys/kernel/"+k, []byte(v), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	var errs []error
	for _, dir := range []string{"devices", "backup", "archive"} {
		errs = append(errs, os.RemoveAll("/etc/lvm/"+dir), os.MkdirAll("/etc/lvm/"+dir, 0o700))
	}
	for _, kv := range environ { // for what is looked up by name here
		errs = append(errs, setenv(kv))
	}
	return errors.Join(append(errs,
		os.WriteFile("/etc/lvm/lvmlocal.conf", []byte(setup.Config), 0o644),
		unix.Sethostname([]byte("cowhand-vm")),
		loopbackUp(),
	)...)
}

func startUdev() error {
	udevd := "/lib/systemd/systemd-udevd"
	if _, err := os.Stat(udevd); err != nil {
		return fmt.Errorf("no udev: %w", err)
	}
	if err := run(udevd, "--daemon"); err != nil {
		return err
	}
	say("udevd is there")
	if err := run("udevadm", "trigger", "--action=add", "--subsystem-match=block", "--subsystem-match=misc", "--subsystem-match=virtio-ports"); err != nil {
		return err
	}
	err := run("udevadm", "settle", "--timeout=60")
	say("udev is settled")
	return err
}

// run runs a program, whose output goes to the console.
func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environ, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %q: %w", name, args, err)
	}
	return nil
}

// mount mounts on a folder that it makes if need be.
func mount(source, target, kind string, flags uintptr, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s %s on %s: %w", kind, source, target, err)
	}
	return nil
}
