// Command cowhand runs libvirt guests on snapshots of their LVM volumes: try a
// patch and keep or discard it, make many instances of one image, roll a guest
// back. Its snapshot and merge engine is built in.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for the exit.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	h := &host{stdin: stdin, stdout: stdout, stderr: stderr, args: args[min(1, len(args)):]}
	app := newApp(h)
	args, err := flagsFirst(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	return h.report(ctx, err)
}
