package lvm

import (
	"fmt"
	"strings"

	"cowhand/dmcore"
)

// reserved are the names lvm2 keeps for volumes it makes itself
// (2.03.16, lib/misc/lvm-string.c, apply_lvname_restrictions).
var (
	reservedPrefixes = []string{"pvmove", "snapshot"}
	reservedParts    = []string{"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mimage", "_mlog",
		"_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_imeta", "_iorig", "_pmspare", "_vorigin"}
)

// maxNameLen is the longest name of a group or volume (NAME_LEN less its NUL).
const maxNameLen = 127

func nameChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("+_.-", c) >= 0
}

// CheckName reports what no group or volume may be called: names are 1 to 127
// of [A-Za-z0-9+_.-], do not begin with a hyphen and are not . or ..
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("name is empty: %w", ErrInvalid)
	case len(name) > maxNameLen:
		return fmt.Errorf("name has %d characters, at most %d are allowed: %w", len(name), maxNameLen, ErrInvalid)
	case name[0] == '-':
		return fmt.Errorf("name %q begins with a hyphen: %w", name, ErrInvalid)
	case name == "." || name == "..":
		return fmt.Errorf("name %q is a directory's: %w", name, ErrInvalid)
	}
	for i := 0; i < len(name); i++ {
		if !nameChar(name[i]) {
			return fmt.Errorf("name %q: character %q is not of [A-Za-z0-9+_.-]: %w", name, name[i], ErrInvalid)
		}
	}
	return nil
}

// CheckReserved reports a name that lvm2 keeps for its own volumes, and pvN,
// which metadata uses for physical volumes.
func CheckReserved(name string) error {
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(name, p) {
			return fmt.Errorf("name %q: names beginning with %q are reserved: %w", name, p, ErrInvalid)
		}
	}
	for _, p := range reservedParts {
		if strings.Contains(name, p) {
			return fmt.Errorf("name %q: names containing %q are reserved: %w", name, p, ErrInvalid)
		}
	}
	// An area of a segment is looked up among the physical volumes first
	// (lib/format_text/import_vsn1.c, text_import_areas).
	if digits, ok := strings.CutPrefix(name, "pv"); ok && digits != "" && strings.Trim(digits, "0123456789") == "" {
		return fmt.Errorf("name %q: in metadata it is a physical volume's: %w", name, ErrInvalid)
	}
	return nil
}

// CheckLVName reports what a volume of that group may not be called. Device
// names with their hyphens doubled, and a layer's suffix, must fit the device
// mapper.
func CheckLVName(vg, lv string) error {
	if err := CheckName(lv); err != nil {
		return err
	}
	if len(vg)+len(lv)+3 > maxNameLen { // lib/metadata/metadata.c, vg_validate
		return fmt.Errorf("name %q: group and volume have %d characters together, at most %d are allowed: %w",
			lv, len(vg)+len(lv), maxNameLen-3, ErrInvalid)
	}
	if n := len(dmcore.BuildName(vg, lv, layerReal)); n > dmcore.MaxName {
		return fmt.Errorf("name %q: the device's name has %d characters, at most %d are allowed: %w",
			lv, n, dmcore.MaxName, ErrInvalid)
	}
	return nil
}

// CheckTag reports what cannot be a tag: tags are of [A-Za-z0-9_+.-/=!:&#] and
// not empty (lib/misc/lvm-string.c, validate_tag). The length is bounded so
// that one tag cannot fill a metadata area.
func CheckTag(tag string) error {
	if tag == "" || len(tag) > maxTagLen {
		return fmt.Errorf("tag has %d characters, 1 to %d are allowed: %w", len(tag), maxTagLen, ErrInvalid)
	}
	if !tagChars(tag) {
		return fmt.Errorf("tag %q: characters must be of [A-Za-z0-9_+.-/=!:&#]: %w", tag, ErrInvalid)
	}
	return nil
}

func tagChars(tag string) bool {
	for i := 0; i < len(tag); i++ {
		if c := tag[i]; !nameChar(c) && strings.IndexByte("/=!:&#", c) < 0 {
			return false
		}
	}
	return tag != ""
}

const maxTagLen = 1024

// SplitName reads "vg/lv", "/dev/vg/lv" or "/dev/mapper/vg-lv". A name without
// a slash is a group: lv is empty.
func SplitName(s string) (vg, lv string, err error) {
	name := s
	if mapped, ok := strings.CutPrefix(s, "/dev/mapper/"); ok {
		v, l, layer, ok := dmcore.Name(mapped).Split()
		if !ok || layer != "" {
			return "", "", fmt.Errorf("%q is not the device of a volume: %w", s, ErrInvalid)
		}
		name = v + "/" + l
	} else if rest, ok := strings.CutPrefix(s, "/dev/"); ok {
		name = rest
	}
	vg, lv, both := strings.Cut(name, "/")
	if err := CheckName(vg); err != nil {
		return "", "", fmt.Errorf("volume group: %w", err)
	}
	if !both {
		return vg, "", nil
	}
	if err := CheckName(lv); err != nil {
		return "", "", fmt.Errorf("logical volume: %w", err)
	}
	return vg, lv, nil
}
