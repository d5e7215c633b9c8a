package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"cowhand/dmcore"
)

// ReadAhead is how many sectors the kernel reads in advance from a block device,
// which need not be one of the device mapper's.
func ReadAhead(dev dmcore.DevNo) (dmcore.Sectors, error) {
	text, err := os.ReadFile(readAheadFile(dev, ""))
	if errors.Is(err, fs.ErrNotExist) { // a partition has its disk's
		text, err = os.ReadFile(readAheadFile(dev, "../"))
	}
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 48)
	return dmcore.Sectors(kib) * sectorsPerKiB, err
}

// ReadAhead is [ReadAhead].
func (c *Control) ReadAhead(dev dmcore.DevNo) (dmcore.Sectors, error) { return ReadAhead(dev) }

// SetReadAhead changes it, in whole KiB.
func (c *Control) SetReadAhead(dev dmcore.DevNo, n dmcore.Sectors) error {
	kib := (n + sectorsPerKiB - 1) / sectorsPerKiB
	return os.WriteFile(readAheadFile(dev, ""), []byte(strconv.FormatUint(uint64(kib), 10)), 0)
}

const sectorsPerKiB = 1024 / dmcore.SectorSize

func readAheadFile(dev dmcore.DevNo, up string) string {
	return fmt.Sprintf("/sys/dev/block/%d:%d/%sbdi/read_ahead_kb", dev.Major, dev.Minor, up)
}
