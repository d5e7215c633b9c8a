package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// appendOptionReply appends the header of a reply with size bytes of data.
func appendOptionReply(b []byte, opt, kind uint32, size int) []byte {
	b = binary.BigEndian.AppendUint64(b, magicRep)
	b = binary.BigEndian.AppendUint32(b, opt)
	b = binary.BigEndian.AppendUint32(b, kind)
	return binary.BigEndian.AppendUint32(b, uint32(size))
}

// parseInfo takes INFO and GO apart: name, and which known kinds of
// information are wanted.
func parseInfo(data []byte) (name string, wants [4]bool, ok bool) {
	b, data, ok := cutString(data)
	if !ok || len(data) < 2 {
		return "", wants, false
	}
	count := int(binary.BigEndian.Uint16(data))
	data = data[2:]
	if len(data) != 2*count {
		return "", wants, false
	}
	for ; len(data) > 0; data = data[2:] {
		if kind := int(binary.BigEndian.Uint16(data)); kind < len(wants) {
			wants[kind] = true
		}
	}
	return string(b), wants, true
}

// parseMetaContext takes LIST_META_CONTEXT and SET_META_CONTEXT apart.
func parseMetaContext(data []byte) (name string, queries []string, ok bool) {
	b, data, ok := cutString(data)
	if !ok || len(data) < 4 {
		return "", nil, false
	}
	count := binary.BigEndian.Uint32(data)
	data = data[4:]
	if uint64(count)*4 > uint64(len(data)) {
		return "", nil, false
	}
	for range count {
		var q []byte
		if q, data, ok = cutString(data); !ok {
			return "", nil, false
		}
		queries = append(queries, string(q))
	}
	return string(b), queries, len(data) == 0
}

// cutString takes a string and the 32-bit length before it off b.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	size := binary.BigEndian.Uint32(b)
	b = b[4:]
	if size > maxString || int(size) > len(b) {
		return nil, nil, false
	}
	return b[:size], b[size:], true
}

// validName reports whether s may be a string of the protocol.
func validName(s string) bool {
	return len(s) <= maxString && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// message is the text of err as the protocol allows it.
func message(err error) string {
	s := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\x00", ""), "?")
	if len(s) > maxString {
		s = strings.ToValidUTF8(s[:maxString], "")
	}
	return s
}

// refusal is the reply to an option that failed with err.
func refusal(err error) uint32 {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return repErrPolicy
	case errors.Is(err, context.Canceled):
		return repErrShutdown
	}
	return repErrUnknown
}
