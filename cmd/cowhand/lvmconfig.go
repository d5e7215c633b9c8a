package main

import (
	"fmt"
	"os"

	"cowhand/lvm/lvmconf"
)

// configure has the settings of --config stand over those of lvm2's files, for
// this run.
func (r *lvmRun) configure() error {
	var over []lvmconf.File
	for _, text := range r.args.all("config") {
		over = append(over, lvmconf.File{Name: "--config", Text: []byte(text)})
	}
	if len(over) == 0 {
		return nil
	}
	if _, err := lvmconf.Parse("", over...); err != nil {
		return usagef("%s", err)
	}
	if os.Geteuid() != 0 { // lvm2's settings are root's
		return nil
	}
	if r.lvm2 = loadLVM2(over...); r.lvm2.err != nil {
		return fmt.Errorf("lvm2's settings: %w", r.lvm2.err)
	}
	return nil
}
