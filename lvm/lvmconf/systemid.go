package lvmconf

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SystemIDs are the system IDs whose groups a host may use: its own first, then
// local/extra_system_ids. None if it has none of its own: then only groups
// without one are its, whatever the extra ones are (lvm2 2.03.16,
// lib/commands/toolcontext.c, _init_system_id, and lib/metadata/metadata.c,
// is_system_id_allowed). hostname is uname's. Problems are told and are no reason
// to stop.
func (c *Conf) SystemIDs(hostname string) (ids []string, problems []error) {
	source := c.Global.SystemIDSource
	if c.Local.SystemID != "" && source != "lvmlocal" {
		problems = append(problems, fmt.Errorf("local/system_id is set, and not used: global/system_id_source is %q", source))
	}
	if source == "none" {
		return nil, problems
	}
	text, extra, err := c.systemIDFrom(source, hostname)
	if extra {
		problems = append(problems, fmt.Errorf("global/system_id_source %q: all IDs of its file but the first are ignored", source))
	}
	id := ""
	if err == nil {
		id, err = cleanSystemID(text)
	}
	if err != nil {
		return nil, append(problems, fmt.Errorf("global/system_id_source %q gives no system ID: %w", source, err))
	}
	return append([]string{id}, c.Local.ExtraSystemIDs...), problems
}

var errEmpty = errors.New("it is empty")

// systemIDFrom reads the source. extra says that there was more than an ID.
func (c *Conf) systemIDFrom(source, hostname string) (text string, extra bool, err error) {
	switch strings.ToLower(source) {
	case "uname":
		return hostname, false, nil
	case "lvmlocal":
		return c.Local.SystemID, false, nil
	case "machineid", "machine-id":
		return systemIDFile(filepath.Join(c.Global.Etc, "machine-id"))
	case "file":
		if c.Global.SystemIDFile == "" {
			return "", false, errors.New("global/system_id_file is not set")
		}
		return systemIDFile(c.Global.SystemIDFile)
	case "appmachineid":
		text, err = appMachineID("/etc/machine-id")
		return text, false, err
	}
	return "", false, errors.New("it is not known")
}

// systemIDFile reads the first line that is no comment.
func systemIDFile(path string) (id string, extra bool, err error) {
	text, err := readFile(path)
	if err != nil {
		return "", false, err
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(strings.TrimLeft(line, " \t\n\v\f\r"), "#")
		switch {
		case line == "":
		case id == "":
			id = line
		default:
			return id, true, nil
		}
	}
	return id, false, nil
}

// cleanSystemID leaves out what is of no ID (lib/misc/lvm-string.c,
// copy_systemid_chars).
func cleanSystemID(text string) (string, error) {
	const most = 128 // NAME_LEN
	text = strings.TrimLeftFunc(text, func(r rune) bool { return !alphanumeric(r) })
	id := strings.Map(func(r rune) rune {
		if alphanumeric(r) || strings.ContainsRune("._-+", r) {
			return r
		}
		return -1
	}, text)
	id = id[:min(len(id), most)]
	switch {
	case id == "":
		return "", errEmpty
	case strings.HasPrefix(id, "localhost"):
		return "", fmt.Errorf("%q is every host's", id)
	}
	return id, nil
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// lvm2ApplicationID is LVM_APPLICATION_ID of lib/commands/toolcontext.c.
var lvm2ApplicationID = []byte{0xf6, 0x44, 0x06, 0x83, 0x2c, 0x21, 0x40, 0xe8, 0xac, 0x54, 0x22, 0xd1, 0x08, 0x9a, 0xae, 0x03}

// appMachineID is sd_id128_get_machine_app_specific(3) for lvm2: a keyed hash of
// the application's ID, marked as a UUID of version 4.
func appMachineID(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	machine, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(machine) != 16 {
		return "", fmt.Errorf("%s: want 32 hexadecimal digits", path)
	}
	h := hmac.New(sha256.New, machine)
	h.Write(lvm2ApplicationID)
	id := h.Sum(nil)[:16]
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return hex.EncodeToString(id), nil
}
