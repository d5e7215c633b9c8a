package journal

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the file for this process; the kernel lets it go when it dies.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrRunning
	}
	return err
}
