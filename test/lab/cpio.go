package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// Cpio is an archive in the "newc" format, which the kernel unpacks as its first root file system:
//
//	each entry   "070701" + 13 numbers of 8 hex digits + name NUL, padded to 4, + data, padded to 4
//	the end      an entry named TRAILER!!!
//
// Source: Linux 6.1, Documentation/driver-api/early-userspace/buffer-format.rst.
type Cpio struct {
	buf   bytes.Buffer
	inode int
}

// File types and the permission bits of what the archive holds.
const (
	cpioDir     = 0o040755
	cpioProgram = 0o100755
	cpioLink    = 0o120777
	cpioEnd     = 0
)

// Dir adds a folder; what lies in it must follow it.
func (c *Cpio) Dir(name string) { c.add(name, cpioDir, nil) }

// Program adds a file that can be run.
func (c *Cpio) Program(name string, b []byte) { c.add(name, cpioProgram, b) }

// Link adds a symbolic link.
func (c *Cpio) Link(name, target string) { c.add(name, cpioLink, []byte(target)) }

// Programs adds the files of a folder, in the order of their names, to the folder to.
func (c *Cpio) Programs(to, folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return err
		}
		c.Program(to+"/"+e.Name(), b)
	}
	return nil
}

// Bytes ends the archive and returns it.
func (c *Cpio) Bytes() []byte {
	c.add("TRAILER!!!", cpioEnd, nil)
	return c.buf.Bytes()
}

func (c *Cpio) add(name string, mode int, data []byte) {
	c.inode++
	const uid, gid, links, mtime, devMajor, devMinor, rdevMajor, rdevMinor, check = 0, 0, 1, 0, 0, 0, 0, 0, 0
	c.buf.WriteString("070701")
	for _, n := range []int{
		c.inode, mode, uid, gid, links, mtime, len(data),
		devMajor, devMinor, rdevMajor, rdevMinor, len(name) + 1, check,
	} {
		fmt.Fprintf(&c.buf, "%08X", n)
	}
	c.buf.WriteString(name + "\x00")
	c.pad()
	c.buf.Write(data)
	c.pad()
}

func (c *Cpio) pad() { c.buf.Write(make([]byte, -c.buf.Len()&3)) }
