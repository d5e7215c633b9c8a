package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"cowhand/dmcore"
	"cowhand/dmcore/engine"
	"cowhand/lvm"
)

// LVM2's exit codes (2.03.16, lib/commands/errors.h).
const (
	lvmNoCommand = 2
	lvmUsage     = 3
	lvmFailed    = 5
)

// lvmVerb is one of LVM2's commands.
type lvmVerb struct {
	name  string
	use   string // what it does
	usage string // its arguments, lines
	flags string // its own flags, see lvmOptions
	run   func(context.Context, *lvmRun) error
}

// lvmCommon are flags of every command. Many mean nothing to this engine, and
// are taken so that scripts run.
const lvmCommon = `yes|y force|f quiet|q verbose|v debug|d test|t help|h,longhelp version devices:
	config: devicesfile: driverloaded: profile: commandprofile: metadataprofile: autobackup|A:
	nolocking nohints journal: lockopt: noudevsync ignorelockingfailure ignoremonitoring monitor: sysinit readonly`

// lvmVerbs are the commands there are.
func lvmVerbs() []lvmVerb {
	return slices.Concat(lvmVolumeVerbs(), lvmMergeVerbs(), lvmGroupVerbs(), lvmDeviceVerbs(), lvmReportVerbs(), lvmDisplayVerbs())
}

// lvmCommand is LVM2's command line on our engine; it parses its own flags,
// which LVM2 lets stand together ("-ay") and bear their values ("-L4m").
func lvmCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "lvm", Category: "engine", Usage: "LVM2's commands on cowhand's engine", ArgsUsage: "COMMAND [ARGUMENTS]",
		SkipFlagParsing: true, HideHelp: true,
		Action: action(func(ctx context.Context, c *cli.Context) error { return h.lvmMain(ctx, c.Args().Slice()) }),
	}
}

// exitStatus ends the program with a code; what there was to say was said.
type exitStatus struct{ code int }

func (e *exitStatus) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// lvmMain runs one command and speaks and exits as LVM2 does.
func (h *host) lvmMain(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		return h.lvmHelp(args)
	}
	if args[0] == "version" || args[0] == "--version" {
		fmt.Fprintf(h.stdout, "  cowhand version: %s\n", version)
		return nil
	}
	verbs := lvmVerbs()
	i := slices.IndexFunc(verbs, func(v lvmVerb) bool { return v.name == args[0] })
	if i < 0 {
		fmt.Fprintf(h.stderr, "  %q is no command here. Try 'cowhand lvm help'.\n", args[0])
		return &exitStatus{lvmNoCommand}
	}
	r := &lvmRun{host: h, verb: verbs[i]}
	err := r.main(ctx, args[1:])
	if err == nil {
		return nil
	}
	var said *exitStatus
	if errors.As(err, &said) {
		return said
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(h.stderr, "  %s\n", strings.TrimRight(line, "\n"))
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(h.stderr, "  Run 'cowhand lvm %s --help' for more information.\n", r.verb.name)
		return &exitStatus{lvmUsage}
	}
	if hint := lvmHint(err); hint != "" {
		fmt.Fprintf(h.stderr, "  Run or do:  %s\n", hint)
	}
	return &exitStatus{lvmFailed}
}

// lvmHint is what to do about an error, in terms of volumes.
func lvmHint(err error) string {
	if errors.Is(err, lvm.ErrMerging) {
		return "cowhand lvm lvs -a; a merge that waits begins with: cowhand lvm lvchange --refresh VG/ORIGIN"
	}
	_, hint := classify(err)
	return hint
}

func (h *host) lvmHelp(args []string) error {
	verbs := lvmVerbs()
	if len(args) > 1 && args[0] == "help" {
		for _, v := range verbs {
			if v.name == args[1] {
				return (&lvmRun{host: h, verb: v}).help()
			}
		}
		fmt.Fprintf(h.stderr, "  %q is no command here. Try 'cowhand lvm help'.\n", args[1])
		return &exitStatus{lvmNoCommand}
	}
	fmt.Fprint(h.stdout, "  LVM2's commands on cowhand's engine. 'cowhand lvm COMMAND --help' tells the arguments of one.\n\n")
	for _, v := range verbs {
		fmt.Fprintf(h.stdout, "  %-12s %s\n", v.name, v.use)
	}
	fmt.Fprint(h.stdout, "\n  Physical volumes are named by --devices or COWHAND_DEVICES.\n")
	return nil
}

// lvmRun is one run of a command.
type lvmRun struct {
	*host
	verb lvmVerb
	args *lvmArgs
}

func (r *lvmRun) main(ctx context.Context, args []string) (err error) {
	if r.args, err = parseLVM(lvmOptions(r.verb.flags+" "+lvmCommon), args); err != nil {
		return err
	}
	if r.args.has("help") {
		return r.help()
	}
	if err := r.args.check(); err != nil {
		return err
	}
	if err := r.configure(); err != nil {
		return err
	}
	if r.args.has("devices") {
		r.Devices = nil
		for _, list := range r.args.all("devices") {
			r.Devices = append(r.Devices, strings.Split(list, ",")...)
		}
	}
	if r.args.has("test") && !r.reports() {
		return fmt.Errorf("--test: what would happen cannot be tried out here: nothing was done: %w", errors.ErrUnsupported)
	}
	return r.verb.run(ctx, r)
}

// reports tells a command that changes nothing.
func (r *lvmRun) reports() bool {
	return slices.ContainsFunc(slices.Concat(lvmReportVerbs(), lvmDisplayVerbs()), func(v lvmVerb) bool { return v.name == r.verb.name })
}

func (r *lvmRun) help() error {
	fmt.Fprintf(r.stdout, "  %s - %s\n\n", r.verb.name, r.verb.use)
	for line := range strings.Lines(r.verb.usage) {
		fmt.Fprintf(r.stdout, "  %s %s\n", r.verb.name, strings.TrimSpace(line))
	}
	fmt.Fprintf(r.stdout, "\n  Flags: %s\n", lvmFlagList(r.verb.flags))
	return nil
}

// lvmFlagList shows a table of flags to people.
func lvmFlagList(table string) string {
	var list []string
	for word := range strings.FieldsSeq(table) {
		word, value := strings.CutSuffix(word, ":")
		names, short, _ := strings.Cut(word, "|")
		text := "--" + strings.Split(names, ",")[0]
		if short != "" {
			text = "-" + short + "|" + text
		}
		if value {
			text += " X"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// say prints a result as LVM2 does, unless -qq forbids it.
func (r *lvmRun) say(format string, args ...any) {
	if len(r.args.all("quiet")) < 2 {
		fmt.Fprintf(r.stdout, "  "+format+"\n", args...)
	}
}

// warn tells people something beside the result.
func (r *lvmRun) warn(format string, args ...any) {
	if !r.args.has("quiet") {
		fmt.Fprintf(r.stderr, "  "+format+"\n", args...)
	}
}

// agreed has the user agree, unless -y or -f did. Without a terminal that is an
// error: nobody could answer.
func (r *lvmRun) agreed(question string) error {
	if r.args.has("yes") || r.args.has("force") {
		return nil
	}
	in, ok := r.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return fmt.Errorf("%s there is no terminal to answer on: agree with -y: %w", question, errDeclined)
	}
	fmt.Fprintf(r.stderr, "%s [y/n]: ", question)
	var answer [1]byte
	line := ""
	for !strings.HasSuffix(line, "\n") { // byte by byte: the next question has its own answer
		if _, err := in.Read(answer[:]); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		line += string(answer[:])
	}
	if a := strings.ToLower(strings.TrimSpace(line)); a != "y" && a != "yes" {
		return fmt.Errorf("%s no: %w", question, errDeclined)
	}
	return nil
}

// know adds a device to the list for this run.
func (r *lvmRun) know(path string) error {
	before, err := r.devicePaths()
	if err != nil {
		return err
	}
	if err := r.ruledOut(path); err != nil {
		return err
	}
	r.Devices = append(r.Devices, path)
	after, err := r.devicePaths()
	if err != nil {
		return err
	}
	if len(after) > len(before) {
		list := strings.Join(after, ",")
		r.warn("Note: %s is not among the configured devices. Make it known to other commands: export COWHAND_DEVICES=%s", path, list)
	}
	return nil
}

// metadata is an engine for what needs no device of a volume: it starts no
// daemon.
func (r *lvmRun) metadata() (*lvm.Engine, error) {
	paths, err := r.devicePaths()
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		r.warn("Note: no physical volumes are known. Name them: --devices PATH, or export COWHAND_DEVICES=PATH,...")
	}
	return r.newEngine(nil, paths), nil
}

// observer is an engine to look with: it asks the kernel or the daemon, but starts none. asks
// is false if there is none, and so no volume has a device.
func (r *lvmRun) observer() (e *lvm.Engine, asks bool, err error) {
	onKernel, err := r.onKernel()
	if err != nil {
		return nil, false, err
	}
	if onKernel {
		e, err = r.kernelVolumes()
		return e, true, err
	}
	if e, err = r.metadata(); err != nil {
		return nil, false, err
	}
	c, err := engine.Dial(r.RunDir)
	if errors.Is(err, dmcore.ErrUnavailable) {
		return e, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	r.onClose(c.Close)
	e.DM = dmcore.NewClient(c)
	return e, true, nil
}
