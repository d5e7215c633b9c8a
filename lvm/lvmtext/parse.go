package lvmtext

import (
	"errors"
	"fmt"
	"strings"
)

// ErrSyntax is what every error of [Parse] matches.
var ErrSyntax = errors.New("syntax error")

const (
	maxDepth = 32      // lvm2 nests five deep
	maxBytes = 1 << 30 // offsets are int32
)

// Parse reads a text. Errors begin "line:column: ", both counted from 1, the
// column in bytes. Memory is a small multiple of the length, time linear in it.
func Parse(b []byte) (*Section, error) {
	if len(b) > maxBytes {
		return nil, fmt.Errorf("1:1: text of %d bytes, at most %d can be read: %w", len(b), maxBytes, ErrSyntax)
	}
	p := &parser{lexer: lexer{src: string(b)}}
	root := &Section{text: p.src, clean: true}
	if err := p.body(root, 0); err != nil {
		return nil, err
	}
	return root, nil
}

type parser struct {
	lexer
	slab  []item // items are allocated by the hundred
	stack []*item
}

// body reads the items of s up to its closing brace or, at depth 0, the end.
func (p *parser) body(s *Section, depth int) error {
	base := len(p.stack)
	for {
		start := p.pos
		p.trivia()
		if p.end() {
			if depth > 0 {
				return p.errorf("section %q is not closed", s.name)
			}
			s.tail = p.src[start:]
			break
		}
		if p.src[p.pos] == '}' {
			if depth == 0 {
				return p.errorf("unexpected '}'")
			}
			p.pos++
			p.restOfLine()
			s.tail = p.src[start:p.pos]
			break
		}
		it, err := p.item(s, start, depth)
		if err != nil {
			return err
		}
		p.stack = append(p.stack, it)
	}
	s.items = append([]*item(nil), p.stack[base:]...)
	p.stack = p.stack[:base]
	return p.distinct(s)
}

// item reads a value or a subsection whose lead trivia began at start.
func (p *parser) item(s *Section, start, depth int) (*item, error) {
	it := p.newItem()
	key := p.pos
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	it.name, it.key, it.keyEnd = name, int32(key-start), int32(p.pos-start)
	p.trivia()
	switch p.peek() {
	case '{':
		if depth == maxDepth {
			return nil, p.errorf("sections are nested more than %d deep", maxDepth)
		}
		p.pos++
		p.restOfLine()
		it.sub = &Section{parent: s, name: name, head: p.src[start:p.pos], clean: true}
		if err := p.body(it.sub, depth+1); err != nil {
			return nil, err
		}
		it.sub.text = p.src[start:p.pos]
	case '=':
		p.pos++
		p.trivia()
		it.val = int32(p.pos - start)
		if err := p.value(); err != nil {
			return nil, err
		}
		it.valEnd = int32(p.pos - start)
		p.restOfLine()
		it.text = p.src[start:p.pos]
	default:
		return nil, p.errorf("want '=' or '{' after %q", name)
	}
	return it, nil
}

func (p *parser) newItem() *item {
	if len(p.slab) == 0 {
		p.slab = make([]item, min(256, 1+(len(p.src)-p.pos)/16))
	}
	it := &p.slab[0]
	p.slab = p.slab[1:]
	return it
}

// distinct refuses two items of one name, and indexes long sections.
func (p *parser) distinct(s *Section) error {
	if len(s.items) > indexFrom {
		s.index = make(map[string]*item, len(s.items))
	}
	for i, it := range s.items {
		twice := false
		if s.index != nil {
			_, twice = s.index[it.name]
			s.index[it.name] = it
		} else {
			for _, before := range s.items[:i] {
				twice = twice || before.name == it.name
			}
		}
		if twice {
			return p.errorf("section %q ending here has two entries %q", s.name, it.name)
		}
	}
	return nil
}

// lexer walks over the tokens of src.
type lexer struct {
	src string
	pos int
}

func (l *lexer) errorf(format string, args ...any) error {
	before := l.src[:min(l.pos, len(l.src))]
	line := 1 + strings.Count(before, "\n")
	column := len(before) - strings.LastIndexByte(before, '\n')
	return fmt.Errorf("%d:%d: %s: %w", line, column, fmt.Sprintf(format, args...), ErrSyntax)
}

func (l *lexer) end() bool { return l.pos >= len(l.src) || l.src[l.pos] == 0 }

// peek returns the byte at hand, 0 at the end.
func (l *lexer) peek() byte {
	if l.pos < len(l.src) {
		return l.src[l.pos]
	}
	return 0
}

func blank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// trivia skips white space and comments.
func (l *lexer) trivia() {
	for !l.end() {
		switch c := l.src[l.pos]; {
		case blank(c):
			l.pos++
		case c == '#':
			l.comment()
		default:
			return
		}
	}
}

// comment skips to the newline or the end.
func (l *lexer) comment() {
	for !l.end() && l.src[l.pos] != '\n' {
		l.pos++
	}
}

// restOfLine skips blanks and a comment up to and including the newline, and
// nothing if another token stands on the line.
func (l *lexer) restOfLine() {
	at := l.pos
	for !l.end() && l.src[l.pos] != '\n' && blank(l.src[l.pos]) {
		l.pos++
	}
	if l.peek() == '#' {
		l.comment()
	}
	switch {
	case l.peek() == '\n':
		l.pos++
	case !l.end():
		l.pos = at
	}
}

// wordEnd returns where the word that begins at pos ends.
func (l *lexer) wordEnd() int {
	i := l.pos
	for i < len(l.src) {
		switch c := l.src[i]; {
		case c == 0, blank(c), c == '#', c == '=', c == '{', c == '}':
			return i
		}
		i++
	}
	return i
}

// name reads a key or section name, bare or quoted.
func (l *lexer) name() (string, error) {
	switch c := l.peek(); c {
	case '"', '\'':
		start := l.pos
		if err := l.quoted(c); err != nil {
			return "", err
		}
		if l.pos-start == 2 {
			return "", l.errorf("empty name")
		}
		return unquote(l.src[start:l.pos]), nil
	case '[', ']', ',', '=', '{':
		return "", l.errorf("want a name, found %q", string(c))
	}
	start := l.pos
	l.pos = max(l.wordEnd(), l.pos+1)
	return l.src[start:l.pos], nil
}

// value reads a scalar or an array.
func (l *lexer) value() error {
	if l.peek() != '[' {
		return l.scalar()
	}
	open := *l
	l.pos++
	comma := true // what follows '[' and ',' may be a number or a bare word
	for {
		l.trivia()
		switch c := l.peek(); {
		case l.end():
			return open.errorf("array is not closed")
		case c == ']':
			l.pos++
			return nil
		case !comma && c != '"' && c != '\'':
			return l.errorf("want ',' or ']' in an array")
		}
		if err := l.scalar(); err != nil {
			return err
		}
		l.trivia()
		if comma = l.peek() == ','; comma {
			l.pos++
		}
	}
}

func (l *lexer) scalar() error {
	switch c := l.peek(); {
	case c == '"' || c == '\'':
		return l.quoted(c)
	case c == '.' || c == '+' || c == '-' || digit(c):
		dot := c == '.'
		i := l.pos + 1
		for i < len(l.src) && (digit(l.src[i]) || l.src[i] == '.' && !dot) {
			dot = dot || l.src[i] == '.'
			i++
		}
		if i == l.pos+1 && (c == '+' || c == '-') {
			return l.errorf("want digits after %q", string(c))
		}
		l.pos = i
		return nil
	case c == 0, c == '{', c == '}', c == '[', c == ']', c == ',', c == '=':
		return l.errorf("want a value")
	}
	l.pos = l.wordEnd()
	return nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// quoted reads a string that begins and ends with quote.
func (l *lexer) quoted(quote byte) error {
	for i := l.pos + 1; i < len(l.src) && l.src[i] != 0; i++ {
		switch {
		case l.src[i] == quote:
			l.pos = i + 1
			return nil
		case l.src[i] == '\\' && quote == '"' && i+1 < len(l.src) && l.src[i+1] != 0:
			i++
		}
	}
	return l.errorf("string is not closed")
}
