package kernel

import (
	"errors"
	"testing"

	"cowhand/dmcore"
)

func TestMajor(t *testing.T) {
	const devices = "Character devices:\n 10 device-mapper\n\nBlock devices:\n  7 loop\n254 device-mapper\n259 blkext\n"
	if n, err := major([]byte(devices)); n != 254 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := major([]byte("Block devices:\n  7 loop\n")); !errors.Is(err, dmcore.ErrUnavailable) {
		t.Error(err)
	}
}
