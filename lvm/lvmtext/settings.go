package lvmtext

import "strings"

// Setting is a value of lvm.conf.
type Setting struct {
	Path  string // its sections and key, "devices/filter"
	Value Value  // the zero Value: a section with nothing in it
	Line  int    // where the key stands, from 1
}

// ParseSettings reads a text such as lvm.conf. Its grammar is that of metadata,
// but a section may come again and a name may be a path, "devices/filter"
// (libdm/libdm-config.c, _find_or_make_node). The values are in the order of the
// text; where two have one path, libdm takes the last.
func ParseSettings(b []byte) ([]Setting, error) {
	s := settings{lexer: lexer{src: string(b)}, line: 1}
	if err := s.body("", 0); err != nil {
		return nil, err
	}
	return s.found, nil
}

type settings struct {
	lexer
	found   []Setting
	line    int // of the byte at counted
	counted int
}

// body reads the items of the section at path.
func (s *settings) body(path string, depth int) error {
	for {
		s.trivia()
		switch {
		case s.end() && depth == 0:
			return nil
		case s.end():
			return s.errorf("section %q is not closed", path)
		case s.peek() == '}' && depth == 0:
			return s.errorf("unexpected '}'")
		case s.peek() == '}':
			s.pos++
			return nil
		}
		if err := s.item(path, depth); err != nil {
			return err
		}
	}
}

func (s *settings) item(path string, depth int) error {
	s.line += strings.Count(s.src[s.counted:s.pos], "\n")
	s.counted = s.pos
	line := s.line
	name, err := s.name()
	if err != nil {
		return err
	}
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && path != "" {
			path += "/"
		}
		path += part
	}
	if len(path) > maxPath {
		return s.errorf("a path of %d bytes, at most %d are read", len(path), maxPath)
	}
	s.trivia()
	switch s.peek() {
	case '{':
		if depth == maxDepth {
			return s.errorf("sections are nested more than %d deep", maxDepth)
		}
		s.pos++
		before := len(s.found)
		if err := s.body(path, depth+1); err != nil {
			return err
		}
		if len(s.found) == before {
			s.found = append(s.found, Setting{Path: path, Line: line})
		}
		return nil
	case '=':
		s.pos++
		s.trivia()
		from := s.pos
		if err := s.value(); err != nil {
			return err
		}
		s.found = append(s.found, Setting{path, Value{s.src[from:s.pos]}, line})
		return nil
	}
	return s.errorf("want '=' or '{' after %q", name)
}

// maxPath keeps what is read a small multiple of the text.
const maxPath = 256
