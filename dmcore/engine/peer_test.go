package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cowhand/dmcore"
)

// roleDial connects to a socket and tells what it hears.
func roleDial(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	b := make([]byte, 512)
	n, err := c.Read(b)
	fmt.Printf("%s", b[:n])
	return err
}

// roleListen listens until its input ends.
func roleListen(socket string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Println("listening")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// roleAs is this binary as a process of another user, from a place where that
// one may run it.
func roleAs(t *testing.T, uid int, name string, args ...string) *exec.Cmd {
	t.Helper()
	bin := filepath.Join(shortDir(t), "role")
	err := os.Link(os.Args[0], bin)
	if err != nil { // on another file system
		var self []byte
		if self, err = os.ReadFile(os.Args[0]); err == nil {
			err = os.WriteFile(bin, self, 0o755)
		}
	}
	if err = errors.Join(err, os.Chmod(filepath.Dir(bin), 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir = "/"
	cmd.Env = []string{roleEnv + "=" + name}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	return cmd
}

// Users that no system has.
const qemuUser, otherUser = 64055000, 64056000

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
}

func TestWhoMayConnect(t *testing.T) {
	needRoot(t)
	e := run(t, Config{NBDUsers: []int{qemuUser}, NBDOwner: qemuUser})
	if err := os.Chmod(filepath.Dir(e.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	try := func(uid int, socket string, admitted bool) {
		t.Helper()
		heard, err := roleAs(t, uid, "dial", filepath.Join(e.dir, socket)).Output()
		if got := err == nil && strings.HasPrefix(string(heard), "NBDMAGIC"); got != admitted {
			t.Errorf("user %d on %s: heard %q, %v", uid, socket, heard, err)
		}
	}
	try(qemuUser, nbdName, true)
	try(otherUser, nbdName, false)
	try(qemuUser, controlName, false)

	// The kernel's word on the peer counts, not only the modes.
	for _, s := range []string{nbdName, controlName} {
		if err := os.Chmod(filepath.Join(e.dir, s), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	try(otherUser, nbdName, false)
	heard, err := roleAs(t, otherUser, "dial", filepath.Join(e.dir, controlName)).Output()
	if r := decodeResponse(t, heard); err != nil || r.Error == nil || !errors.Is(r.Error.err(""), fs.ErrPermission) {
		t.Errorf("user %d on control socket: heard %q, %v", otherUser, heard, err)
	}
	if _, err := e.dial().Engine(t.Context()); err != nil {
		t.Errorf("engine: %v", err)
	}
}

func TestModes(t *testing.T) {
	e := run(t, Config{})
	want := map[string]fs.FileMode{".": 0o700, controlName: 0o600, nbdName: 0o600, stateName: 0o600, engineLock: 0o600}
	if os.Geteuid() == 0 {
		want["."] = 0o711
	}
	for name, mode := range want {
		st, err := os.Stat(filepath.Join(e.dir, name))
		if err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %v", name, st.Mode(), err, mode)
		}
	}
	entries, err := os.ReadDir(e.dir)
	for _, f := range entries {
		if strings.HasPrefix(f.Name(), ".") || err != nil {
			t.Errorf("left over: %s, %v", f.Name(), err)
		}
	}
}

// A run directory or an engine of another user is not used.
func TestForeignRunDir(t *testing.T) {
	needRoot(t)
	dir := shortDir(t)
	if err := os.Chown(dir, otherUser, otherUser); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), Config{RunDir: dir, Open: openFile}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("serve: %v", err)
	}
	cmd := roleAs(t, otherUser, "listen", filepath.Join(dir, controlName))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(dir); !errors.Is(err, fs.ErrPermission) || errors.Is(err, dmcore.ErrUnavailable) {
		t.Errorf("dial: %v", err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestPathTooLong(t *testing.T) {
	dir := filepath.Join(os.TempDir(), strings.Repeat("x", 100))
	for _, err := range []error{
		Serve(t.Context(), Config{RunDir: dir, Open: openFile}),
		func() error { _, err := Dial(dir); return err }(),
		func() error { _, err := EnsureRunning(t.Context(), dir, nil); return err }(),
		Stop(t.Context(), dir, false),
	} {
		if !errors.Is(err, dmcore.ErrInvalid) || !strings.Contains(err.Error(), "107") {
			t.Errorf("%v", err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", dir, err)
	}
}
