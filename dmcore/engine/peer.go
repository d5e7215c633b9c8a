package engine

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// peerUID returns the user at the other end of a unix socket, as the kernel
// recorded it when the connection was made (for a client: when the server
// began to listen).
func peerUID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var opErr error
	err = raw.Control(func(fd uintptr) {
		cred, opErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err == nil {
		err = opErr
	}
	if err != nil {
		return 0, fmt.Errorf("peer of %s: %w", c.LocalAddr(), err)
	}
	return int(cred.Uid), nil
}

// checkPeer refuses everyone but root, our own user and the users given.
func checkPeer(c *net.UnixConn, users []int) error {
	uid, err := peerUID(c)
	if err != nil {
		return err
	}
	if uid == 0 || uid == os.Geteuid() || slices.Contains(users, uid) {
		return nil
	}
	return fmt.Errorf("user %d is not admitted: %w", uid, fs.ErrPermission)
}

// listen makes a unix socket at path with mode 0600 and that owner (-1: ours),
// in place of whatever a dead engine left there. It is bound under another name
// and renamed, so that nobody finds it with other permissions, or finds none
// where one was.
func listen(dir, name string, owner int) (*net.UnixListener, error) {
	tmp, final := filepath.Join(dir, "."+name[:1]), filepath.Join(dir, name)
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(tmp, 0o600)
	if err == nil && owner >= 0 {
		err = os.Lchown(tmp, owner, -1)
	}
	if err == nil {
		err = os.Rename(tmp, final)
	}
	if err != nil {
		l.Close()
		os.Remove(tmp)
		return nil, err
	}
	return l, nil
}
