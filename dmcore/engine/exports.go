package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/nbd"
)

// exports offers the host's volumes over NBD.
type exports struct{ host *host }

var _ nbd.Exports = exports{}

// volumeUUIDLen is the length of the UUID of a device that is a volume: "LVM-"
// and two IDs. Layers below and beside volumes have a suffix
// (lvm2 lib/misc/lvm-string.c, build_dm_uuid).
const volumeUUIDLen = len("LVM-") + 64

// exportName returns the "VG/LV" under which a device is offered; ok is false
// for one that is not.
func exportName(info dmcore.Info) (name string, ok bool) {
	if !info.Live || len(info.UUID) != volumeUUIDLen || !strings.HasPrefix(string(info.UUID), "LVM-") {
		return "", false
	}
	vg, lv, layer, ok := info.Name.Split()
	return vg + "/" + lv, ok && layer == ""
}

// deviceName undoes exportName.
func deviceName(export string) (dmcore.Name, bool) {
	vg, lv, ok := strings.Cut(export, "/")
	if !ok || vg == "" || lv == "" || strings.Contains(lv, "/") {
		return "", false
	}
	return dmcore.BuildName(vg, lv, ""), true
}

func exportOf(name string, info dmcore.Info, table dmcore.Table) nbd.Export {
	return nbd.Export{
		Name: name, Description: describe(table), Size: table.Len().Bytes(), ReadOnly: info.ReadOnly,
		MinBlock: dmcore.SectorSize, PreferredBlock: 4096,
	}
}

// describe tells what a volume is made of and how large it is.
func describe(t dmcore.Table) string {
	var types []string
	for _, s := range t {
		if !slices.Contains(types, s.Target.Type()) {
			types = append(types, s.Target.Type())
		}
	}
	size, unit := t.Len().Bytes()/1024, "KiB"
	for _, larger := range []string{"MiB", "GiB", "TiB"} {
		if size%1024 != 0 || size == 0 {
			break
		}
		size, unit = size/1024, larger
	}
	return fmt.Sprintf("%s, %d %s", strings.Join(types, "+"), size, unit)
}

// List tells the volumes there are, by name.
func (e exports) List(ctx context.Context) ([]nbd.Export, error) {
	e.host.mu.Lock()
	defer e.host.mu.Unlock()
	var list []nbd.Export
	for _, d := range e.host.devices {
		if name, ok := exportName(d.info); ok {
			list = append(list, exportOf(name, d.info, d.table))
		}
	}
	slices.SortFunc(list, func(a, b nbd.Export) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Open opens a volume for one connection.
func (e exports) Open(ctx context.Context, name string, readOnly bool) (blockdev.Device, nbd.Export, error) {
	dm, ok := deviceName(name)
	if !ok {
		return nil, nbd.Export{}, fmt.Errorf("export %q: %w", name, fs.ErrNotExist)
	}
	o, err := e.host.open(ctx, dm, readOnly)
	if errors.Is(err, dmcore.ErrReadOnly) && !readOnly {
		o, err = e.host.open(ctx, dm, true)
	}
	if errors.Is(err, dmcore.ErrNotFound) {
		err = fmt.Errorf("export %q: %w: %w", name, fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, nbd.Export{}, err
	}
	if is, ok := exportName(o.info); !ok || is != name {
		return nil, nbd.Export{}, errors.Join(fmt.Errorf("export %q: %w", name, fs.ErrNotExist), o.Close())
	}
	return o, exportOf(name, o.info, o.table), nil
}
