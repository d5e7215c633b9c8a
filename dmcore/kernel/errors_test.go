package kernel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

func TestCause(t *testing.T) {
	for _, c := range []struct {
		cmd  dmcore.Command
		err  error
		want error
	}{
		{dmcore.Status, unix.ENXIO, dmcore.ErrNotFound},
		{dmcore.Create, unix.EBUSY, dmcore.ErrExists},
		{dmcore.Rename, unix.EBUSY, dmcore.ErrExists},
		{dmcore.Remove, unix.EBUSY, dmcore.ErrBusy},
		{dmcore.Load, unix.EBUSY, dmcore.ErrBusy},
		{dmcore.Load, unix.EINVAL, dmcore.ErrInvalid},
		{dmcore.Load, unix.ENODEV, dmcore.ErrNotFound},
		{dmcore.Load, unix.ENOENT, dmcore.ErrNotFound},
		{dmcore.Load, unix.EACCES, dmcore.ErrReadOnly},
		{dmcore.Load, unix.EROFS, dmcore.ErrReadOnly},
		{dmcore.Wait, unix.ENOTTY, dmcore.ErrNotSupported},
		{dmcore.Resume, unix.EIO, dmcore.ErrIO},
		{dmcore.Message, unix.EEXIST, dmcore.ErrExists},
		{dmcore.Message, unix.ENODATA, dmcore.ErrNotFound},
		{dmcore.Load, unix.ENODATA, dmcore.ErrNotFound},
		{dmcore.Message, unix.EOPNOTSUPP, dmcore.ErrNotSupported},
		{dmcore.Message, unix.EBUSY, dmcore.ErrBusy},
		{dmcore.Resume, unix.ENOMEM, unix.ENOMEM},
		{dmcore.Load, fs.ErrClosed, fs.ErrClosed},
	} {
		if got := cause(c.cmd, c.err); !errors.Is(got, c.want) {
			t.Errorf("%v of %v: %v, want %v", c.err, c.cmd, got, c.want)
		}
	}
	if err := cause(dmcore.Load, unix.EINVAL); !strings.Contains(err.Error(), "dmesg") {
		t.Errorf("%q does not say where the reason is", err)
	}
}

func TestUnavailable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "mapper"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mapper/control"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := New(Config{Dir: dir}) // a file is no control node
	defer c.Close()
	_, err := dmcore.NewClient(c).Version(t.Context())
	var e *dmcore.Error
	if !errors.Is(err, dmcore.ErrUnavailable) || !errors.As(err, &e) || e.Cmd != dmcore.Version || !strings.Contains(err.Error(), "modprobe dm_mod") {
		t.Errorf("version: %v", err)
	}
	for err, want := range map[error]string{unix.ENOENT: "modprobe", unix.ENODEV: "modprobe", unix.ENXIO: "modprobe", unix.EACCES: "root", unix.EPERM: "root", unix.EMFILE: "too many"} {
		if got := unavailable("/dev/mapper/control", err); !errors.Is(got, dmcore.ErrUnavailable) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: %v", err, got)
		}
	}
	if !errors.Is(unavailable("x", unix.EACCES), fs.ErrPermission) {
		t.Error("that it is a matter of permission is lost")
	}
	c.Close()
	if err := dmcore.NewClient(c).Settle(t.Context()); err != nil {
		t.Errorf("settling nothing: %v", err)
	}
	if _, err := dmcore.NewClient(c).List(t.Context()); !errors.Is(err, dmcore.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

// The checks before the kernel is asked.
func TestRefused(t *testing.T) {
	c := New(Config{Dir: t.TempDir()})
	for what, req := range map[dmcore.Command]*dmcore.Request{
		dmcore.Status:  {},
		dmcore.Create:  {Name: "a/b"},
		dmcore.Remove:  {Name: "a\x00"},
		dmcore.Load:    {UUID: "x", Table: dmcore.Table{{Length: 8, Target: dmcore.Linear{Dev: "@LVM-x"}}}},
		dmcore.Rename:  {UUID: "x", NewName: "a", NewUUID: "b"},
		dmcore.Message: {UUID: "x", Text: "a\x00b"},
	} {
		if _, err := c.Do(t.Context(), what, req); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("%v: %v", what, err)
		}
	}
	if _, err := c.Do(t.Context(), dmcore.Load, &dmcore.Request{UUID: "x"}); !errors.Is(err, dmcore.ErrInvalid) {
		t.Errorf("an empty table: %v", err)
	}
	if _, err := c.Do(t.Context(), dmcore.Command(99), &dmcore.Request{UUID: "x"}); !errors.Is(err, dmcore.ErrNotSupported) {
		t.Errorf("an unknown command: %v", err)
	}
}
