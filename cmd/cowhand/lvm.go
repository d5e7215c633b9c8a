package main

import (
	"github.com/urfave/cli/v2"
)

// lvmCommand is LVM2's command line on our engine; it parses its own flags,
// which LVM2 lets stand together ("-ay") and bear their values ("-L4m").
func lvmCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "lvm", Category: "engine", Usage: "LVM2's commands on cowhand's engine", ArgsUsage: "COMMAND [ARGUMENTS]",
		SkipFlagParsing: true,
	}
}
