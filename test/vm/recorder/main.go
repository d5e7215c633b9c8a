// Recorder writes numbered records to a device in the VM, and tells each when it is
// acknowledged; or tells the newest of each device.
//
//	recorder write DEVICE [COUNT]
//	recorder read DEVICE...
package main

import (
	"fmt"
	"os"
	"strconv"

	"cowhand/test/vm/inside/records"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "recorder:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("words %q", words)
	}
	if words[0] == "read" {
		return read(words[1:])
	}
	count := -1
	if len(words) > 2 {
		var err error
		if count, err = strconv.Atoi(words[2]); err != nil {
			return err
		}
	}
	return write(words[1], count)
}

func read(devices []string) error {
	for _, d := range devices {
		n, err := records.Newest(d)
		if err != nil {
			return err
		}
		fmt.Println(d, n)
	}
	return nil
}

// write writes count records, or for ever.
func write(device string, count int) error {
	w, err := records.Open(device)
	if err != nil {
		return err
	}
	for ; count != 0; count-- {
		n, err := w.Write()
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
	return w.Close()
}
