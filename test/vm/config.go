package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Config is a machine to be. The zero value has no disks.
type Config struct {
	Disks     []Disk
	MemoryMiB int  // 1024 unless set; half of what is written outside the disks lies in it too
	CPUs      int  // 2 unless set
	NoUdev    bool // as in containers and an initramfs: device nodes come from the kernel, links from nobody

	// AutoActivate has udev's rules activate a group when the last of its PVs appears, as Debian does.
	// Otherwise volumes are active only when a test makes them so.
	AutoActivate bool
}

// Disk is a disk of the machine: the first is /dev/vda, with udev also /dev/disk/by-id/virtio-disk0.
// What a VM wrote to it when its power is cut is there when it is started again, flushed or not: a
// cut takes what was in the VM's memory, its page cache included.
type Disk struct {
	MiB int

	// WriteMiB is how many MiB a second can be written, 0: as many as possible. It makes that
	// something is still under way when the power goes.
	WriteMiB int

	// Cache gives it a write cache, in memory: [Machine.Cut] loses what was not flushed.
	Cache bool
}

// lvmConfig is in the VM beside lvm2's own lvm.conf. What would want systemd or a daemon is off, and
// where there is no udev, lvm2 is told so, as in a container: it does not find out by itself.
func (c Config) lvmConfig() string {
	return fmt.Sprintf(`# made by cowhand's test VM
activation { monitoring=0 udev_sync=%[1]d udev_rules=%[1]d }
global { use_lvmpolld=0 event_activation=%[2]d }
`, bit(!c.NoUdev), bit(c.AutoActivate))
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// command is QEMU's command line, for a folder with all its files.
func (c Config) command(qemu, dir, linux, words string) []string {
	memory := strconv.Itoa(c.MemoryMiB) + "M"
	accel, cpu := "tcg,thread=multi", "qemu64,+rdrand"
	if os.Getenv("COWHAND_KVM") == "1" {
		accel, cpu = "kvm", "host"
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	line := []string{
		qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-M", "pc", "-accel", accel, "-cpu", cpu, "-smp", strconv.Itoa(c.CPUs), "-m", memory,
		"-object", "memory-backend-memfd,id=memory,share=on,size=" + memory, "-numa", "node,memdev=memory",
		"-kernel", filepath.Join(linux, "vmlinuz"), "-initrd", file("initrd"), "-append", words,
		"-chardev", "file,id=console,append=on,path=" + file("console.log"), "-serial", "chardev:console",
		"-chardev", "socket,id=root,path=" + file("root.sock"),
		"-device", "vhost-user-fs-pci,chardev=root,tag=root,queue-size=1024",
		"-chardev", "socket,id=agent,path=" + file("agent.sock"),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=cowhand",
	}
	for i, d := range c.Disks {
		drive := fmt.Sprintf("if=none,id=disk%d,file=%s,format=raw,cache=writeback,discard=unmap,detect-zeroes=unmap", i, file(diskName(i)))
		if d.Cache {
			drive = fmt.Sprintf("if=none,id=disk%d,file=nbd+unix:///%s?socket=%s,format=raw,cache=writeback,discard=unmap", i, diskName(i), file(cacheSocket))
		}
		if d.WriteMiB > 0 {
			drive += fmt.Sprintf(",throttling.bps-write=%d", d.WriteMiB<<20)
		}
		line = append(line, "-drive", drive, "-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d,serial=disk%d", i, i))
	}
	return line
}

// cacheSocket is where disks with a cache are served.
const cacheSocket = "disks.sock"

func diskName(i int) string { return fmt.Sprintf("disk%d.img", i) }

func (c Config) withDefaults() Config {
	if c.MemoryMiB == 0 {
		c.MemoryMiB = 1024
	}
	if c.CPUs == 0 {
		c.CPUs = 2
	}
	return c
}
