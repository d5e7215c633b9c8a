// Command agent is the first process of the test VM. It makes the host's root, read-only under a
// layer in memory, the VM's; starts udev; and then runs the commands that the host sends.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

func main() {
	if os.Getpid() != 1 {
		if len(os.Args) != 2 || os.Args[1] != "serve" {
			fmt.Fprintln(os.Stderr, "agent: to be run as the first process of a VM")
			os.Exit(2)
		}
		say("%v", serve())
		os.Exit(1)
	}
	if err := begin(); err != nil {
		say("%v", err)
		powerOff()
	}
	// A child serves, so that this process can wait for whatever was left behind by its parent.
	server := exec.Command("/proc/self/exe", "serve")
	server.Stdout, server.Stderr = os.Stdout, os.Stderr
	if err := server.Start(); err != nil {
		say("%v", err)
		powerOff()
	}
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if err == nil && pid == server.Process.Pid {
			say("the agent ended")
			powerOff()
		}
	}
}

var started = time.Now()

// say writes a line to the console.
func say(format string, args ...any) {
	fmt.Printf("agent: %.1fs: %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
}

func powerOff() {
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		say("power off: %v", err)
	}
	select {}
}
