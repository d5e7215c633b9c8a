package devscan

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrInvalid is a filter or a file that cannot be used.
var ErrInvalid = errors.New("invalid")

// lvm2 matches names by an automaton of its own over bytes
// (device_mapper/regex/parse_rx.c, matcher.c). An expression is translated
// literally for Go's:
//
//	^ $     are characters, 2 and 3, put around the name; so '.' and [^…] match them too
//	.       any byte but \n, \r and NUL
//	\c      the byte c, but for \n \r \t; there is no \d nor \w
//	[…]     no named classes; a ']' always ends it
//	* + ?   any number of times;  {2} is three letters
//	( | )   groups, of which no part may be empty
//
// As Go's works on runes, bytes become the runes of the same number.
const (
	hat    = 2
	dollar = 3
)

// byteSet is a set of bytes.
type byteSet [256]bool

func (s *byteSet) String() string {
	var b strings.Builder
	b.WriteByte('[')
	none := true
	for from := 0; from < 256; from++ {
		if !s[from] {
			continue
		}
		to := from
		for to < 255 && s[to+1] {
			to++
		}
		fmt.Fprintf(&b, `\x%02x-\x%02x`, from, to)
		from, none = to, false
	}
	if none {
		return `[^\x00-\x{10FFFF}]`
	}
	return b.String() + "]"
}

func single(c byte) (s byteSet) {
	s[c] = true
	return s
}

// anyByte is '.'.
func anyByte() (s byteSet) {
	for c := range s {
		s[c] = c != 0 && c != '\n' && c != '\r'
	}
	return s
}

// maxRegex bounds the size of what is compiled.
const maxRegex = 4 << 10

// compileRegex translates an expression, so that it can be asked by [matches].
func compileRegex(expr string) (*regexp.Regexp, error) {
	if len(expr) > maxRegex {
		return nil, fmt.Errorf("is longer than %d bytes: %w", maxRegex, ErrInvalid)
	}
	p := &regexParser{src: expr}
	body, err := p.alternatives(0)
	if err == nil && p.pos < len(p.src) {
		err = p.errorf("unexpected %q", p.src[p.pos:p.pos+1])
	}
	if err != nil {
		return nil, err
	}
	dot := anyByte()
	re, err := regexp.Compile(`\A` + dot.String() + `*` + body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return re, nil
}

// matches reports whether a name has a match somewhere.
func matches(re *regexp.Regexp, name string) bool {
	runes := make([]rune, 0, len(name)+2)
	runes = append(runes, hat)
	for i := range len(name) {
		runes = append(runes, rune(name[i]))
	}
	return re.MatchString(string(append(runes, dollar)))
}

type regexParser struct {
	src string
	pos int
}

func (p *regexParser) errorf(format string, args ...any) error {
	return fmt.Errorf("byte %d: %s: %w", p.pos+1, fmt.Sprintf(format, args...), ErrInvalid)
}

func (p *regexParser) peek() byte {
	if p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

// maxGroups is how deep groups may be nested; Go's limit is 1000.
const maxGroups = 100

func (p *regexParser) alternatives(depth int) (string, error) {
	if depth > maxGroups {
		return "", p.errorf("groups are nested more than %d deep", maxGroups)
	}
	var parts []string
	for {
		part, err := p.sequence(depth)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
		if p.peek() != '|' {
			return "(?:" + strings.Join(parts, "|") + ")", nil
		}
		p.pos++
	}
}

// sequence is at least one term, each with what repeats it.
func (p *regexParser) sequence(depth int) (string, error) {
	var b strings.Builder
	for p.pos < len(p.src) && p.peek() != '|' && p.peek() != ')' {
		term, err := p.term(depth)
		if err != nil {
			return "", err
		}
		once, many := true, false // what all suffixes together allow
		for ; strings.IndexByte("*+?", p.peek()) >= 0 && p.pos < len(p.src); p.pos++ {
			once = once && p.peek() == '+'
			many = many || p.peek() != '?'
		}
		b.WriteString(term)
		switch {
		case many && once:
			b.WriteByte('+')
		case many:
			b.WriteByte('*')
		case !once:
			b.WriteByte('?')
		}
	}
	if b.Len() == 0 {
		return "", p.errorf("want something to match")
	}
	return b.String(), nil
}

func (p *regexParser) term(depth int) (string, error) {
	c := p.peek()
	switch c {
	case '(':
		p.pos++
		body, err := p.alternatives(depth + 1)
		if err != nil {
			return "", err
		}
		if p.peek() != ')' {
			return "", p.errorf("want ')'")
		}
		p.pos++
		return body, nil
	case '*', '+', '?':
		return "", p.errorf("nothing to repeat")
	case '[':
		p.pos++
		set, err := p.set()
		if err != nil {
			return "", err
		}
		return set.String(), nil
	}
	p.pos++
	var set byteSet
	switch c {
	case 0:
		return "", p.errorf("a NUL byte")
	case '^':
		set = single(hat)
	case '$':
		set = single(dollar)
	case '.':
		set = anyByte()
	case '\\':
		if p.pos == len(p.src) {
			return "", p.errorf("nothing behind the backslash")
		}
		set = single(escaped(p.peek()))
		p.pos++
	default:
		set = single(c)
	}
	return set.String(), nil
}

func escaped(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// set reads what is between brackets. Bytes beyond ASCII have no meaning that
// could be followed: lvm2 takes them for negative numbers of bits.
func (p *regexParser) set() (set byteSet, err error) {
	keep := true
	if p.peek() == '^' {
		p.pos++
		keep = false
		for c := 1; c < 256; c++ {
			set[c] = true
		}
	}
	last := byte(0)
	for p.peek() != ']' {
		c := p.peek()
		from := c
		switch {
		case p.pos == len(p.src):
			return set, p.errorf("want ']'")
		case c == '\\':
			p.pos++
			c = escaped(p.peek())
			from = c
		case c == '-' && last != 0:
			p.pos++
			c = p.peek() // a backslash has no meaning here
			from, c = min(last, c), max(last, c)
		}
		if p.pos == len(p.src) {
			return set, p.errorf("want ']'")
		}
		if c == 0 || c >= 127 {
			return set, p.errorf("in brackets: byte 0x%02x, want printable ASCII", c)
		}
		for ; from <= c; from++ {
			set[from] = keep
		}
		p.pos++
		last = c
	}
	p.pos++
	return set, nil
}
