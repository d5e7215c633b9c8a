package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxFile is the longest settings file, in bytes.
const maxFile = 1 << 20

// Files returns the settings files that are there, in the order in which Load
// takes them: the system's, then the user's.
func Files() ([]string, error) {
	candidates := []string{"/etc/cowhand/cowhand.yaml"}
	if dir, err := os.UserConfigDir(); err == nil {
		candidates = append(candidates, filepath.Join(dir, "cowhand", "cowhand.yaml"))
	}
	var files []string
	for _, c := range candidates {
		switch _, err := os.Stat(c); {
		case err == nil:
			files = append(files, c)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return files, nil
}

// Load returns the defaults as changed by each file in turn. A file that is not
// there is an error, and so is everything in it that is not understood: all of
// it together, as an [*Error].
func Load(paths ...string) (Config, error) {
	c := Default()
	var problems []Problem
	for _, p := range paths {
		text, err := readFile(p)
		if err != nil {
			return Config{}, err
		}
		problems = append(problems, c.merge(p, text)...)
	}
	if err := asError(problems); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Parse returns the defaults as changed by text; name is the file's, for errors.
func Parse(name string, text []byte) (Config, error) {
	c := Default()
	if err := asError(c.merge(name, text)); err != nil {
		return Config{}, err
	}
	return c, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// merge changes c by what stands in text.
func (c *Config) merge(name string, text []byte) []Problem {
	if len(text) > maxFile {
		return []Problem{{File: name, Line: 1, Column: 1, Text: fmt.Sprintf("the file is longer than %d bytes", maxFile)}}
	}
	root, err := parseYAML(text)
	if err != nil {
		return []Problem{syntaxProblem(name, err)}
	}
	if root == nil {
		return nil
	}
	w := walker{file: name, at: map[string]*yaml.Node{}}
	w.refuseAliases(root)
	if len(w.problems) == 0 {
		w.config(root)
	}
	if len(w.problems) > 0 {
		return w.problems
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil {
		return []Problem{syntaxProblem(name, err)}
	}
	return w.locate(c)
}

var errDocuments = errors.New("more than one document; settings are one")

// parseYAML returns the root of the one document, nil if there is none.
func parseYAML(text []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := d.Decode(&doc); err == io.EOF {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := d.Decode(new(yaml.Node)); err == nil {
		return nil, errDocuments
	} else if err != io.EOF {
		return nil, err
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	return root, nil
}

// syntaxProblem finds the line in what the YAML parser says ("yaml: line 3: …");
// it tells no column.
func syntaxProblem(name string, err error) Problem {
	p := Problem{File: name, Line: 1, Column: 1, Text: strings.TrimPrefix(err.Error(), "yaml: ")}
	if rest, ok := strings.CutPrefix(p.Text, "line "); ok {
		if n, text, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(n); err == nil {
				p.Line, p.Text = line, text
			}
		}
	}
	return p
}
