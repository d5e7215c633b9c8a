package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed are the packages of ours that each package may import, and of the
// outside world those that only a few may. Imports run downwards only.
var allowed = map[string][]string{
	"cowhand/dmcore":               {},
	"cowhand/dmcore/blockdev":      {"golang.org/x/sys/unix"},
	"cowhand/dmcore/durable":       {},
	"cowhand/dmcore/cowstore":      {"cowhand/dmcore", "cowhand/dmcore/blockdev"},
	"cowhand/dmcore/thinmeta":      {"cowhand/dmcore", "cowhand/dmcore/blockdev"},
	"cowhand/dmcore/userspace":     {"cowhand/dmcore", "cowhand/dmcore/blockdev", "cowhand/dmcore/cowstore", "cowhand/dmcore/thinmeta"},
	"cowhand/dmcore/dmtest":        {"cowhand/dmcore", "cowhand/dmcore/blockdev", "cowhand/dmcore/cowstore"},
	"cowhand/dmcore/kernel":        {"cowhand/dmcore", "golang.org/x/sys/unix"},
	"cowhand/dmcore/nbd":           {"cowhand/dmcore", "cowhand/dmcore/blockdev"},
	"cowhand/dmcore/guardian":      {"golang.org/x/sys/unix"},
	"cowhand/dmcore/engine":        {"cowhand/dmcore", "cowhand/dmcore/blockdev", "cowhand/dmcore/durable", "cowhand/dmcore/nbd", "cowhand/dmcore/userspace", "golang.org/x/sys/unix"},
	"cowhand/lvm/lvmtext":          {},
	"cowhand/lvm/ondisk":           {},
	"cowhand/lvm/lvmconf":          {"cowhand/lvm/lvmtext"},
	"cowhand/lvm/devscan":          {"cowhand/lvm/lvmconf", "cowhand/lvm/ondisk"},
	"cowhand/lvm":                  {"cowhand/dmcore", "cowhand/dmcore/blockdev", "cowhand/dmcore/durable", "cowhand/lvm/devscan", "cowhand/lvm/lvmconf", "cowhand/lvm/lvmtext", "cowhand/lvm/ondisk", "golang.org/x/sys/unix"},
	"cowhand/hypervisor":           {},
	"cowhand/hypervisor/hvtest":    {"cowhand/hypervisor"},
	"cowhand/hypervisor/libvirt":   {"cowhand/hypervisor", "libvirt.org/go/libvirt"},
	"cowhand/orchestrator/journal": {"cowhand/dmcore/durable"},
	"cowhand/orchestrator":         {"cowhand/dmcore", "cowhand/dmcore/durable", "cowhand/hypervisor", "cowhand/lvm", "cowhand/orchestrator/journal"},
	"cowhand/configs":              {"cowhand/lvm", "cowhand/dmcore", "gopkg.in/yaml.v3"},
}

// watched are the outside packages that need an entry above.
var watched = []string{"golang.org/x/sys", "libvirt.org/go/libvirt", "gopkg.in/yaml.v3", "github.com/urfave/cli"}

func TestLayers(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "-tags", "libvirt_dlopen,libvirt_without_lxc", "cowhand/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	seen := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		may, ruled := allowed[p.ImportPath]
		if !ruled {
			if outside := strings.TrimPrefix(p.ImportPath, "cowhand/"); !strings.HasPrefix(outside, "cmd/") && !strings.HasPrefix(outside, "test") && !strings.HasPrefix(outside, "examples") {
				t.Errorf("%s: not in the table of layers", p.ImportPath)
			}
			continue
		}
		for _, imp := range p.Imports {
			ours := strings.HasPrefix(imp, "cowhand/")
			watch := slices.ContainsFunc(watched, func(w string) bool { return strings.HasPrefix(imp, w) })
			if (ours || watch) && !slices.Contains(may, imp) {
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
	if seen < len(allowed) {
		t.Errorf("go list named %d packages, the table %d", seen, len(allowed))
	}
}
