// Command bench prints what cowhand costs beside its peers, as tables of ratios:
//
//	volume groups   one change of a group with 10, 300 and 3,000 volumes, beside lvm2
//	disks           NBD on a volume, an origin with a snapshot, and a snapshot, beside
//	                qemu-nbd (raw, qcow2 overlay) and nbdkit (file, --filter=cow)
//
// Everybody works in the same folder and is asked the same by the same client, in turn, some
// rounds; the median counts. A ratio is a speed: 2.00x is twice as fast as the best peer. Nothing
// is asserted. Writes end with a flush, and its time is theirs. Beside the rows stands what explains
// them: the disk itself, and qemu-nbd where it promises for a first touch what cowhand does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// target is what a ratio should reach; below it a row is marked.
const target = 0.7

type options struct {
	program string
	dir     string
	only    string
	size    int64
	rounds  int
}

func main() {
	var o options
	mib := flag.Int64("size", 1024, "`MiB` of the volume, at least 512")
	flag.StringVar(&o.program, "cowhand", "bin/cowhand", "the program to measure")
	flag.StringVar(&o.dir, "dir", "", "where to work: five times the size is needed (default: the folder for temporary files)")
	flag.StringVar(&o.only, "only", "", "groups or disks")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each row is measured")
	flag.Parse()
	o.size = *mib << 20
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.size < 512<<20 || o.rounds < 1 || o.only != "" && o.only != "groups" && o.only != "disks" {
		return errors.New("at least 512 MiB and one round; -only is groups or disks")
	}
	if o.program, err = filepath.Abs(o.program); err != nil {
		return err
	}
	if _, err := os.Stat(o.program); err != nil {
		return fmt.Errorf("%w: run 'make build' first", err)
	}
	dir, err := os.MkdirTemp(o.dir, "cowhand-bench-")
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Println(machine(dir))
	fmt.Printf("Median of %d rounds. A ratio is cowhand's speed by that of the best peer; ! marks less than %.1fx.\n",
		o.rounds, target)
	if o.only != "disks" {
		if err := groups(ctx, o, filepath.Join(dir, "groups")); err != nil {
			return fmt.Errorf("volume groups: %w", err)
		}
	}
	if o.only != "groups" {
		if err := disks(ctx, o, filepath.Join(dir, "disks")); err != nil {
			return fmt.Errorf("disks: %w", err)
		}
	}
	return nil
}

// machine says in general words what the figures were measured on.
func machine(dir string) string {
	var u unix.Utsname
	var fs unix.Statfs_t
	release, kind := "unknown", "unknown file system"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	if unix.Statfs(dir, &fs) == nil {
		name, known := map[int64]string{
			unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.TMPFS_MAGIC: "tmpfs",
			unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
		}[int64(fs.Type)]
		if kind = name; !known {
			kind = fmt.Sprintf("file system %#x", fs.Type)
		}
	}
	load, _, _ := strings.Cut(readLine("/proc/loadavg"), " ")
	return fmt.Sprintf("Linux %s, %d processors, load %s, %s; %s", release, runtime.NumCPU(), load, kind, versions())
}

func readLine(path string) string {
	b, _ := os.ReadFile(path) // a note
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// versions names the peers that are here.
func versions() string {
	var have []string
	for _, p := range []struct{ name, arg string }{{"qemu-nbd", "--version"}, {"nbdkit", "--version"}, {"lvm", "version"}} {
		out, err := exec.Command(p.name, p.arg).Output()
		if err != nil {
			have = append(have, "no "+p.name)
			continue
		}
		line, _, _ := strings.Cut(string(out), "\n")
		line, _, _ = strings.Cut(line, "(")
		have = append(have, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(have, ", ")
}

// settle waits until nothing of dir is to be written any more, so that a measurement does not pay
// for the one before.
func settle(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// output runs a program and returns what it printed; an error holds what it complained of.
func output(cmd *exec.Cmd) (string, error) {
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return string(out), err
}

// tidyUp runs f, which undoes something, also after an interruption.
func tidyUp(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return f(ctx)
}
