package rules

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) { inside.Main(m) }

// world is a group "vg" and the settings under which both programs see it.
type world struct {
	t     *testing.T
	disks []string
	dir   string // LVM_SYSTEM_DIR
}

// start makes a group of volumes, 8 MiB each, none of them active.
func start(t *testing.T, disks int, volumes ...string) *world {
	t.Helper()
	w := &world{t, inside.Disks(t, disks), t.TempDir()}
	inside.Run(t, "cp", "-a", "/etc/lvm/.", w.dir)
	t.Setenv("LVM_SYSTEM_DIR", w.dir)
	t.Setenv("COWHAND_ENGINE", "kernel")
	w.lvm2(append([]string{"vgcreate", "-s", "1m", "vg"}, w.disks...)...)
	for _, v := range volumes {
		w.lvm2("lvcreate", "-y", "-an", "-Zn", "-Wn", "-L", "8M", "-n", v, "vg")
	}
	return w
}

func (w *world) lvm2(words ...string) string { w.t.Helper(); return inside.Run(w.t, words...) }

// settings adds to those that both programs read.
func (w *world) settings(text string) {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.dir, "lvmlocal.conf"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteString("\n" + text + "\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// edit changes the group's metadata by way of a file, as an administrator does
// who restores an edited backup.
func (w *world) edit(old, new string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "backup")
	w.lvm2("vgcfgbackup", "-f", file, "vg")
	text, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		w.t.Fatalf("no %q in\n%s", old, text)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.lvm2("vgcfgrestore", "-f", file, "vg")
}

// outcome is what a command leaves.
type outcome struct {
	status  int
	devices string // with their tables, and r or w
	text    string // of the group, without what differs between two commits
}

func (w *world) outcome(argv ...string) (o outcome, said string) {
	w.t.Helper()
	said, err := inside.Try(w.t, argv...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		o.status = exit.ExitCode()
	} else if err != nil {
		w.t.Fatal(err)
	}
	var names []string // of numbers, by turns
	for line := range strings.Lines(w.quiet("dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "name,attr,major,minor")) {
		if f := strings.Fields(line); len(f) == 4 {
			names = append(names, " "+f[2]+":"+f[3]+" ", " <"+f[0]+"> ")
			o.devices += fmt.Sprintf("%s %s %s", f[0], f[1], strings.ReplaceAll(w.quiet("dmsetup", "table", f[0]), "\n", " \n"))
		}
	}
	for range 2 { // neighbours share a space
		o.devices = strings.NewReplacer(names...).Replace(o.devices)
	}
	for line := range strings.Lines(w.quiet("sh", "-c", "pvck --dump metadata "+w.disks[0])) {
		if key, _, _ := strings.Cut(strings.TrimSpace(line), " "); key != "seqno" && key != "metadata" && key != "id" && key != "description" && !strings.HasPrefix(key, "creation_") && !strings.HasPrefix(key, "#") {
			o.text += line
		}
	}
	return o, said
}

func (w *world) quiet(argv ...string) string {
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		w.t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return string(out)
}

// same runs a command by lvm2, undoes it, and runs it by cowhand; the outcomes have
// to be the same, and cowhand has to say what is to be said.
func (w *world) same(command, says string, undo ...string) {
	w.t.Helper()
	words := strings.Fields(command)
	theirs, _ := w.outcome(words...)
	w.undo(undo)
	ours, said := w.outcome(append([]string{inside.Cowhand, "lvm"}, words...)...)
	w.undo(undo)
	if ours != theirs {
		w.t.Errorf("%s\nlvm2 %+v\ncowhand %+v", command, theirs, ours)
	}
	if !strings.Contains(said, says) {
		w.t.Errorf("%s: cowhand did not say %q: %s", command, says, said)
	}
}

// reports compares a report with lvm2's, but for how wide its columns are.
func (w *world) reports(command string) {
	w.t.Helper()
	words := strings.Fields(command)
	plain := func(report string) string { return strings.Join(strings.Fields(report), " ") }
	theirs := plain(inside.Run(w.t, words...))
	if ours := plain(inside.Run(w.t, append([]string{inside.Cowhand, "lvm"}, words...)...)); ours != theirs {
		w.t.Errorf("%s\nlvm2\n%s\ncowhand\n%s", command, theirs, ours)
	}
}

func (w *world) undo(commands []string) {
	w.t.Helper()
	for _, c := range commands {
		w.lvm2(strings.Fields(c)...)
	}
}

// remove removes the group at the end, whatever was done to it.
func (w *world) remove(commands ...string) {
	w.t.Cleanup(func() {
		for _, c := range append(commands, "vgremove -ff -y vg") {
			inside.Run(w.t, strings.Fields(c)...)
		}
	})
}
