package vm

import (
	"os"
	"path/filepath"
	"strings"
)

// keepLogs copies what the machine and its commands said to a folder that stays, and names it:
// build/vm in the checkout, or COWHAND_VM_LOGS.
func (m *Machine) keepLogs() {
	m.t.Helper()
	base := os.Getenv("COWHAND_VM_LOGS")
	if base == "" {
		b, err := programs()
		if err != nil {
			m.t.Error(err)
			return
		}
		base = filepath.Join(b.source, "build", "vm")
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		m.t.Error(err)
		return
	}
	to, err := os.MkdirTemp(base, strings.ReplaceAll(m.t.Name(), "/", "-")+"-")
	if err != nil {
		m.t.Error(err)
		return
	}
	for _, name := range logs {
		if b, err := os.ReadFile(filepath.Join(m.dir, name)); err == nil {
			if err := os.WriteFile(filepath.Join(to, name), b, 0o644); err != nil {
				m.t.Error(err)
			}
		}
	}
	m.t.Logf("vm: logs are kept in %s\n%s", to, m.lastWords())
}
