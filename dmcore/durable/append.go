package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Appender is a file that only grows. It is safe for concurrent use.
type Appender struct {
	mu  sync.Mutex
	f   *os.File
	err error
}

// OpenAppend opens a file for appending; one that does not exist is created
// with the permissions perm (less the umask). Its name is durable when
// OpenAppend returns, also if someone else created it and died.
func OpenAppend(path string, perm os.FileMode) (*Appender, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, perm)
	if err != nil {
		return nil, err
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Appender{f: f}, nil
}

// Write appends b; it is durable when Write returns without error. Records of
// concurrent calls do not mix. A crash inside Write may leave the first part of
// b at the end of the file. Once a write failed all later ones do: behind half
// a record nothing may follow.
func (a *Appender) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return 0, a.err
	}
	n, err := a.f.Write(b)
	if err == nil {
		err = a.f.Sync()
	}
	if err != nil {
		a.err = fmt.Errorf("an append failed before: %w", err)
		return n, err
	}
	return n, nil
}

// Close closes the file, and may be called again.
func (a *Appender) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if errors.Is(a.err, fs.ErrClosed) {
		return nil
	}
	a.err = fmt.Errorf("append to %s: %w", a.f.Name(), fs.ErrClosed)
	return a.f.Close()
}
