package kernel

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"cowhand/dmcore"
)

// Major is the major number of the device mapper's devices, which the kernel chose
// when it was loaded.
func Major() (uint32, error) {
	text, err := os.ReadFile("/proc/devices")
	if err != nil {
		return 0, err
	}
	return major(text)
}

func major(devices []byte) (uint32, error) {
	_, blocks, _ := bytes.Cut(devices, []byte("Block devices:"))
	for line := range strings.Lines(string(blocks)) {
		f := strings.Fields(line)
		if len(f) == 2 && f[1] == "device-mapper" {
			n, err := strconv.ParseUint(f[0], 10, 32)
			return uint32(n), err
		}
	}
	return 0, fmt.Errorf("/proc/devices: no device-mapper: %w", dmcore.ErrUnavailable)
}
