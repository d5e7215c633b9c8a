package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary the program "cowhand" too. The engine it
// starts is the same binary under the same name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"cowhand": func() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScript runs testdata/script. Each script has directories, and so an
// engine, of its own. Beside testscript's commands there are
//
//	exits CODE PROGRAM ARGS...      the program ends with the code
//	write VG/LV BYTE OFFSET LENGTH  over NBD
//	reads VG/LV BYTE OFFSET LENGTH
//	hold VG/LV, release VG/LV       keep a volume open
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("COWHAND_UPDATE") != "",
		Setup:              setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"write":   scriptWrite,
			"reads":   scriptReads,
			"hold":    scriptHold,
			"release": scriptRelease,
		},
	})
}

// held are the connections of a script, by volume.
type held map[string]*nbdConn

type heldKey struct{}

func setupScript(env *testscript.Env) error {
	// The path of a socket has at most 107 bytes, and $WORK is long already.
	dir, err := os.MkdirTemp("", "cw")
	if err != nil {
		return err
	}
	vars := map[string]string{
		"COWHAND_RUN_DIR": filepath.Join(dir, "run"), "COWHAND_STATE_DIR": filepath.Join(dir, "state"), "COWHAND_LOCK_DIR": filepath.Join(dir, "lock"),
		"HOME": dir, "TZ": "UTC", "NO_COLOR": "1",
	}
	for k, v := range vars {
		env.Setenv(k, v)
	}
	conns := held{}
	env.Values[heldKey{}] = conns
	env.Defer(func() {
		for _, c := range conns {
			c.Close()
		}
		stop := exec.Command("cowhand", "engine", "stop", "--force")
		stop.Env = append(os.Environ(), env.Vars...)
		if out, err := stop.CombinedOutput(); err != nil {
			env.T().Log("engine stop: ", err, string(out))
		}
		if err := os.RemoveAll(dir); err != nil {
			env.T().Log(err)
		}
	})
	return nil
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	ts.Logf("[exit %d]", got)
	if got != want {
		ts.Fatalf("%s ended with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// place reads "VG/LV BYTE OFFSET LENGTH" and connects to the volume.
func place(ts *testscript.TestScript, args []string) (c *nbdConn, fill byte, offset, length int64) {
	if len(args) != 4 {
		ts.Fatalf("want VG/LV BYTE OFFSET LENGTH")
	}
	var n [3]int64
	for i, a := range args[1:] {
		scale := int64(1)
		for unit, s := range map[string]int64{"k": 1 << 10, "m": 1 << 20} {
			if number, ok := strings.CutSuffix(a, unit); ok {
				a, scale = number, s
			}
		}
		v, err := strconv.ParseInt(a, 10, 64)
		ts.Check(err)
		n[i] = v * scale
	}
	c, err := dialNBD(filepath.Join(ts.Getenv("COWHAND_RUN_DIR"), "nbd.sock"), args[0])
	ts.Check(err)
	return c, byte(n[0]), n[1], n[2]
}

func scriptWrite(ts *testscript.TestScript, neg bool, args []string) {
	c, fill, offset, length := place(ts, args)
	defer c.Close()
	err := c.write(offset, length, fill)
	if neg && err == nil {
		ts.Fatalf("%s can be written", args[0])
	}
	if !neg {
		ts.Check(err)
	}
}

func scriptReads(ts *testscript.TestScript, neg bool, args []string) {
	c, fill, offset, length := place(ts, args)
	defer c.Close()
	err := c.reads(offset, length, fill)
	if neg && err == nil {
		ts.Fatalf("%s reads as %#x", args[0], fill)
	}
	if !neg {
		ts.Check(err)
	}
}

func scriptHold(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: hold VG/LV")
	}
	c, err := dialNBD(filepath.Join(ts.Getenv("COWHAND_RUN_DIR"), "nbd.sock"), args[0])
	ts.Check(err)
	ts.Value(heldKey{}).(held)[args[0]] = c
}

func scriptRelease(ts *testscript.TestScript, neg bool, args []string) {
	conns := ts.Value(heldKey{}).(held)
	if len(args) != 1 || neg || conns[args[0]] == nil {
		ts.Fatalf("usage: release VG/LV that is held")
	}
	ts.Check(conns[args[0]].disconnect())
	delete(conns, args[0])
}
