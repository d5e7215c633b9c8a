package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"cowhand/hypervisor"
	"cowhand/orchestrator"
)

// That a connection was lost at the end makes no failure of what was done, and
// does not hide that a run stopped half-way.
func TestLostConnectionAtTheEnd(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{nil, exitDone, ""},
		{&orchestrator.Failure{Err: hypervisor.ErrUnavailable, State: orchestrator.ErrUnfinished}, exitHalfway, "cowhand recover"},
	} {
		var out bytes.Buffer
		h := &host{stdout: &out, stderr: &out}
		app := newApp(h)
		app.Before = nil
		app.Action = action(func(context.Context, *cli.Context) error {
			h.onClose(func() error { return fmt.Errorf("libvirt: %w", hypervisor.ErrUnavailable) })
			return c.err
		})
		code := h.report(t.Context(), app.RunContext(t.Context(), []string{"cowhand"}))
		if code != c.code || !strings.Contains(out.String(), c.want) || strings.Contains(out.String(), "Nothing was changed") {
			t.Errorf("%v: exit status %d\n%s", c.err, code, &out)
		}
	}
}
