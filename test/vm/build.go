package vm

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"cowhand/test/lab"
	"cowhand/test/vm/inside"
	"cowhand/test/vm/wire"
)

// built are the programs of one run, in a folder that the VM can see.
type built struct {
	dir    string // the agent beside bin, which is inside.Bin in the VM
	source string // the checkout
}

// programs builds once for all machines of this process.
var programs = sync.OnceValues(func() (b built, err error) {
	module, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return b, fmt.Errorf("vm: go env GOMOD: %w", err)
	}
	b.source = filepath.Dir(strings.TrimSpace(string(module)))
	r, err := run()
	if err != nil {
		return b, err
	}
	b.dir = r.dir
	cowhand := os.Getenv("COWHAND_PROGRAM")
	if cowhand == "" {
		cowhand = filepath.Join(b.dir, "bin", "cowhand")
		if err := b.build(true, "build", "-o", cowhand, "./cmd/cowhand"); err != nil {
			return b, err
		}
	} else if err := copyProgram(cowhand, filepath.Join(b.dir, "bin", "cowhand")); err != nil {
		return b, err
	}
	return b, errors.Join(
		b.build(false, "build", "-ldflags", "-s -w", "-o", filepath.Join(b.dir, "agent"), "./test/vm/agent"),
		b.build(false, "build", "-ldflags", "-s -w", "-o", filepath.Join(b.dir, "bin", "recorder"), "./test/vm/recorder"),
	)
})

func (b built) build(cgo bool, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = b.source
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false -tags=libvirt_dlopen,libvirt_without_lxc")
	if !cgo { // static: the agent is alone in its first root file system
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("vm: go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// scenarios compiles the tests of each package in the folder inside and below. It returns which program
// has which tests, and which packages do not compile, by name.
func (b built) scenarios() (tests map[string][]string, broken map[string]error, err error) {
	list := exec.Command("go", "list", "-e", "./test/vm/inside/...")
	list.Dir = b.source
	packages, err := list.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("vm: go list: %w", err)
	}
	tests, broken = map[string][]string{}, map[string]error{}
	for p := range strings.FieldsSeq(string(packages)) {
		_, below, _ := strings.Cut(p, "/test/vm/")
		name := strings.ReplaceAll(below, "/", "-")
		program := filepath.Join(b.dir, "bin", name+".test")
		if err := b.build(false, "test", "-c", "-ldflags", "-s -w", "-o", program, p); err != nil {
			broken[name] = err
			continue
		}
		if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
			continue // no tests in it
		}
		names, err := exec.Command(program, "-test.list", ".").Output()
		if err != nil {
			return nil, nil, fmt.Errorf("vm: %s -test.list: %w", program, err)
		}
		tests[filepath.Base(program)] = strings.Fields(string(names))
	}
	return tests, broken, nil
}

func copyProgram(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// initramfs is the agent, what it is told, and the modules it needs to see a root.
func initramfs(b built, linux string, c Config) ([]byte, error) {
	agent, err := os.ReadFile(filepath.Join(b.dir, "agent"))
	if err != nil {
		return nil, err
	}
	var setup bytes.Buffer
	err = gob.NewEncoder(&setup).Encode(wire.Setup{
		Binds: []wire.Bind{
			{Host: filepath.Join(linux, "modules"), Inside: "/lib/modules"},
			{Host: filepath.Join(b.dir, "bin"), Inside: inside.Bin},
			{Host: b.source, Inside: inside.Source},
		},
		Udev:   !c.NoUdev,
		Config: c.lvmConfig(),
	})
	if err != nil {
		return nil, err
	}
	var a lab.Cpio
	a.Dir("dev") // the kernel opens its console there before the first process runs
	a.Dir("modules")
	a.Program("init", agent)
	a.Program(strings.TrimPrefix(wire.SetupFile, "/"), setup.Bytes())
	if err := a.Programs("modules", filepath.Join(linux, "vm")); err != nil {
		return nil, err
	}
	return a.Bytes(), nil
}
