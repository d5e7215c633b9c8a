package lvm

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cowhand/dmcore/durable"
)

// Archive keeps copies of the metadata as files where lvm2 keeps them, so that
// vgcfgrestore finds them, and so that `vgs` need not write what is missing
// (lvm2 2.03.16, lib/format_text/archive.c and archiver.c):
//
//	ArchiveDir/vg_00042-1428055562.vg    what was, before each change
//	BackupDir/vg                         what is
type Archive struct {
	ArchiveDir string           // "": none is kept
	BackupDir  string           // "": none is kept
	RetainMin  int              // this many archived copies of a group stay; 0: 10, less: none has to
	RetainDays int              // and all that are younger; 0: 30, less: no age keeps one
	Now        func() time.Time // nil: time.Now
}

// ArchiveIn keeps both kinds of copies below dir, as lvm2 does below /etc/lvm.
func ArchiveIn(dir string) *Archive {
	return &Archive{ArchiveDir: filepath.Join(dir, "archive"), BackupDir: filepath.Join(dir, "backup")}
}

// Archive adds a copy of the group as it was before a change, and removes those
// that neither number nor age retains.
func (a *Archive) Archive(vg *VG, h Header) error {
	dir := a.ArchiveDir
	if dir == "" {
		return nil
	}
	text, err := a.text(vg, h, dir)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	old, err := archived(dir, vg.Name)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	next := uint64(0)
	if len(old) > 0 {
		next = old[len(old)-1].index + 1
	}
	name := fmt.Sprintf("%s_%05d-%d.vg", vg.Name, next, rand.Int32())
	if err := durable.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return a.expire(dir, old)
}

// Backup replaces the copy of the group as it is now.
func (a *Archive) Backup(vg *VG, h Header) error {
	dir := a.BackupDir
	if dir == "" {
		return nil
	}
	text, err := a.text(vg, h, dir)
	if err == nil {
		err = durable.WriteFile(filepath.Join(dir, vg.Name), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// Forget removes the backup of a group that is no more. Its archive stays.
func (a *Archive) Forget(name string) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if a.BackupDir == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(a.BackupDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

func (a *Archive) text(vg *VG, h Header, dir string) ([]byte, error) {
	if err := CheckName(vg.Name); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return vg.FileText(h)
}

type archiveFile struct {
	path  string
	index uint64
}

// archived lists the archive of a group, oldest first.
func archived(dir, vg string) ([]archiveFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []archiveFile
	for _, e := range entries {
		body, isVG := strings.CutSuffix(e.Name(), ".vg")
		i := strings.LastIndexByte(body, '_') // the group's name may have one too
		if !isVG || i < 0 || body[:i] != vg {
			continue
		}
		number, _, _ := strings.Cut(body[i+1:], "-")
		index, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			continue
		}
		files = append(files, archiveFile{filepath.Join(dir, e.Name()), index})
	}
	slices.SortStableFunc(files, func(a, b archiveFile) int { return int(int64(a.index) - int64(b.index)) })
	return files, nil
}

// expire removes from files, oldest first, what need not be retained beside the
// one just written.
func (a *Archive) expire(dir string, files []archiveFile) error {
	least, days := a.RetainMin, a.RetainDays
	if least == 0 {
		least = 10
	}
	if days == 0 {
		days = 30
	}
	least, days = max(least, 0), max(days, 0)
	now := time.Now
	if a.Now != nil {
		now = a.Now
	}
	young := now().AddDate(0, 0, -days)
	removed := false
	for left := len(files) + 1; left > least && len(files) > 0; files = files[1:] {
		info, err := os.Stat(files[0].path)
		if errors.Is(err, fs.ErrNotExist) {
			left--
			continue
		}
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if info.ModTime().After(young) {
			continue
		}
		if err := os.Remove(files[0].path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("archive: %w", err)
		}
		left--
		removed = true
	}
	if !removed {
		return nil
	}
	return durable.SyncDir(dir)
}
