package wire_test

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/test/vm/wire"
)

func TestMessagesArriveAsSent(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	sent := []wire.Message{
		{},
		{ID: 1, Start: &wire.Command{Argv: []string{"lvs", "-a"}, Env: []string{"A=b"}}},
		{ID: 1, Out: []byte("\x00\n")},
		{ID: 1, Signal: 9},
		{ID: 1, Exit: &wire.Exit{Status: 137, Error: "gone"}},
		{ID: 2, Exit: &wire.Exit{}}, // all zero, and yet there
	}
	done := make(chan error, 1)
	go func() {
		p := wire.NewPort(here)
		for _, m := range sent {
			if err := p.Send(m); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	p := wire.NewPort(there)
	for i, want := range sent {
		got, err := p.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("message %d (-sent +received):\n%s", i, diff)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
