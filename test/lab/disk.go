package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Image makes an ext4 file system of the given size in the file path, holding files (name without
// slash to content), by mke2fs and without mounting.
func Image(ctx context.Context, path string, mebibytes int, files map[string]string) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), "files-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	_, err = run(ctx, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0",
		"-d", dir, path, strconv.Itoa(mebibytes)+"M")
	return err
}

// Extent is where a disk lies in a file: all of it when Length is 0.
type Extent struct{ Offset, Length int64 }

// ReadFile returns the content of a file in the root of an ext4 file system, as e2fsprogs reads it.
// The file system lies in a raw image or block device, or behind an NBD URI; at says where in it.
// A journal that was not yet written back is replayed first, on a copy: the source is only read.
func ReadFile(ctx context.Context, source string, at Extent, name string) (string, error) {
	dir, err := os.MkdirTemp("", "cowhand-read-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, "disk")
	if err := Copy(ctx, source, at, copied); err != nil {
		return "", err
	}
	if _, err := run(ctx, "e2fsck", "-E", "journal_only", "-y", copied); err != nil {
		return "", err
	}
	out := filepath.Join(dir, "out")
	said, err := run(ctx, "debugfs", "-R", fmt.Sprintf("dump /%s %s", name, out), copied)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(out)
	if err != nil { // debugfs complains on its output and still exits with 0
		return "", fmt.Errorf("lab: %s: /%s: debugfs: %s", source, name, strings.TrimSpace(said))
	}
	return string(b), nil
}

// Copy reads a raw image, block device or NBD URI into a new file with qemu-img.
func Copy(ctx context.Context, source string, at Extent, path string) error {
	file := "file"
	if !strings.Contains(source, "://") {
		info, err := os.Stat(source)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			file = "host_device"
		}
		source = "driver=raw,offset=" + strconv.FormatInt(at.Offset, 10) +
			size(at) + ",file.locking=off,file.driver=" + file + ",file.filename=" + source
		_, err = run(ctx, "qemu-img", "convert", "--image-opts", "-O", "raw", source, path)
		return err
	}
	_, err := run(ctx, "qemu-img", "convert", "-f", "raw", "-O", "raw", source, path)
	return err
}

func size(at Extent) string {
	if at.Length == 0 {
		return ""
	}
	return ",size=" + strconv.FormatInt(at.Length, 10)
}

// run runs a program and returns all it said; an error holds that too.
func run(ctx context.Context, name string, args ...string) (string, error) {
	path, err := Look(name)
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("lab: %s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
