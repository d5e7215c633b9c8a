//go:build !cgo

package libvirt

import (
	"context"
	"fmt"

	"cowhand/hypervisor"
)

// Conn stands for a connection in a program without cgo. There is none.
type Conn struct{ hypervisor.Hypervisor }

// Open fails: this program was built without cgo.
func Open(_ context.Context, uri string) (*Conn, error) {
	return nil, &hypervisor.Error{
		Op:  "connect to " + uri,
		Err: fmt.Errorf("%w: this program was built without cgo", hypervisor.ErrUnavailable),
	}
}

// Run has nothing to run.
func (*Conn) Run(context.Context) error { return nil }
