package lvmconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cowhand/lvm/lvmtext"
)

// maxFile is the longest file that is read: a hundred times the one that lvm2
// comes with.
const maxFile = 16 << 20

// Load reads lvm.conf and lvmlocal.conf of lvm2's directory, each if it is
// there, and then over, whose lists, as those of --config, replace the others.
// "" is no directory, and the defaults.
func Load(dir string, over ...File) (Conf, error) {
	var files []File
	for _, name := range []string{"lvm.conf", "lvmlocal.conf"} {
		if dir == "" {
			break
		}
		path := filepath.Join(dir, name)
		text, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Conf{}, err
		}
		files = append(files, File{path, text})
	}
	return layered(dir, files, over)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is no file: %w", path, ErrInvalid)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: is longer than %d bytes: %w", path, maxFile, ErrInvalid)
	}
	return text, err
}

// File is a file of settings.
type File struct {
	Name string
	Text []byte
}

// Parse returns the defaults as changed by the files: lvm.conf, then
// lvmlocal.conf. Errors match [ErrInvalid] and begin with "file:line".
func Parse(dir string, files ...File) (Conf, error) { return layered(dir, files, nil) }

func layered(dir string, files, over []File) (Conf, error) {
	c := Default(dir)
	c.where = map[string]string{}
	merged := map[string]placed{}
	for i, f := range append(files, over...) {
		values, err := c.read(f)
		if err != nil {
			return Conf{}, err
		}
		for path, v := range values {
			if old, ok := merged[path]; ok && i < len(files) && slices.Contains(joined, path) {
				v.Value = join(v.Value, old.Value)
			}
			merged[path] = v
		}
	}
	var wrong []error
	settings := c.settings()
	for path, v := range merged {
		set := settings[path]
		if set == nil {
			set = c.Tags.setter(path)
		}
		err := set(v.Value)
		if err == nil {
			c.where[path] = v.at
			continue
		}
		err = fmt.Errorf("%s: %s %w", v.at, path, err)
		if path == "devices/filter" || path == "devices/global_filter" {
			wrong = append(wrong, fmt.Errorf("%w: %w", err, ErrInvalid)) // lvm2 refuses to run, too
		} else {
			c.Warnings = append(c.Warnings, err)
		}
	}
	for _, errs := range [][]error{wrong, c.Warnings} {
		slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	}
	return c, errors.Join(wrong...)
}

// joined are the lists that a later file only adds to.
var joined = []string{"devices/filter", "devices/types", "activation/volume_list"}

// placed is a value, and "file:line".
type placed struct {
	lvmtext.Value
	at string
}

// read returns a file's values of what is known.
func (c *Conf) read(f File) (map[string]placed, error) {
	found, err := lvmtext.ParseSettings(f.Text)
	if err != nil { // "line:column: …"
		return nil, fmt.Errorf("%s:%w: %w", f.Name, err, ErrInvalid)
	}
	known := c.settings()
	values := map[string]placed{}
	for _, s := range found {
		at := fmt.Sprintf("%s:%d", f.Name, s.Line)
		if section, ok := strings.CutSuffix(s.Path, "/tags"); ok && !strings.Contains(section, "/") {
			c.Warnings = append(c.Warnings, fmt.Errorf("%s: %s is %w", at, section, errTags))
		}
		if known[s.Path] == nil && !strings.HasPrefix(s.Path, "tags/") {
			continue
		}
		if old, twice := values[s.Path]; twice {
			c.Warnings = append(c.Warnings, fmt.Errorf("%s: %s was set before, %s: this one counts", at, s.Path, old.at))
		}
		values[s.Path] = placed{s.Value, at}
	}
	return values, nil
}

// join is the elements of both.
func join(a, b lvmtext.Value) lvmtext.Value {
	var all []lvmtext.Value
	for _, v := range []lvmtext.Value{a, b} {
		if vs, ok := v.List(); ok {
			all = append(all, vs...)
		} else {
			all = append(all, v)
		}
	}
	return lvmtext.List(all...)
}
