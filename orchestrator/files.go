package orchestrator

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"cowhand/dmcore/durable"
)

// ErrGuestBusy is a guest or set that another run of this host works on.
var ErrGuestBusy = errors.New("another run works on it")

// Files is the part of the state directory beside the journal: a lock for each
// guest and set, and the definitions of guests saved with their sets.
type Files struct{ Dir string }

// Lock takes the guests and sets of a plan for one run, all or none, and returns
// the unlock. The locks go with the process.
func (f *Files) Lock(p *Plan) (unlock func(), err error) {
	dir := filepath.Join(f.Dir, "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var held []*os.File
	unlock = func() {
		for _, h := range held {
			h.Close()
		}
	}
	var names []string
	for _, g := range p.Guests {
		names = append(names, "guest "+g)
	}
	for _, s := range p.Sets {
		names = append(names, "set "+s)
	}
	slices.Sort(names) // one order for all, and each once
	for _, name := range slices.Compact(names) {
		h, err := os.OpenFile(filepath.Join(dir, fileName(name)), os.O_RDWR|os.O_CREATE, 0o600)
		if err == nil {
			held = append(held, h)
			err = syscall.Flock(int(h.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		}
		if err != nil {
			unlock()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				err = ErrGuestBusy
			}
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return unlock, nil
}

// definition is where the definition of a guest is kept for a set. It may hold
// passwords: 0600 in a folder of 0700.
func (f *Files) definition(set, guest string) string {
	return filepath.Join(f.Dir, "sets", fileName(set), fileName(guest)+".xml")
}

func (f *Files) saveDefinition(set, guest, xml string) error {
	path := f.definition(set, guest)
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(path, []byte(xml), 0o600)
}

// forgetSet removes what was saved with a set.
func (f *Files) forgetSet(set string) error {
	return os.RemoveAll(filepath.Join(f.Dir, "sets", fileName(set)))
}

// copyFile copies a guest's NVRAM for its double, durably and never over a file
// that exists.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(in, 64<<20))
	if err != nil {
		return err
	}
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	if err := durable.WriteFile(to, b, st.Mode().Perm()); err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		return os.Chown(to, int(sys.Uid), int(sys.Gid))
	}
	return nil
}

// fileName makes a name safe for a file: anything but letters, digits, ".", "_"
// and "-" becomes "%" and two hex digits, and so does a leading dot.
func fileName(s string) string {
	var b []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		if tagByte(c) && c != '/' && c != '%' && c != '!' && c != '#' && c != ':' && c != '=' && c != '+' && !(i == 0 && c == '.') {
			b = append(b, c)
		} else {
			b = append(b, '%')
			b = hex.AppendEncode(b, []byte{c})
		}
	}
	return string(b)
}
