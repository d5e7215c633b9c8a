package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// loopbackUp makes 127.0.0.1 reachable.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}

func setenv(kv string) error {
	k, v, _ := strings.Cut(kv, "=")
	return os.Setenv(k, v)
}
