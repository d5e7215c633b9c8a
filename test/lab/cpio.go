package lab

import (
	"bytes"
	"fmt"
)

// cpio is an archive in the "newc" format, which the kernel unpacks as its first root file system:
//
//	each entry   "070701" + 13 numbers of 8 hex digits + name NUL, padded to 4, + data, padded to 4
//	the end      an entry named TRAILER!!!
//
// Source: Linux 6.1, Documentation/driver-api/early-userspace/buffer-format.rst.
type cpio struct {
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

func (c *cpio) dir(name string)               { c.add(name, cpioDir, nil) }
func (c *cpio) program(name string, b []byte) { c.add(name, cpioProgram, b) }
func (c *cpio) link(name, target string)      { c.add(name, cpioLink, []byte(target)) }

// bytes ends the archive and returns it.
func (c *cpio) bytes() []byte {
	c.add("TRAILER!!!", cpioEnd, nil)
	return c.buf.Bytes()
}

func (c *cpio) add(name string, mode int, data []byte) {
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

func (c *cpio) pad() { c.buf.Write(make([]byte, -c.buf.Len()&3)) }
