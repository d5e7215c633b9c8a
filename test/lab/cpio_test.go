package lab

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// Another program lists and unpacks what the writer wrote.
func TestCpioIsReadByBusybox(t *testing.T) {
	Need(t, "busybox")
	var c Cpio
	c.Dir("bin")
	c.Program("bin/tool", []byte("#!/bin/sh\necho hello\n"))
	c.Program("bin/odd", []byte("12345")) // padded to 8
	c.Link("bin/alias", "tool")
	dir := t.TempDir()
	cmd := exec.Command("busybox", "cpio", "-i", "-v")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(c.Bytes())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	out, err := exec.Command("sh", "-c", "cd $0 && bin/alias && cat bin/odd", dir).CombinedOutput()
	if want := "hello\n12345"; err != nil || strings.TrimSpace(string(out)) != want {
		t.Errorf("unpacked: %q, %v, want %q", out, err, want)
	}
}
