package vm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

// run is this process's folder for programs and machines. A shell that waits for the process's end,
// whatever end that is, removes it.
var run = sync.OnceValues(func() (r runFolder, err error) {
	if r.dir, err = os.MkdirTemp("", "cowhand-vm-"); err != nil {
		return r, err
	}
	input, pipe, err := os.Pipe()
	if err != nil {
		return r, err
	}
	defer input.Close()
	caretaker := exec.Command("sh", "-c", `cat >/dev/null; rm -rf --one-file-system "$0"`, r.dir)
	caretaker.Stdin = input
	caretaker.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is not for it
	if err := caretaker.Start(); err != nil {
		return r, fmt.Errorf("vm: %w", err)
	}
	r.alive, r.machines = pipe, new(atomic.Int32)
	return r, nil
})

type runFolder struct {
	dir      string
	alive    *os.File // closed by this process's end
	machines *atomic.Int32
}

// machine makes the folder of one machine. Its name is short enough for sockets.
func (r runFolder) machine() (string, error) {
	dir := filepath.Join(r.dir, strconv.Itoa(int(r.machines.Add(1))))
	return dir, os.Mkdir(dir, 0o755)
}
