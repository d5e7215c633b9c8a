package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cowhand/dmcore/durable"
	"cowhand/lvm"
)

// Hold is a guest that the monitor paused before a space that it fills was full.
// It is written down before the guest is paused, so that whoever looks later, also
// after the monitor or the host's libvirt was started anew, tells a guest that it
// paused from one that somebody else did.
type Hold struct {
	Guest  string    `json:"guest"`
	UUID   string    `json:"uuid"`
	Disk   string    `json:"disk"`
	Volume lvm.Ref   `json:"volume"`
	Part   lvm.Part  `json:"part,omitempty"` // of a thin pool
	Why    string    `json:"why"`
	Since  time.Time `json:"since"`
	// Activity is the guest's when it had been paused; empty: that it was is not
	// sure yet.
	Activity string `json:"activity,omitempty"`
	// LetGo says that somebody let the guest go on. It is his now, until the
	// space is no more short.
	LetGo bool `json:"let_go,omitempty"`
}

func (h Hold) space() lvm.Space { return lvm.Space{Ref: h.Volume, Part: h.Part} }

// String says why the guest is paused.
func (h Hold) String() string {
	return fmt.Sprintf("%s behind its disk %s %s", h.space(), h.Disk, h.Why)
}

// Paused tells people why the guest is paused, and what they can do.
func (h Hold) Paused() string {
	return fmt.Sprintf("guest %s is paused: %s.\n  'cowhand monitor' lets it go on when there is room: extend group %s, or remove what is not needed.\n"+
		"  To let it go on at once, whatever becomes of %s:  virsh resume %s", h.Guest, h, h.Volume.VG, h.Volume, h.Guest)
}

func (f *Files) holdFile(uuid string) string {
	return filepath.Join(f.Dir, "paused", fileName(uuid)+".json")
}

func (f *Files) saveHold(h Hold) error {
	path := f.holdFile(h.UUID)
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(b, '\n'), 0o600)
}

func (f *Files) forgetHold(uuid string) error {
	path := f.holdFile(uuid)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// Holds lists the guests that the monitor paused, by name of their files. A file
// that cannot be read is in the error.
func (f *Files) Holds() (holds []Hold, err error) {
	files, err := os.ReadDir(filepath.Join(f.Dir, "paused"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".json") {
			continue // left by a crash
		}
		path := filepath.Join(f.Dir, "paused", file.Name())
		b, err := os.ReadFile(path)
		var h Hold
		if err == nil {
			err = json.Unmarshal(b, &h)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
			continue
		}
		holds = append(holds, h)
	}
	return holds, errors.Join(errs...)
}
