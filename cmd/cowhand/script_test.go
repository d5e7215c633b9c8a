package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
//	loops FILE...                   block devices LOOP1, LOOP2…, and an LVM_SYSTEM_DIR that knows no others
//	same REPORT ARGS...             lvm2 prints the same, without a device mapper
//
// and the condition [loops]: there are loop devices.
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
			"loops":   scriptLoops,
			"same":    scriptSame,
		},
		Condition: func(cond string) (bool, error) {
			if cond != "loops" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			_, err := exec.LookPath("losetup")
			_, missing := os.Stat("/dev/loop-control")
			return os.Geteuid() == 0 && err == nil && missing == nil, nil
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
		"GORACE": "atexit_sleep_ms=0", // not a second for each command
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
	got := exitOf(ts.Exec(args[1], args[2:]...))
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
	err := c.write(offset, length, fill)
	ts.Check(c.disconnect()) // or the volume would be open for a moment yet
	if neg && err == nil {
		ts.Fatalf("%s can be written", args[0])
	}
	if !neg {
		ts.Check(err)
	}
}

func scriptReads(ts *testscript.TestScript, neg bool, args []string) {
	c, fill, offset, length := place(ts, args)
	err := c.reads(offset, length, fill)
	ts.Check(c.disconnect())
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

// scriptLoops makes loop devices of image files, for lvm2 and for us.
func scriptLoops(ts *testscript.TestScript, neg bool, args []string) {
	var filter []string
	for i, file := range args {
		out, err := exec.Command("losetup", "--find", "--show", ts.MkAbs(file)).Output()
		ts.Check(err)
		dev := strings.TrimSpace(string(out))
		ts.Defer(func() {
			if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
				ts.Logf("losetup --detach %s: %v: %s", dev, err, out)
			}
		})
		ts.Setenv(fmt.Sprintf("LOOP%d", i+1), dev)
		filter = append(filter, fmt.Sprintf("%q", "a|^"+dev+"$|"))
	}
	dir := ts.MkAbs("lvm2")
	ts.Check(os.MkdirAll(filepath.Join(dir, "lock"), 0o700))
	conf := fmt.Sprintf(`devices { use_devicesfile=0 filter=[%s,"r|.*|"] }
global { locking_dir=%q event_activation=0 }
activation { udev_sync=0 udev_rules=0 monitoring=0 }
backup { backup=0 archive=0 }
log { report_command_log=0 }
`, strings.Join(filter, ","), filepath.Join(dir, "lock"))
	ts.Check(os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(conf), 0o600))
	ts.Setenv("LVM_SYSTEM_DIR", dir)
	ts.Setenv("LVM_SUPPRESS_FD_WARNINGS", "1")
}

// scriptSame compares a report with lvm2's.
func scriptSame(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || neg {
		ts.Fatalf("usage: same REPORT ARGS...")
	}
	args = append(args, "--driverloaded", "n")
	theirs := make(chan string)
	go func() { theirs <- output(ts, "lvm", args) }()
	ours := output(ts, "cowhand", append([]string{"lvm"}, args...))
	if diff := cmp.Diff(strings.Split(<-theirs, "\n"), strings.Split(ours, "\n")); diff != "" {
		ts.Fatalf("%s (-lvm2 +us):\n%s", strings.Join(args, " "), diff)
	}
}

// output is what a program prints and how it ends, with the script's settings.
func output(ts *testscript.TestScript, name string, args []string) string {
	cmd := exec.Command(name, args...)
	cmd.Env = os.Environ()
	for _, v := range []string{"LVM_SYSTEM_DIR", "COWHAND_DEVICES", "COWHAND_RUN_DIR", "COWHAND_STATE_DIR", "COWHAND_LOCK_DIR", "TZ", "GORACE"} {
		cmd.Env = append(cmd.Env, v+"="+ts.Getenv(v))
	}
	out, err := cmd.Output()
	return fmt.Sprintf("%s[exit %d]", out, exitOf(err))
}

func exitOf(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}
