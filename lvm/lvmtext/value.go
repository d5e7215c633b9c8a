package lvmtext

import (
	"slices"
	"strconv"
	"strings"
)

// Value is a scalar or an array, held as it is written. The zero Value is
// none: all its methods answer false.
type Value struct{ text string }

// Int is an integer.
func Int(i int64) Value { return Value{strconv.FormatInt(i, 10)} }

// Float is a number printed with a point.
func Float(f float64) Value {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return Value{s}
}

// String is a string in double quotes. NUL bytes are left out: they would end
// the text.
func String(s string) Value { return Value{quote(s)} }

// Strings is an array of strings.
func Strings(ss []string) Value {
	vs := make([]Value, len(ss))
	for i, s := range ss {
		vs[i] = String(s)
	}
	return List(vs...)
}

// List is an array of scalars.
func List(vs ...Value) Value {
	texts := make([]string, len(vs))
	for i, v := range vs {
		texts[i] = v.element()
	}
	return Value{"[" + strings.Join(texts, ", ") + "]"}
}

// element prints the value as an array holds it. A bare word gets quotes: inside
// an array it would take the ',' or ']' behind it along.
func (v Value) element() string {
	if s, ok := v.String(); ok && v.text[0] != '"' && v.text[0] != '\'' {
		return quote(s)
	}
	return v.text
}

// Raw is the value as it is written.
func (v Value) Raw() string { return v.text }

// Int returns an integer; ok is false for other kinds and for integers beyond
// 64 bits. A leading 0 makes it octal, as strtoll does with base 0.
func (v Value) Int() (i int64, ok bool) {
	if v.text == "" || strings.ContainsRune(v.text, '.') || !numeric(v.text[0]) {
		return 0, false
	}
	i, err := strconv.ParseInt(v.text, 0, 64)
	return i, err == nil
}

// Float returns an integer or a float.
func (v Value) Float() (f float64, ok bool) {
	if v.text == "" || !numeric(v.text[0]) {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.text, 64)
	return f, err == nil
}

// String returns a string or bare word.
func (v Value) String() (s string, ok bool) {
	switch {
	case v.text == "" || v.text[0] == '[' || numeric(v.text[0]):
		return "", false
	case v.text[0] == '"' || v.text[0] == '\'':
		return unquote(v.text), true
	}
	return v.text, true
}

// Strings returns an array of strings. libdm reads a string where an array is
// wanted as an array of one; so does this.
func (v Value) Strings() (ss []string, ok bool) {
	if s, ok := v.String(); ok {
		return []string{s}, true
	}
	vs, ok := v.List()
	if !ok {
		return nil, false
	}
	ss = make([]string, len(vs))
	for i, v := range vs {
		if ss[i], ok = v.String(); !ok {
			return nil, false
		}
	}
	return ss, true
}

// List returns the elements of an array.
func (v Value) List() (vs []Value, ok bool) {
	if v.text == "" || v.text[0] != '[' {
		return nil, false
	}
	l := lexer{src: v.text, pos: 1}
	for {
		l.trivia()
		switch l.peek() {
		case ',':
			l.pos++
			continue
		case ']', 0:
			return vs, true
		}
		start := l.pos
		if l.scalar() != nil {
			return nil, false
		}
		vs = append(vs, Value{v.text[start:l.pos]})
	}
}

// Equal reports whether both values read alike, however they are written.
func (v Value) Equal(w Value) bool {
	if v.text == w.text {
		return true
	}
	if vs, ok := v.List(); ok {
		ws, ok := w.List()
		return ok && slices.EqualFunc(vs, ws, Value.Equal)
	}
	if a, ok := v.Int(); ok {
		b, ok := w.Int()
		return ok && a == b
	}
	if a, ok := v.String(); ok {
		b, ok := w.String()
		return ok && a == b
	}
	return false
}

// layout prints the value as lvm2 does behind a key that is indented by indent:
// the areas of a segment take a line each.
func (v Value) layout(key, indent string) string {
	vs, ok := v.List()
	if !ok {
		return v.text
	}
	areas := false // strings and numbers by turns
	for _, e := range vs {
		areas = areas || numeric(e.text[0]) != numeric(vs[0].text[0])
	}
	pairs := key == "raids" && len(vs) > 0
	step := indent
	if indent != "" {
		step += "\t"
	}
	var b strings.Builder
	b.WriteByte('[')
	for i, e := range vs {
		switch {
		case areas && (i == 0 || numeric(vs[i-1].text[0])), pairs && i%2 == 0:
			b.WriteString("\n" + step)
		case i > 0:
			b.WriteByte(' ')
		}
		b.WriteString(e.element())
		if i < len(vs)-1 {
			b.WriteByte(',')
		}
	}
	if areas || pairs {
		b.WriteString("\n" + indent)
	}
	b.WriteByte(']')
	return b.String()
}

func numeric(c byte) bool { return digit(c) || c == '-' || c == '+' || c == '.' }

// quote and unquote know the two escapes of libdm, \" and \\
// (libdm/libdm-string.c, dm_escape_double_quotes); any other backslash is itself.
func quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case 0:
			continue
		case '"', '\\':
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// unquote reads a string with its quotes.
func unquote(s string) string {
	body := s[1 : len(s)-1]
	if s[0] == '\'' || !strings.Contains(body, `\`) {
		return body
	}
	var b strings.Builder
	for i := 0; i < len(body); i++ {
		if body[i] == '\\' && i+1 < len(body) && (body[i+1] == '"' || body[i+1] == '\\') {
			i++
		}
		b.WriteByte(body[i])
	}
	return b.String()
}
