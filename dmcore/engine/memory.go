package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"cowhand/dmcore"
)

// maxMemory bounds devices.json when it is read, in bytes.
const maxMemory = 1 << 30

// memory is the file in which an engine leaves for the next one what was
// active and what was open:
//
//	{"format":1,"boot":"…","devices":[
//	{"name":"vg0-root","uuid":"LVM-…","table":"0 2048 linear /dev/vdb 2048","open":true}
//	]}
//
// It is replaced by rename. A boot of the machine ends all clients and empties
// a run directory in its usual place: the memory of another boot is nothing.
type memory struct {
	path string
	boot string
}

// remembered is one device in the file.
type remembered struct {
	Name     dmcore.Name  `json:"name"`
	UUID     dmcore.UUID  `json:"uuid,omitempty"`
	ReadOnly bool         `json:"readOnly,omitempty"`
	Table    dmcore.Table `json:"table"` // devices of the machine by UUID
	Open     bool         `json:"open,omitempty"`
	Torn     bool         `json:"torn,omitempty"`
}

type memoryFile struct {
	Format  int          `json:"format"`
	Boot    string       `json:"boot"`
	Devices []remembered `json:"devices"`
}

const memoryFormat = 1

// bootID tells one boot of the machine from another
// (Documentation/admin-guide/sysctl/kernel.rst, random).
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// read returns what the engine before remembered: nil if there was none since
// the machine booted, and none but not nil if nothing was active.
func (m *memory) read() ([]remembered, error) {
	f, err := os.Open(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMemory))
	if err != nil {
		return nil, err
	}
	devices, err := decodeMemory(b, m.boot)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (without it, a guest that had a volume open may find another: stop the guests, then remove the file)", m.path, err)
	}
	return devices, nil
}

func decodeMemory(b []byte, boot string) ([]remembered, error) {
	var file memoryFile
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if file.Format != memoryFormat {
		return nil, fmt.Errorf("format %d, want %d: %w", file.Format, memoryFormat, ErrState)
	}
	if file.Boot != boot {
		return nil, nil
	}
	for _, d := range file.Devices {
		if err := d.Table.Validate(); err != nil {
			return nil, fmt.Errorf("device %s: %w: %w", d.Name, ErrState, err)
		}
	}
	return append([]remembered{}, file.Devices...), nil
}

// write replaces the file.
func (m *memory) write(lines []json.RawMessage) error {
	var b bytes.Buffer
	size := 256
	for _, l := range lines {
		size += len(l) + 2
	}
	b.Grow(size)
	fmt.Fprintf(&b, "{\"format\":%d,\"boot\":%q,\"devices\":[", memoryFormat, m.boot)
	for i, l := range lines {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(l)
	}
	b.WriteString("\n]}\n")
	f, err := os.OpenFile(m.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	if err == nil {
		err = f.Sync() // so that no power cut leaves a file of this name that cannot be read
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(m.path+".new", m.path)
}

// lines is the content of the file: the devices with a live table, by number,
// and those that are missed.
func (h *host) lines() ([]json.RawMessage, error) {
	var ds []*device
	for _, d := range h.devices {
		if d.info.Live {
			ds = append(ds, d)
		}
	}
	slices.SortFunc(ds, func(a, b *device) int { return int(int64(a.info.Dev.Minor) - int64(b.info.Dev.Minor)) })
	lines := make([]json.RawMessage, len(ds))
	for i, d := range ds {
		if d.line == nil {
			if err := h.render(d); err != nil {
				return nil, err
			}
		}
		lines[i] = d.line
	}
	for _, w := range h.missing {
		b, err := json.Marshal(w)
		if err != nil {
			return nil, err
		}
		lines = append(lines, b)
	}
	return lines, nil
}

func (h *host) render(d *device) error {
	table, err := d.table.Resolve(func(dev dmcore.Dev) (dmcore.Dev, error) {
		if under := h.devices[dev]; under != nil && under.info.UUID != "" {
			return under.info.UUID.Dev(), nil
		}
		return dev, nil
	})
	if err != nil {
		return err
	}
	d.line, err = json.Marshal(remembered{
		Name: d.info.Name, UUID: d.info.UUID, ReadOnly: d.info.ReadOnly,
		Table: table, Open: d.opens > 0 || d.waiting != nil, Torn: d.torn,
	})
	return err
}

// save returns once the file tells every change that was noted before the
// call. Callers at the same time share one write.
func (h *host) save() error {
	h.mu.Lock()
	want := h.changes
	h.mu.Unlock()
	h.saving.Lock()
	defer h.saving.Unlock()
	if h.saved >= want {
		return nil
	}
	h.mu.Lock()
	changes, quiet := h.changes, h.quiet
	lines, err := h.lines()
	h.mu.Unlock()
	if quiet || err != nil {
		return err
	}
	if err := h.memory.write(lines); err != nil {
		return fmt.Errorf("%s: %w", h.memory.path, err)
	}
	h.saved = changes
	return nil
}
