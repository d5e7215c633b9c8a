package lvm

import (
	"crypto/rand"
	"fmt"
	"io"
	"strings"
)

// ID identifies a volume group, a physical or a logical volume: 32 characters
// of [0-9a-zA-Z], and ! and # in IDs of old (lvm2 2.03.16, lib/uuid/uuid.c).
type ID string

const idAlphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!#"

// idGroups are the lengths of the runs between hyphens in the printed form.
var idGroups = [...]int{6, 4, 4, 4, 4, 4, 6}

// NewID returns a random ID. A nil reader stands for crypto/rand.
func NewID(r io.Reader) (ID, error) {
	if r == nil {
		r = rand.Reader
	}
	var b [32]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", fmt.Errorf("new id: %w", err)
	}
	for i := range b {
		b[i] = idAlphabet[b[i]%62] // as lvm2: ! and # are read, never made
	}
	return ID(b[:]), nil
}

// ParseID reads an ID with its six hyphens, or without any.
func ParseID(s string) (ID, error) {
	id := ID(s)
	if len(s) == 38 {
		id = ID(strings.ReplaceAll(s, "-", ""))
		if id.Dashed() != s {
			id = ""
		}
	}
	if !id.valid() {
		return "", fmt.Errorf("id %q: want 32 letters and digits, grouped 6-4-4-4-4-4-6: %w", s, ErrInvalid)
	}
	return id, nil
}

func (id ID) valid() bool {
	if len(id) != 32 {
		return false
	}
	for i := 0; i < len(id); i++ {
		if strings.IndexByte(idAlphabet, id[i]) < 0 {
			return false
		}
	}
	return true
}

// Dashed returns the form in which metadata and tools print an ID. What is no
// ID is returned as it is.
func (id ID) Dashed() string {
	if len(id) != 32 {
		return string(id)
	}
	var b strings.Builder
	b.Grow(38)
	rest := string(id)
	for i, n := range idGroups {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(rest[:n])
		rest = rest[n:]
	}
	return b.String()
}
