package kernel

import (
	"fmt"
	"strconv"
	"strings"

	"cowhand/dmcore"
)

// plain reports whether udev takes the byte in a link's name
// (libdm/libdm-common.c of lvm2 2.03.16, _is_whitelisted_char).
func plain(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("#+-.:=@_", c) >= 0
}

// mangle writes a name as lvm2 gives it to the kernel in its mode "auto": bytes
// that udev does not take become \xNN, and a name that has such already stays
// as it is. A mixture is refused. Names of volumes never need it.
func mangle(n dmcore.Name) (string, error) {
	bad := func(why string) (string, error) { return "", fmt.Errorf("name %q: %s: %w", n, why, dmcore.ErrInvalid) }
	if n == "" || strings.ContainsAny(string(n), "/\x00") {
		return bad("is empty, or has a slash")
	}
	var b strings.Builder
	mangled, raw := false, false
	for i := 0; i < len(n); i++ {
		switch c := n[i]; {
		case isEscape(n[i:]):
			b.WriteString(string(n[i : i+4]))
			mangled = true
			i += 3
		case plain(c):
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "\\x%02x", c)
			raw = true
		}
	}
	if mangled && raw {
		return bad(`has both \xNN and what stands for it`)
	}
	if b.Len() > dmcore.MaxName {
		return bad(fmt.Sprintf("has %d bytes as the kernel gets it, at most %d", b.Len(), dmcore.MaxName))
	}
	return b.String(), nil
}

func isEscape(n dmcore.Name) bool {
	if len(n) < 4 || n[0] != '\\' || n[1] != 'x' {
		return false
	}
	_, err := strconv.ParseUint(string(n[2:4]), 16, 8)
	return err == nil
}

// unmangle undoes mangle, if that gives a name that mangles to the same. One
// that other programs made with other bytes stays as the kernel has it.
func unmangle(s string) dmcore.Name {
	if !strings.Contains(s, `\x`) {
		return dmcore.Name(s)
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if isEscape(dmcore.Name(s[i:])) {
			v, _ := strconv.ParseUint(s[i+2:i+4], 16, 8)
			b.WriteByte(byte(v))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	n := dmcore.Name(b.String())
	if again, err := mangle(n); err != nil || again != s {
		return dmcore.Name(s)
	}
	return n
}

// about returns a call about the device that a request names: by UUID if it
// has one.
func about(req *dmcore.Request) (call, error) {
	switch {
	case strings.ContainsRune(string(req.UUID), 0):
		return call{}, fmt.Errorf("uuid %q: has a NUL: %w", req.UUID, dmcore.ErrInvalid)
	case req.UUID != "":
		return call{uuid: string(req.UUID)}, nil
	case req.Name != "":
		name, err := mangle(req.Name)
		return call{name: name}, err
	}
	return call{}, fmt.Errorf("neither name nor UUID: %w", dmcore.ErrInvalid)
}
