// Package durable writes small files so that they survive a power cut: whole,
// or not at all.
//
//	WriteFile   temp file ─▶ fsync ─▶ rename ─▶ fsync of the directory
//	Appender    create ─▶ fsync of the directory ─▶ write ─▶ fsync ─▶ write …
//
// A new name is durable only with its directory, and a rename may be durable
// before the data of the file it moves (fsync(2); Documentation/filesystems/ext4).
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile puts data into the file of that name, in the place of what was
// there. Whoever reads it, at any time and after any crash, finds the old
// contents or the new. When WriteFile returns the new ones are durable. The
// file has exactly the permissions perm. A crash may leave a file ".NAME.*.tmp"
// beside it.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+name+".*.tmp")
	if err != nil {
		return err
	}
	if err := fill(f, data, perm); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return SyncDir(dir)
}

// fill writes, syncs and closes f.
func fill(f *os.File, data []byte, perm os.FileMode) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// MkdirAll makes a directory, and those above it that are missing; they are
// durable when it returns. One that is there is left as it is.
func MkdirAll(path string, perm os.FileMode) error {
	path = filepath.Clean(path)
	err := os.Mkdir(path, perm)
	if errors.Is(err, fs.ErrNotExist) {
		if err := MkdirAll(filepath.Dir(path), perm); err != nil {
			return err
		}
		err = os.Mkdir(path, perm)
	}
	if errors.Is(err, fs.ErrExist) {
		if st, e := os.Stat(path); e == nil && st.IsDir() {
			err = nil // its maker may have died before it was durable
		}
	}
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable: what was created, renamed or
// removed in it. A file system that cannot sync directories (EINVAL) keeps them
// by its own means, and is no error.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
