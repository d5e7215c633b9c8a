package devscan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// Result is what a scan makes of the host's devices.
type Result struct {
	Devices  []string // that may be physical volumes, each once, by its first name
	Skipped  []Skip
	Problems []error // of the devices file: what it names and is not there, or is not as it says
}

// Opener opens a device to be read.
type Opener func(path string) (Reader, error)

// Reader is an open device.
type Reader interface {
	io.ReaderAt
	io.Closer
}

// Scan finds the devices that may be physical volumes. It reads the beginnings
// of those that it need not skip unread, and changes nothing.
func (r *Rules) Scan(ctx context.Context, sys *System, open Opener) (*Result, error) {
	s := &scan{Rules: r, sys: sys, open: open, listed: map[Dev]*Entry{}, aka: map[string]*Block{}, first: map[Dev]string{}, gone: map[*Entry]string{}}
	for i := range sys.Blocks {
		b := &sys.Blocks[i]
		for _, n := range b.Names {
			s.aka[n.Path] = b
		}
		if len(b.Names) > 0 {
			s.first[b.Dev] = r.names(b)[0]
		}
	}
	if r.file != nil {
		if r.filter != nil || r.global != nil {
			s.problems = append(s.problems, errors.New("devices/filter and devices/global_filter are ignored: a devices file is in use"))
		}
		for i := range r.file.Entries {
			s.match(&r.file.Entries[i])
		}
	}
	found := make([]verdict, 0, len(sys.Blocks))
	for i := range sys.Blocks {
		if b := &sys.Blocks[i]; len(b.Names) > 0 {
			found = append(found, s.judge(b, s.listed[b.Dev] != nil))
		}
	}
	if err := s.readAll(ctx, found); err != nil {
		return nil, err
	}
	if r.file != nil {
		if err := s.validate(ctx, found); err != nil {
			return nil, err
		}
	}
	result := &Result{Problems: s.problems}
	for _, v := range found {
		if v.skip != nil {
			result.Skipped = append(result.Skipped, *v.skip)
		} else {
			result.Devices = append(result.Devices, v.path)
		}
	}
	return result, nil
}

type scan struct {
	*Rules
	sys      *System
	open     Opener
	aka      map[string]*Block // by each of their names
	first    map[Dev]string    // names
	listed   map[Dev]*Entry
	gone     map[*Entry]string // what is where they were last seen
	problems []error
}

// verdict is what became of a device.
type verdict struct {
	block *Block
	path  string
	skip  *Skip
	content
}

func (s *scan) judge(b *Block, listed bool) verdict {
	path, skip := s.unread(b, s.sys, listed)
	return verdict{block: b, path: path, skip: skip}
}

// match finds the device of an entry: the one where it was last seen, or else
// the first that has its identity (device_ids_match).
func (s *scan) match(e *Entry) {
	if b := s.aka[e.DevName]; b != nil && s.same(e, b) {
		s.listed[b.Dev] = e
		return
	}
	for i := range s.sys.Blocks {
		if b := &s.sys.Blocks[i]; len(b.Names) > 0 && s.listed[b.Dev] == nil && s.same(e, b) {
			s.listed[b.Dev] = e
			return
		}
	}
}

func (s *scan) same(e *Entry, b *Block) bool {
	return e.is(b, s.first[b.Dev], &s.sys.Types, func(path string) (Dev, bool) {
		if b := s.aka[path]; b != nil {
			return b.Dev, true
		}
		return Dev{}, false
	})
}

const readers = 8 // devices read at a time

// readAll reads the devices that are not skipped yet, and applies the rest of
// the rules.
func (s *scan) readAll(ctx context.Context, found []verdict) error {
	slots := make(chan struct{}, readers)
	var wg sync.WaitGroup
	for i := range found {
		v := &found[i]
		if v.skip != nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() == nil {
				s.look(v)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("scan: %w", context.Cause(ctx))
	}
	return nil
}

func (s *scan) look(v *verdict) {
	dev, err := s.open(v.path)
	if err == nil {
		if v.content, err = readContent(dev, v.block.Size); err == nil {
			v.skip = s.read(v.block, s.sys, v.path, v.content)
		}
		err = cmp.Or(err, dev.Close())
	}
	if err != nil {
		v.skip = &Skip{v.block.Dev, v.path, RuleUnreadable, fmt.Sprintf("cannot be read: %v", err), err}
	}
}

// validate compares the devices file with what was read (device_ids_validate):
// a name alone identifies nothing, so the PV must be there too. A PV that is not
// is looked for elsewhere.
func (s *scan) validate(ctx context.Context, found []verdict) error {
	settled := map[*Entry]bool{}
	for i := range found {
		v := &found[i]
		e := s.listed[v.block.Dev]
		if e == nil {
			continue
		}
		switch {
		case v.skip != nil && v.skip.Rule == RuleUnreadable:
			settled[e] = true
			s.problem(e, "%s", v.skip)
		case v.skip != nil && e.IDType == IDDevname && e.PVID != "": // the PV may be elsewhere
			s.gone[e] = fmt.Sprintf("; %s", v.skip)
		case v.skip != nil:
			settled[e] = true
			s.problem(e, "%s", v.skip)
		case e.PVID == "" || e.PVID == v.pvid:
			settled[e] = true
		case e.IDType == IDDevname:
			v.skip = &Skip{Dev: v.block.Dev, Path: v.path, Rule: RuleDevicesFile,
				Why: fmt.Sprintf("holds %s, not the PV %s that the devices file says", orNone(v.pvid), e.PVID)}
			delete(s.listed, v.block.Dev)
			s.gone[e] = fmt.Sprintf("; %s holds %s", v.path, orNone(v.pvid))
		default: // the identity counts
			settled[e] = true
			s.problem(e, "%s holds %s", v.path, orNone(v.pvid))
		}
	}
	lost := map[string]*Entry{} // by PV
	for i := range s.file.Entries {
		if e := &s.file.Entries[i]; !settled[e] {
			if e.IDType == IDDevname && e.PVID != "" && s.conf.SearchForDevnames != "none" && lost[e.PVID] == nil {
				lost[e.PVID] = e
			} else {
				s.problem(e, "not found%s", s.gone[e])
			}
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return s.search(ctx, found, lost)
}

func orNone(pvid string) string {
	if pvid == "" {
		return "no PV"
	}
	return "PV " + pvid
}

func (s *scan) problem(e *Entry, format string, args ...any) {
	s.problems = append(s.problems, fmt.Errorf("devices file, line %d: %s: %s", e.Line, e, fmt.Sprintf(format, args...)))
}

// search looks for PVs whose names have changed on the devices that no entry
// names, unless those have an identity of their own that an entry would have
// (device_ids_find_renamed_devs). One that is there twice is not guessed at.
func (s *scan) search(ctx context.Context, found []verdict, lost map[string]*Entry) error {
	var others []verdict
	var at []int // in found
	for i, v := range found {
		if s.listed[v.block.Dev] != nil || s.conf.SearchForDevnames == "auto" && v.block.stable(&s.sys.Types) {
			continue
		}
		if v = s.judge(v.block, true); v.skip == nil {
			others, at = append(others, v), append(at, i)
		}
	}
	if err := s.readAll(ctx, others); err != nil {
		return err
	}
	holders := map[string][]int{}
	for i, v := range others {
		if v.skip == nil && lost[v.pvid] != nil {
			holders[v.pvid] = append(holders[v.pvid], i)
		}
	}
	for i := range s.file.Entries {
		e := &s.file.Entries[i]
		if lost[e.PVID] != e {
			continue
		}
		switch on := holders[e.PVID]; len(on) {
		case 0:
			s.problem(e, "not found%s", s.gone[e])
		case 1:
			v := others[on[0]]
			found[at[on[0]]] = v
			s.listed[v.block.Dev] = e
			s.problem(e, "found on %s", v.path)
		default:
			var paths []string
			for _, i := range on {
				paths = append(paths, others[i].path)
			}
			slices.Sort(paths)
			s.problem(e, "found on %s: which one is meant?", strings.Join(paths, " and on "))
		}
	}
	return nil
}
