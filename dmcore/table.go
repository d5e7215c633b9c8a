package dmcore

import (
	"fmt"
	"strconv"
	"strings"
)

// Sectors counts 512-byte sectors, the unit of every device-mapper table.
type Sectors uint64

// SectorSize is the size of a sector in bytes.
const SectorSize = 512

// Bytes returns the size in bytes.
func (s Sectors) Bytes() int64 { return int64(s) * SectorSize }

// Segment maps Length sectors of a device, from Start, to a target.
type Segment struct {
	Start, Length Sectors
	Target        Target
}

// Table is what a device maps: segments that follow one another from sector 0
// without gap or overlap. It prints as `dmsetup table` does, one segment a
// line.
type Table []Segment

// Len is the size of the device the table makes.
func (t Table) Len() Sectors {
	if len(t) == 0 {
		return 0
	}
	last := t[len(t)-1]
	return last.Start + last.Length
}

// Validate reports a table that is empty, has a gap, an overlap or an empty
// segment (drivers/md/dm-table.c, dm_table_add_target).
func (t Table) Validate() error {
	if len(t) == 0 {
		return fmt.Errorf("table: no segments: %w", ErrInvalid)
	}
	var end Sectors
	for i, s := range t {
		if s.Target == nil {
			return fmt.Errorf("table: segment %d has no target: %w", i, ErrInvalid)
		}
		if s.Start != end {
			return fmt.Errorf("table: segment %d starts at %d, the one before ends at %d: %w", i, s.Start, end, ErrInvalid)
		}
		if s.Length == 0 || s.Start+s.Length < s.Start {
			return fmt.Errorf("table: segment %d has length %d: %w", i, s.Length, ErrInvalid)
		}
		end = s.Start + s.Length
	}
	return nil
}

// Devs lists the devices the table stands on, each once, in order of mention.
func (t Table) Devs() []Dev {
	var devs []Dev
	seen := map[Dev]bool{}
	for _, s := range t {
		for _, d := range s.Target.Devs() {
			if !seen[d] {
				seen[d] = true
				devs = append(devs, d)
			}
		}
	}
	return devs
}

// Resolve returns a copy of the table in which every device reference d is
// replaced by f(d). The first error of f ends it.
func (t Table) Resolve(f func(Dev) (Dev, error)) (Table, error) {
	out := make(Table, len(t))
	for i, s := range t {
		target, err := s.Target.withDevs(f)
		if err != nil {
			return nil, err
		}
		out[i] = Segment{s.Start, s.Length, target}
	}
	return out, nil
}

// Equal reports whether both tables print alike.
func (t Table) Equal(u Table) bool { return t.String() == u.String() }

func (t Table) String() string {
	var b strings.Builder
	for i, s := range t {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(s.String())
	}
	return b.String()
}

func (s Segment) String() string {
	line := fmt.Sprintf("%d %d %s", s.Start, s.Length, s.Target.Type())
	if p := s.Target.Params(); p != "" {
		line += " " + p
	}
	return line
}

// MarshalText and UnmarshalText carry tables through JSON in their printed form.
func (t Table) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText parses what MarshalText wrote.
func (t *Table) UnmarshalText(b []byte) error {
	parsed, err := ParseTable(string(b))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// ParseTable reads a table in the form it prints: a line a segment,
// "start length type params...". Blank lines are skipped. The empty text is the
// empty table, which [Table.Validate] refuses.
func ParseTable(text string) (Table, error) {
	var t Table
	for n, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		s, err := parseSegment(line)
		if err != nil {
			return nil, fmt.Errorf("table line %d: %w", n+1, err)
		}
		t = append(t, s)
	}
	if len(t) == 0 {
		return nil, nil
	}
	return t, t.Validate()
}

func parseSegment(line string) (Segment, error) {
	f := splitArgs(line)
	if len(f) < 3 {
		return Segment{}, fmt.Errorf("%q: want start, length and type: %w", line, ErrInvalid)
	}
	start, err := parseSectors(f[0])
	if err != nil {
		return Segment{}, err
	}
	length, err := parseSectors(f[1])
	if err != nil {
		return Segment{}, err
	}
	target, err := ParseTarget(f[2], f[3:])
	if err != nil {
		return Segment{}, err
	}
	return Segment{start, length, target}, nil
}

func parseSectors(s string) (Sectors, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || v > 1<<54 {
		return 0, fmt.Errorf("%q is no count of sectors: %w", s, ErrInvalid)
	}
	return Sectors(v), nil
}

// splitArgs splits on white space; a backslash takes the next byte literally
// (drivers/md/dm-table.c, dm_split_args).
func splitArgs(s string) []string {
	var args []string
	var arg []byte
	in := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			arg, in = append(arg, s[i]), true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if in {
				args, arg, in = append(args, string(arg)), nil, false
			}
		default:
			arg, in = append(arg, c), true
		}
	}
	if in {
		args = append(args, string(arg))
	}
	return args
}

func quoteArg(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ', '\t', '\n', '\r', '\\':
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
