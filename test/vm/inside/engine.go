package inside

import (
	"context"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"

	"cowhand/configs"
	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/guardian"
	"cowhand/dmcore/kernel"
	"cowhand/lvm"
)

// Engine is what `cowhand --engine kernel` works with, in this process, for tests that have to stop or
// disturb it at a certain step.
func Engine(devices ...string) *lvm.Engine {
	dm := kernel.New(kernel.Config{})
	return &lvm.Engine{
		Store: &lvm.Store{Devices: devices, Host: "vm", Open: func(path string, write bool) (blockdev.Device, error) {
			return blockdev.OpenFile(path, !write)
		}},
		DM: dmcore.NewClient(dm),
		Node: func(path string) (dmcore.Dev, error) {
			var st unix.Stat_t
			err := unix.Stat(path, &st)
			return dmcore.DevNo{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}.Dev(), err
		},
		Guard: func(ctx context.Context, groups []lvm.ID) (lvm.Guardian, error) {
			args := []string{"--engine", configs.EngineKernel}
			for _, d := range devices {
				args = append(args, "--devices", d)
			}
			args = append(args, "engine", "guard", strconv.Itoa(os.Getpid()))
			for _, g := range groups {
				args = append(args, string(g))
			}
			cmd := exec.Command(Cowhand, args...)
			cmd.Stderr = os.Stderr
			return guardian.Start(ctx, cmd)
		},
		Probed: dm.Probed,
	}
}
