package hvtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"cowhand/hypervisor"
)

// Open returns the host that is kept in a folder, which is made if it is not
// there. Each guest is a few files; a person may read and write them:
//
//	web1.xml     the definition
//	web1.state   "running", "shut off", … (absent: shut off)
//	web1.live    the definition it runs on, while it is up
//	web1.ran     how often it was started or went on
//	web1.hang    if it is there, the guest ignores requests to power off
//
// The folder is read anew at each operation, so processes may use it in turn;
// nothing keeps them from using it at once.
func Open(dir string) (*Host, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	h := New()
	h.dir = dir
	h.OnShutdown = h.hangFile
	return h, nil
}

func (h *Host) file(name, ext string) string {
	return filepath.Join(h.dir, url.PathEscape(name)+ext)
}

// hangFile is the OnShutdown of a host in a folder.
func (h *Host) hangFile(ctx context.Context, guest string) error {
	if _, err := os.Stat(h.file(guest, ".hang")); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return Hang(ctx, guest)
}

// load reads all guests of the folder.
func (h *Host) load() error {
	if h.dir == "" {
		return nil
	}
	files, err := os.ReadDir(h.dir)
	if err != nil {
		return err
	}
	h.guests = map[string]*record{}
	for _, f := range files {
		base, ok := strings.CutSuffix(f.Name(), ".xml")
		if !ok {
			continue
		}
		r, err := read(filepath.Join(h.dir, base))
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		h.guests[r.name] = r
	}
	return nil
}

func read(base string) (*record, error) {
	r := &record{state: hypervisor.ShutOff}
	b, err := os.ReadFile(base + ".xml")
	if err != nil {
		return nil, err
	}
	r.xml = string(b)
	if r.name, r.uuid, err = hypervisor.Identify(r.xml); err != nil {
		return nil, err
	}
	if b, err = os.ReadFile(base + ".live"); err == nil {
		r.live = string(b)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if b, err = os.ReadFile(base + ".ran"); err == nil {
		if r.ran, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if b, err = os.ReadFile(base + ".state"); errors.Is(err, fs.ErrNotExist) {
		return r, nil
	} else if err != nil {
		return nil, err
	}
	for s := hypervisor.Unknown; s <= hypervisor.Suspended; s++ {
		if s.String() == strings.TrimSpace(string(b)) {
			r.state = s
			return r, nil
		}
	}
	return nil, fmt.Errorf("no such state: %q", b)
}

func (h *Host) save(r *record) error {
	if h.dir == "" {
		return nil
	}
	for ext, text := range map[string]string{".xml": r.xml, ".live": r.live, ".state": r.state.String() + "\n", ".ran": fmt.Sprintln(r.ran)} {
		path := h.file(r.name, ext)
		if text == "" {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) forget(name string) error {
	if h.dir == "" {
		return nil
	}
	var errs []error
	for _, ext := range []string{".xml", ".live", ".state", ".ran", ".hang"} {
		if err := os.Remove(h.file(name, ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
